/** Changes of what a program registers, one at a time: each property flipped, each removed. */
import type { StackResource } from "../../policy/policy.ts";
import type { Value } from "../../policy/values.ts";
import type { Changeable } from "./support.ts";

export interface Mutation {
  /** Type and path, without the positions in lists: `aws:ec2/instance:Instance rootBlockDevice.encrypted`. */
  readonly property: string;
  readonly how: "flipped" | "removed";
  readonly of: StackResource;
  /** The resource as it is after the change. */
  readonly changed: Changeable;
}

/** Every mutation of the inputs of a resource; a policy document is looked into. */
export function* mutationsOf(of: StackResource): Generator<Mutation> {
  for (const { path, how, value } of changesOf(of.props)) {
    // What is changed comes from nowhere else any more.
    const { [path.split(".")[0] as string]: _, ...propertyDependencies } = of.propertyDependencies;
    const changed = { ...of, props: value as Record<string, Value>, propertyDependencies } as Changeable;
    yield { property: `${of.type} ${path}`, how, of, changed };
  }
  if (of.protect)
    yield { property: `${of.type} (protect)`, how: "removed", of, changed: { ...of, protect: false } as Changeable };
}

interface Change {
  readonly path: string;
  readonly how: Mutation["how"];
  /** The whole value, with the change in it. */
  readonly value: Value;
}

function* changesOf(value: Value, at = ""): Generator<Change> {
  if (Array.isArray(value)) {
    for (const index of value.keys()) {
      yield { path: "[]", how: "removed", value: value.filter((_, other) => other !== index) };
      for (const inner of changesOf(value[index], at))
        yield { ...inner, path: joined("[]", inner.path), value: value.with(index, inner.value) };
    }
    return;
  }
  if (value !== null && typeof value === "object") {
    for (const [key, inner] of Object.entries(value)) {
      if (inner === undefined) continue;
      const rest = Object.fromEntries(Object.entries(value).filter(([other]) => other !== key));
      yield { path: key, how: "removed", value: rest };
      for (const change of changesOf(inner, joined(at, key)))
        yield { ...change, path: joined(key, change.path), value: { ...value, [key]: change.value } };
    }
    return;
  }
  const document = typeof value === "string" && value.startsWith("{") ? parsed(value) : undefined;
  if (document === undefined && flipped(value, at) !== value)
    yield { path: "", how: "flipped", value: flipped(value, at) };
  for (const change of document === undefined ? [] : changesOf(document, at))
    yield { ...change, value: JSON.stringify(change.value) };
}

const joined = (...parts: readonly string[]) => parts.filter((part) => part !== "").join(".");

/** The worst that a value could be, by its form and its place. */
function flipped(value: Value, path: string): Value {
  if (typeof value === "boolean") return !value;
  if (typeof value === "number") return value * 1000 + 1;
  if (typeof value !== "string") return "something";
  if (path === "userData") return `${value}\nexport DB_PASSWORD=hunter22`;
  if (path === "imageName") return "docker.io/somebody/else:latest";
  if (/^\d+(\.\d+){3}\/\d+$/.test(value)) return "0.0.0.0/0";
  if (value === "Deny") return "Allow";
  const named = /^arn:|^[a-z0-9]+:[A-Z]\w+$/.test(value); // a resource or an action
  return named || path.includes("Principal") || path.includes("Condition") ? "*" : `${value}x`;
}

function parsed(text: string): Value {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
