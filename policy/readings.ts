/** What the SDK reads anew for each policy, read once: of a resource with a whole trainer config that is most of what a preview pays for. */
import type { PolicyResource, ResourceValidationArgs } from "@pulumi/policy";
import type { PolicyId } from "./ids.ts";
import type { Resource, StackResource } from "./policy.ts";
import { toResource, toStackResources } from "./sdk-values.ts";

interface Reading<Value> {
  readonly value: Value;
  /** Policies that were given it: one that asks again asks about another registration. */
  readonly given: Set<PolicyId>;
}

export class Readings {
  private readonly single = new Map<string, Reading<Resource>>();
  private whole: Reading<readonly StackResource[]> | undefined;

  /** The resource, as it is read when the first policy asks. */
  resource(policy: PolicyId, args: ResourceValidationArgs): Resource {
    const known = this.single.get(args.urn);
    const reading =
      known === undefined || known.given.has(policy) ? { value: toResource(args), given: new Set<PolicyId>() } : known;
    this.single.set(args.urn, reading);
    reading.given.add(policy);
    return reading.value;
  }

  /** All resources of the stack, at its end. */
  stack(policy: PolicyId, all: readonly PolicyResource[]): readonly StackResource[] {
    if (this.whole === undefined || this.whole.given.has(policy))
      this.whole = { value: toStackResources(all), given: new Set() };
    this.whole.given.add(policy);
    return this.whole.value;
  }

  /** Forgets everything; what comes next is another deployment. */
  clear(): void {
    this.single.clear();
    this.whole = undefined;
  }
}
