/** What a stand-in says about its package: the types it has, and what each of them does. */
import type { Properties } from "./wire.ts";

export interface ResourceContext {
  readonly type: string;
  /** Logical name, the first argument of the resource's constructor. */
  readonly name: string;
  readonly urn: string;
  /** Lower-case hexadecimal digits that belong to this resource, and to no earlier one that it replaces. */
  suffix(salt: string, digits: number): string;
  /** Aborted when the engine cancels: what takes long must end then. */
  readonly signal: AbortSignal;
  /** Replaces the status on the resource's row. It is shown: no secret in it. */
  status(message: string): void;
}

/** Inputs and outputs are without secret wrappers; what was secret as an input is again as an output of the same name. */
export interface ResourceType {
  /** Properties whose change needs a new resource; a change of any other is an update. */
  readonly replaces: readonly string[] | "all";
  /** The old resource goes before the new one comes. Default: only if they would have the same `autoName`. */
  readonly deleteFirst?: boolean;
  /** The property that is filled as `<logical name>-<7 digits>` where the program leaves it out. */
  readonly autoName?: string;
  /** Computed outputs that are secret whatever the inputs are. */
  readonly secretOutputs?: readonly string[];
  /** Computed outputs that are secret if any input is. Default: none. */
  readonly derivedOutputs?: readonly string[];
  /** Defaults for what the program leaves out. Values may be unknown still. @throws Error if the inputs cannot be. */
  check?(inputs: Properties): Properties;
  /** What of the inputs counts when old and new ones are compared. Default: everything. */
  compared?(inputs: Properties): Properties;
  /** Replaces `replaces` for this change: for rules that other properties decide. */
  mustReplace?(changed: readonly string[], inputs: Properties): readonly string[];
  /** Whether the resource has to be made anew although nothing changed: `readyForRenewal` is then what the engine shows. */
  isDue?(old: Properties, inputs: Properties): boolean;
  create(inputs: Properties, context: ResourceContext): Promise<Created>;
  /** Computed outputs that follow from id and inputs alone: made at every create and update, and known in previews of updates. */
  derive?(id: string, inputs: Properties): Properties;
  /** Returns the computed outputs that change; a preview then knows none. Default: all stay as they are. */
  update?(id: string, old: Properties, inputs: Properties, context: ResourceContext): Promise<Properties>;
  /** `old` with what the hook said of it. */
  delete?(id: string, old: Properties, context: ResourceContext): Promise<void>;
  /** Told of every resource that is in the state already, with its outputs, before anything is done to it. */
  seen?(old: Properties): void;
  /** Makes up the inputs of a resource that is not in the state, from its id (`Bucket.get`). */
  adopt?(id: string): Properties;
}

export interface Created {
  readonly id: string;
  /** Computed outputs; the inputs are added. */
  readonly outputs: Properties;
}

export interface Package {
  /** As in type tokens: `aws`. */
  readonly name: string;
  readonly version: string;
  readonly types: Readonly<Record<string, ResourceType>>;
  readonly functions: Readonly<Record<string, (args: Properties) => Properties | Promise<Properties>>>;
  /** @throws Error if the provider's configuration lacks something. */
  configure?(config: Properties): void;
}
