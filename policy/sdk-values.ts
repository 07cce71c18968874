/** From what the SDK hands to a policy to plain values. It throws where something that is not known is read; here that is a value. */
import { type PolicyResource, type ResourceValidationArgs, UnknownValueError } from "@pulumi/policy";
import type { Resource, StackResource } from "./policy.ts";
import { type Properties, UNKNOWN, type Value } from "./values.ts";

export function toResource(args: ResourceValidationArgs | PolicyResource): Resource {
  return {
    type: args.type,
    name: args.name,
    urn: args.urn,
    props: plain(args.props) as Properties,
    protect: args.opts.protect,
    provider: args.provider === undefined ? undefined : (plain(args.provider.props) as Properties),
  };
}

/** The same for all resources of a stack, linked with each other as they were. */
export function toStackResources(all: readonly PolicyResource[]): StackResource[] {
  type Linked = { -readonly [Key in keyof StackResource]: StackResource[Key] };
  const found = new Map<PolicyResource, Linked>(
    all.map((one) => [one, { ...toResource(one), dependencies: [], propertyDependencies: {} }]),
  );
  const linked = (others: readonly PolicyResource[]) => others.flatMap((other) => found.get(other) ?? []);
  for (const [one, resource] of found) {
    resource.parent = one.parent === undefined ? undefined : found.get(one.parent);
    resource.dependencies = linked(one.dependencies);
    resource.propertyDependencies = Object.fromEntries(
      Object.entries(one.propertyDependencies).map(([property, others]) => [property, linked(others)]),
    );
  }
  return [...found.values()];
}

/** A copy of what is known, with a mark where something is not. */
export function plain(value: unknown): Value {
  if (Array.isArray(value)) return Array.from({ length: value.length }, (_, index) => read(value, index));
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.keys(value).map((key) => [key, read(value, key)]));
  }
  return value as Value;
}

function read(holder: object, key: PropertyKey): Value {
  try {
    return plain((holder as Record<PropertyKey, unknown>)[key]);
  } catch (error) {
    if (error instanceof UnknownValueError) return UNKNOWN;
    throw error;
  }
}
