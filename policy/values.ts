/** Properties of resources as plain values, and what policies ask of them. Undefined is never safe; what is not known is marked. */
import type { Resource, Verdict } from "./policy.ts";

/** Stands for a value that only the update will know. */
export const UNKNOWN = Symbol("not known in a preview");
export type Value =
  | string
  | number
  | boolean
  | null
  | undefined
  | typeof UNKNOWN
  | readonly Value[]
  | { readonly [key: string]: Value };
export type Properties = { readonly [key: string]: Value };

export function isObject(value: Value): value is Properties {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/** The value at `metadataOptions.httpTokens`; UNKNOWN where it, or something above it, is not known. */
export function at(value: Value, path: string): Value {
  let here = value;
  for (const key of path.split(".")) {
    if (here === UNKNOWN) return UNKNOWN;
    if (Array.isArray(here)) here = (here as readonly Value[])[Number(key)];
    else if (isObject(here)) here = Object.hasOwn(here, key) ? here[key] : undefined;
    else return undefined;
  }
  return here;
}

/** What a JSON text says; undefined for what is none. The parser's own error would repeat the text. */
export function parsed(text: Value): Value {
  try {
    return typeof text === "string" ? (JSON.parse(text) as Value) : undefined;
  } catch {
    return undefined;
  }
}

/** A list, or nothing; a single value is not a list of one. */
export function list(value: Value): readonly Value[] {
  return Array.isArray(value) ? (value as readonly Value[]) : [];
}

/** Whether anything in it is not known. */
export function hasUnknown(value: Value): boolean {
  if (value === UNKNOWN) return true;
  if (Array.isArray(value)) return (value as readonly Value[]).some(hasUnknown);
  return isObject(value) && Object.values(value).some(hasUnknown);
}

/** Every text of a value with its path: `["cloud.env.S3_BUCKET_NAME", "wmtp"]`. Keys that hold nothing but data are texts too. */
export function texts(value: Value, path = ""): [path: string, text: string][] {
  if (typeof value === "string") return [[path, value]];
  const entries = Array.isArray(value) ? [...value.entries()] : isObject(value) ? Object.entries(value) : [];
  return entries.flatMap(([key, inner]) => texts(inner as Value, path === "" ? String(key) : `${path}.${key}`));
}

/** Demands something of a property that is written literally, so that a preview always knows it. */
export function demand(
  verdict: Verdict,
  resource: Resource,
  path: string,
  fine: (value: Value) => boolean,
  message: string,
): void {
  const value = at(resource.props, path);
  if (hasUnknown(value)) verdict.violated(notLiteral(path), resource);
  else if (!fine(value)) verdict.violated(`${path} ${message}`, resource);
}

/** What must be known before anything is paid for, and is not, is no better than wrong. */
export function notLiteral(path: string): string {
  return `${path} is not known in a preview, and must be: write it literally`;
}

export const is =
  (wanted: Value) =>
  (value: Value): boolean =>
    value === wanted;

export const between =
  (least: number, most: number) =>
  (value: Value): boolean =>
    typeof value === "number" && value >= least && value <= most;

export const isText = (value: Value): value is string => typeof value === "string" && value !== "";
