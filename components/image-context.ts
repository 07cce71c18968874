/** What a Docker build context consists of, as Docker itself would send it, and one hash of it that is known at preview. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

/** Docker reads these whatever `.dockerignore` says. */
const ALWAYS = [".dockerignore", "Dockerfile"];

/** Paths of the files of `directory` that its `.dockerignore` lets in, and of the two that steer the build; sorted. */
export function contextFiles(directory: string): string[] {
  const rules = readRules(join(directory, ".dockerignore"));
  const files = readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(join(directory, "/").length));
  return files.filter((path) => ALWAYS.includes(path) || !ignored(path, rules)).sort();
}

/**
 * One hash of names, modes and contents. Modes count because layers carry them: an image built from the same files
 * with another umask is another image.
 */
export function hashContext(directory: string): string {
  const hash = createHash("sha256");
  for (const path of contextFiles(directory)) {
    const file = join(directory, path);
    const content = createHash("sha256").update(readFileSync(file)).digest("hex");
    hash.update(`${path}\0${(statSync(file).mode & 0o777).toString(8)}\0${content}\n`);
  }
  return hash.digest("hex");
}

interface Rule {
  readonly pattern: RegExp;
  readonly lets: "in" | "out";
}

/** `.dockerignore`: the last line that matches a path, or a directory above it, decides. */
function ignored(path: string, rules: readonly Rule[]): boolean {
  const parts = path.split("/");
  const ways = parts.map((_, index) => parts.slice(0, index + 1).join("/"));
  return rules.findLast(({ pattern }) => ways.some((way) => pattern.test(way)))?.lets === "out";
}

function readRules(file: string): Rule[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, "utf8")
    .split("\n")
    .map((line) => line.trim());
  return lines
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => ({ pattern: toPattern(line.replace(/^!/, "")), lets: line.startsWith("!") ? "in" : "out" }));
}

/** `**` any number of directories, `*` anything but a slash, `?` one such character. */
function toPattern(glob: string): RegExp {
  const source = glob
    .replace(/^\/|\/$/g, "")
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replace(
      /\*\*\/|\*\*|\*|\?/g,
      (wild) => ({ "**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]" })[wild] as string,
    );
  return new RegExp(`^${source}$`);
}
