/** One kind of resource: what the engine asks of it, with the wire format already taken off. */
import type { ResourceLog } from "./engine-log.ts";

export interface CheckFailure {
  readonly property: string;
  readonly reason: string;
}

export interface DiffAnswer {
  readonly changes: boolean;
  /** Inputs that make it another thing; empty: the same thing, to be updated. */
  readonly replaces?: string[];
  readonly deleteBeforeReplace?: boolean;
}

/** How a call reports. */
export interface ReportContext {
  readonly urn: string;
  readonly log: ResourceLog;
}

/** How a call that takes long reports, and how it is stopped from outside. */
export interface CallContext extends ReportContext {
  /** Rejects, with the reason, when the engine cancels or is gone. */
  readonly stopped: Promise<never>;
}

/** `Outputs` repeats every input: the engine shows a later `diff` the old outputs only. */
export interface ResourceHandler<Inputs, Outputs extends Inputs> {
  /** Inputs that may be secret, and are kept so wherever they go; all others are refused when they are. @default none */
  readonly secretInputs?: readonly string[];
  /** Fills in what follows from the inputs, so that dependents see it in a preview. `previous` are the old inputs, if any. */
  check(
    inputs: Inputs,
    previous: Inputs | undefined,
    context: ReportContext,
  ): Promise<{ inputs: Inputs; failures: CheckFailure[] }>;
  diff(id: string, before: Outputs, inputs: Inputs, context: ReportContext): Promise<DiffAnswer>;
  create(inputs: Inputs, context: CallContext): Promise<{ id: string; outputs: Outputs }>;
  update(id: string, before: Outputs, inputs: Inputs, context: CallContext): Promise<Outputs>;
  /** The resource as it is now; undefined when it is gone. */
  read(id: string, before: Outputs): Promise<Outputs | undefined>;
  delete(id: string, before: Outputs, context: CallContext): Promise<void>;
}
