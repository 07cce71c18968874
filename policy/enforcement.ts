/** Asks the policies, and says what they found at the level that counts, unless a waiver takes it on record. */
import type { PolicyId } from "./ids.ts";
import type { Policy, Resource, StackResource, Verdict } from "./policy.ts";
import type { StackSettings } from "./stack-settings.ts";

export type Level = "mandatory" | "advisory" | "disabled";
export type Report = (message: string, urn?: string) => void;

export class Enforcement {
  private readonly stack: StackSettings;
  /** Indices into the stack's waivers. */
  private readonly used = new Set<number>();
  /** Policy -> names of the resources that it could not decide about. */
  private readonly open = new Map<PolicyId, Set<string>>();

  constructor(stack: StackSettings) {
    this.stack = stack;
  }

  levelOf(policy: Policy): Level {
    return this.stack.policies.levels[policy.id] ?? policy.level ?? "mandatory";
  }

  /** Asks a policy about a resource, before that is created or changed. */
  eachOf(policy: Policy, resource: Resource, report: Report): void {
    if (policy.types !== "every" && !policy.types?.includes(resource.type)) return;
    const verdict = this.verdict(policy, report, resource);
    guard(policy, verdict, () => policy.eachOf?.(resource, verdict, this.stack));
  }

  /** Asks a policy about the stack, at its end. */
  wholeStack(policy: Policy, resources: readonly StackResource[], report: Report): void {
    if (!resources.some(({ type }) => policy.stackTypes?.includes(type))) return;
    const root = resources.find(({ type }) => type === "pulumi:pulumi:Stack") as StackResource;
    const verdict = this.verdict(policy, report, root);
    guard(policy, verdict, () => policy.wholeStack?.(resources, verdict, this.stack));
  }

  /** Waivers that do not count, or that count for nothing; to be asked when every policy was. */
  reportWaivers(report: Report): void {
    for (const [index, { policy, resource, expires }] of this.stack.waivers.entries()) {
      const what = `the waiver of ${policy} for ${resource}`;
      if (expires < this.stack.today) {
        report(`${what} has expired (${expires}): look at the risk again, then renew it or drop it`);
      } else if (!this.used.has(index) && !this.open.get(policy as PolicyId)?.has(resource)) {
        report(`${what} is of no use: nothing there violates it. Drop it, or correct its policy or its resource`);
      }
    }
  }

  /** Waivers that count, with their reasons. */
  reportWaived(report: Report): void {
    for (const index of this.used) {
      const { policy, resource, reason, expires } = this.stack.waivers[index]!;
      report(`${policy} is waived for ${resource} until ${expires}: ${reason}`);
    }
  }

  /** What a preview could not decide, a line each; empty when there is nothing. */
  undecided(): string[] {
    return [...this.open].map(([policy, names]) => `${policy}: ${[...names].sort().join(", ")}`).sort();
  }

  private verdict(policy: Policy, report: Report, subject: Resource): Verdict {
    return {
      violated: (message, of = subject) => {
        if (this.waives(policy.id, of.name)) return;
        report(`${message}. ${policy.remedy}`, of.urn);
      },
      undecided: (property, of = subject) => {
        if (this.stack.preview) this.open.set(policy.id, (this.open.get(policy.id) ?? new Set()).add(of.name));
        else report(`${property} is not known even now, so this cannot be decided. ${policy.remedy}`, of.urn);
      },
    };
  }

  private waives(policy: PolicyId, resource: string): boolean {
    const index = this.stack.waivers.findIndex(
      (waiver) => waiver.policy === policy && waiver.resource === resource && waiver.expires >= this.stack.today,
    );
    if (index >= 0) this.used.add(index);
    return index >= 0;
  }
}

/** A policy that fails lets nothing pass; its error may repeat a value, so that only where it failed is said. */
function guard(policy: Policy, verdict: Verdict, ask: () => void): void {
  try {
    ask();
  } catch (error) {
    const where = error instanceof Error ? /\n\s*at [^\n]*/.exec(error.stack ?? "")?.[0].trim() : undefined;
    verdict.violated(`${policy.id} failed itself and cannot decide (${where ?? "no more is known"})`);
  }
}
