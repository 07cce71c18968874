/**
 * Compiles the policy pack: `node tools/policy-pack.ts`. policy/index.ts and what it imports of this project become plain JavaScript in
 * .tools/policy, which is then a whole pack. Types are checked elsewhere (`make check`).
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { transformSync } from "@swc/core";
import { hashOf, SOURCES_FILE } from "../policy/freshness.ts";

const PROJECT = resolve(import.meta.dirname, "..");
const PACK = join(PROJECT, ".tools", "policy");
const MANIFEST = "policy/PulumiPolicy.yaml";
/** Imports of files of ours; those of types alone are gone by then. */
const IMPORT = /require\("(\.[^"]+)\.ts"\)/g;

/** CommonJS, because the engine loads packs with `require`. */
function compile(source: string): string {
  return transformSync(readFileSync(join(PROJECT, source), "utf8"), {
    filename: source,
    jsc: { parser: { syntax: "typescript" }, target: "es2024" },
    module: { type: "commonjs" },
    sourceMaps: false,
    swcrc: false,
  }).code;
}

const compiled = new Map<string, string>();
const waiting = ["policy/index.ts"];
for (let source = waiting.pop(); source !== undefined; source = waiting.pop()) {
  if (compiled.has(source)) continue;
  const code = compile(source);
  compiled.set(source, code);
  for (const [, path] of code.matchAll(IMPORT)) {
    waiting.push(relative(PROJECT, resolve(PROJECT, dirname(source), `${path}.ts`)));
  }
}

// Made beside the old one and then put into its place: a preview that starts meanwhile finds one of the two whole.
const fresh = `${PACK}.new`;
rmSync(fresh, { recursive: true, force: true });
const write = (path: string, text: string) => {
  mkdirSync(dirname(join(fresh, path)), { recursive: true });
  writeFileSync(join(fresh, path), text);
};
for (const [source, code] of compiled) write(source.replace(/\.ts$/, ".js"), code.replace(IMPORT, 'require("$1.js")'));
write("PulumiPolicy.yaml", readFileSync(join(PROJECT, MANIFEST), "utf8"));
write("package.json", JSON.stringify({ name: "wmtp", version: "1.0.0", type: "commonjs", main: "policy/index.js" }));
const sources = [...compiled.keys(), MANIFEST].sort();
write(
  SOURCES_FILE,
  JSON.stringify(Object.fromEntries(sources.map((source) => [source, hashOf(join(PROJECT, source))]))),
);
rmSync(PACK, { recursive: true, force: true });
renameSync(fresh, PACK);
