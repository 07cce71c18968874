/** A stack file as the engine would hand it to the program, without an engine: of a stack never created, or of another one. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parse, YAMLParseError } from "yaml";

export interface StackFile {
  /** Name in the project's folder. @example "Pulumi.prod.yaml" */
  readonly name: string;
  /** Flat keys, structured values as JSON text; encrypted values as they are. */
  readonly raw: Readonly<Record<string, string>>;
  /** Keys that hold something encrypted. */
  readonly secrets: ReadonlySet<string>;
}

/** Why a stack file cannot be read: a cause and what to do, for people. */
export class StackFileError extends Error {}

/** Name in Pulumi.yaml. */
export const PROJECT = "wmtp";

/** `Pulumi.prod.yaml` of `prod`, and of `organization/wmtp/prod`. */
export function stackFileName(stack: string): string {
  return `Pulumi.${stack.split("/").at(-1)}.yaml`;
}

/**
 * @param folder of Pulumi.yaml
 * @throws StackFileError where there is no such file, or it is not YAML.
 */
export function readStackFile(stack: string, folder = "."): StackFile {
  const name = stackFileName(stack);
  const path = join(folder, name);
  if (!existsSync(path)) {
    const stacks = readdirSync(folder).flatMap((file) => /^Pulumi\.(.+)\.yaml$/.exec(file)?.[1] ?? []);
    throw new StackFileError(
      stacks.length === 0
        ? `there is no ${name} in ${resolve(folder)}: run this in the project's folder`
        : `there is no ${name}; stacks: ${stacks.join(", ")}`,
    );
  }
  const config = configIn(name, readFileSync(path, "utf8"));
  const entries = Object.entries(config).map(
    ([key, value]) => [key.includes(":") ? key : `${PROJECT}:${key}`, value] as const,
  );
  return {
    name,
    raw: Object.fromEntries(entries.map(([key, value]) => [key, asText(value)])),
    secrets: new Set(entries.filter(([, value]) => holdsSecret(value)).map(([key]) => key)),
  };
}

function configIn(name: string, text: string): Record<string, unknown> {
  let file: { config?: unknown } | null;
  try {
    file = parse(text);
  } catch (error) {
    if (!(error instanceof YAMLParseError)) throw error;
    const [{ line = 1 } = {}] = error.linePos ?? [];
    throw new StackFileError(`${name} is not YAML (${error.code}, line ${line}): correct that line`);
  }
  const config = file?.config ?? {};
  if (typeof config === "object" && !Array.isArray(config)) return config as Record<string, unknown>;
  throw new StackFileError(`${name} has a config that is no mapping of keys: write the keys below config, one a line`);
}

function asText(value: unknown): string {
  if (value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/**
 * A value of the config as it was before the engine made a text of it: structured config is JSON, a plain word stays one, so that the
 * schema can say what it expected instead, and a key with nothing after it says nothing.
 */
export function parseValue(text: string): unknown {
  if (text === "") return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The engine writes each as `secure: ciphertext`. */
function holdsSecret(value: unknown): boolean {
  if (value === null || typeof value !== "object") return false;
  return Object.entries(value).some(([key, inner]) => key === "secure" || holdsSecret(inner));
}
