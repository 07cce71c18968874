/** The MLflow server of a local stack: started, health-checked, healed, kept across updates, stopped on destroy. */
import type { LocalTracker } from "../local/tracker.ts";
import type { CallContext, CheckFailure, DiffAnswer, ResourceHandler } from "../resource-handler.ts";

export interface TrackingServerInputs {
  readonly stack: string;
  /** Filled by `check`. */
  readonly url?: string;
}

export class TrackingServerHandler implements ResourceHandler<TrackingServerInputs, TrackingServerInputs> {
  private readonly tracker: LocalTracker;

  constructor(tracker: LocalTracker) {
    this.tracker = tracker;
  }

  async check(
    inputs: TrackingServerInputs,
    previous: TrackingServerInputs | undefined,
  ): Promise<{ inputs: TrackingServerInputs; failures: CheckFailure[] }> {
    return { inputs: { ...inputs, url: await this.tracker.chooseUrl(inputs.stack, previous?.url) }, failures: [] };
  }

  /** A server that does not answer is a change: the update heals it. */
  async diff(_id: string, before: TrackingServerInputs, inputs: TrackingServerInputs): Promise<DiffAnswer> {
    return {
      changes: before.url !== inputs.url || !(await this.tracker.isHealthy(inputs.stack, inputs.url as string)),
    };
  }

  async create(
    inputs: TrackingServerInputs,
    { urn, log }: CallContext,
  ): Promise<{ id: string; outputs: TrackingServerInputs }> {
    await this.tracker.ensure(inputs.stack, inputs.url as string, (seconds) =>
      log.status(urn, `mlflow server is starting (${seconds}s, about 8s as a rule)`),
    );
    log.status(urn, `mlflow server answers at ${inputs.url}`);
    return { id: `wmtp-${inputs.stack}-tracker`, outputs: inputs };
  }

  async update(
    _id: string,
    _before: TrackingServerInputs,
    inputs: TrackingServerInputs,
    context: CallContext,
  ): Promise<TrackingServerInputs> {
    return (await this.create(inputs, context)).outputs;
  }

  async read(_id: string, before: TrackingServerInputs): Promise<TrackingServerInputs> {
    return before; // whether it answers is `diff`'s business: a dead server is healed, not forgotten
  }

  async delete(_id: string, before: TrackingServerInputs): Promise<void> {
    await this.tracker.stop(before.stack);
  }
}
