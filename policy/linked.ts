/** Which resources belong together, among those of a stack. */
import type { StackResource } from "./policy.ts";
import { at } from "./values.ts";

export function ofType(resources: readonly StackResource[], ...types: readonly string[]): StackResource[] {
  return resources.filter(({ type }) => types.includes(type));
}

/** Whether `property` of `part` is about `owner`: its value comes from there, or is the name that both have. */
export function isAbout(part: StackResource, property: string, owner: StackResource, name = property): boolean {
  const value = at(part.props, property);
  return (
    part.propertyDependencies[property]?.includes(owner) === true ||
    (typeof value === "string" && value === at(owner.props, name))
  );
}

/** Everything that must be there before the resource is: what it depends on, and what that depends on. */
export function before(resource: StackResource): ReadonlySet<StackResource> {
  const found = new Set<StackResource>();
  const waiting = [...resource.dependencies];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (found.has(next)) continue;
    found.add(next);
    waiting.push(...next.dependencies);
  }
  return found;
}

/** Whether a component of this type is above it. */
export function isWithin(resource: StackResource, type: string): boolean {
  for (let above = resource.parent; above !== undefined; above = above.parent) if (above.type === type) return true;
  return false;
}
