/** What a policy is. Policies are plain data and plain functions: `index.ts` alone makes a pack of them. */
import type { PolicyId } from "./ids.ts";
import type { StackSettings } from "./stack-settings.ts";
import type { Properties } from "./values.ts";

/** A resource as the program registers it, its inputs filled in by the provider's check. */
export interface Resource {
  readonly type: string;
  /** Logical name: what a waiver names. */
  readonly name: string;
  readonly urn: string;
  readonly props: Properties;
  readonly protect: boolean;
  /** Inputs of its provider; undefined for a component. */
  readonly provider?: Properties | undefined;
}

/** A resource at the end of a preview or an update, among all the others. */
export interface StackResource extends Resource {
  readonly parent?: StackResource | undefined;
  /** A component stands for its children here. */
  readonly dependencies: readonly StackResource[];
  /** By property: the resources that its value comes from. */
  readonly propertyDependencies: Readonly<Record<string, readonly StackResource[]>>;
}

/** Where a policy says what it found. No message may hold the value of a property that could be a secret. */
export interface Verdict {
  violated(message: string, of?: Resource): void;
  /** The value is not known in this preview, and need not be: the update decides, before it changes the resource. */
  undecided(property: string, of?: Resource): void;
}

export const THEMES = ["storage", "network", "identity", "secrets", "image", "training", "cost", "tags"] as const;
export type Theme = (typeof THEMES)[number];

export interface Policy {
  readonly id: PolicyId;
  /** What must hold, as a sentence without its full stop. */
  readonly demands: string;
  readonly severity: "low" | "medium" | "high" | "critical";
  /** @default "mandatory" */
  readonly level?: "advisory";
  /** Where others demand the same. @example ["CIS AWS 3.0: 5.6", "FSBP EC2.8", "checkov CKV_AWS_79"] */
  readonly controls: readonly string[];
  /** What to do about a violation. */
  readonly remedy: string;
  /** Types whose resources are looked at one by one, before each is created or changed; with `eachOf`. */
  readonly types?: readonly string[] | "every";
  eachOf?(resource: Resource, verdict: Verdict, stack: StackSettings): void;
  /** Looks at all resources together, at the end; only where one of these types is there. */
  readonly stackTypes?: readonly string[];
  wholeStack?(resources: readonly StackResource[], verdict: Verdict, stack: StackSettings): void;
}
