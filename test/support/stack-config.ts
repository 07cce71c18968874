/** Config of a stack as the engine hands it to the program: flat keys, structured values as JSON text. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { parseSections } from "../../components/config.ts";
import type { Problem } from "../../components/config-problems.ts";
import { checkRuns } from "../../components/run-rules.ts";
import { TrainerConfigs } from "../../components/trainer-config.ts";

export const trainer = new TrainerConfigs();
export const LOCAL = { target: "local" };
export const ALL = { critic: null, verifiable: null, baseline: null, rho1: null, ntp: null };

const PROJECT = join(import.meta.dirname, "..", "..");

/** `{ launcher: { target: "local" } }` -> `{ "wmtp:launcher": '{"target":"local"}' }`; texts stay what they are. */
export function rawConfig(sections: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(sections).map(([name, value]) => [
      name.includes(":") ? name : `wmtp:${name}`,
      typeof value === "string" ? value : JSON.stringify(value),
    ]),
  );
}

/** A committed stack file, parsed. */
export function stackFile(stack: string): { config: Record<string, unknown> } {
  return parse(readFileSync(join(PROJECT, `Pulumi.${stack}.yaml`), "utf8"));
}

/** What the program refuses of these sections, on the local target unless they say otherwise. */
export function problemsOf(sections: Record<string, unknown>, secrets: string[] = []): Problem[] {
  const parsed = parseSections(rawConfig({ launcher: LOCAL, pipelines: { ntp: null }, ...sections }), new Set(secrets));
  return [...parsed.problems, ...checkRuns(parsed.sections, trainer)];
}
