/** Config of a stack as the engine hands it to the program: flat keys, structured values as JSON text. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";

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
