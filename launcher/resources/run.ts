/**
 * One training run. `create` finds or submits, then waits; `update` finds or resumes; `diff` says what trains again and what does
 * not; `delete` stops what still runs and removes nothing.
 */

import type { Backend, CloudRun, Completion, RunState, Subtrees, VolumeRef } from "../backend.ts";
import type { Placed } from "../by-place.ts";
import { findCompletion } from "../completion.ts";
import { messageOf } from "../errors.ts";
import { fingerprintOf, runName } from "../identity.ts";
import type { CallContext, CheckFailure, DiffAnswer, ReportContext, ResourceHandler } from "../resource-handler.ts";
import { hasUnknown, UNKNOWN } from "../values.ts";
import type { AllowanceFacts } from "./allowance.ts";
import type { RunConductor } from "./run-conductor.ts";
import { changedDescription, isSameRun, whyItTrains } from "./run-reasons.ts";
import { specOf } from "./run-spec.ts";

export interface RunInputs extends Placed {
  readonly stack: string;
  readonly pipeline: string;
  readonly gpus: number;
  readonly trainerConfig: Readonly<Record<string, unknown>>;
  readonly models: Subtrees;
  readonly datasets: Subtrees;
  /** Runs whose checkpoint this one reads: fingerprint and checkpoint URI, by pipeline. */
  readonly needs: Readonly<Record<string, { readonly fingerprint: string; readonly checkpointUri: string }>>;
  readonly criticCheckpoint?: string;
  /** Hash of the directory that a critic named by its path is in, where a volume brings it. */
  readonly checkpoints?: Subtrees;
  readonly resultsVersion: string;
  readonly rerun?: string;

  /** Models may be in a bucket while data is in a volume. */
  readonly volumes: { readonly models: VolumeRef; readonly datasets: VolumeRef };
  readonly trackerUrl: string;
  /** What it runs in, by digest; the local target has none. Recorded, and no reason to train again. */
  readonly image?: string;
  /** What it takes on the GPU cloud; counts at the next submission, and is no reason to train again. */
  readonly cloud?: CloudRun;
  readonly experiment: string;
  readonly tags: readonly string[];
  readonly effectiveBatch: number;
  readonly maxDurationSeconds: number;

  readonly maxParallel: number;
  readonly retries: number;
  /** Null: until the run is over. */
  readonly waitSeconds: number | null;

  /** Filled by `check`. */
  readonly fingerprint?: string;
  readonly name?: string;
  readonly checkpointUri?: string;
  /** Filled by `check`, for people: the document that is submitted, where there is one. */
  readonly submission?: string;
  /**
   * Filled by `check`, for a preview: why the run is made or updated, if it is. Left out of the outputs, so that a program sees none of a
   * run that stays as it is.
   */
  readonly trains?: string;
}

/** Facts of the run; those of training are null until it has completed. */
export interface RunFacts {
  readonly status: RunState["status"] | "pending";
  readonly attempts: number;
  /** Seconds that all attempts have run so far; null where nothing is known of them any more. */
  readonly usedSeconds: number | null;
  readonly runId: string;
  readonly runUrl: string;
  readonly mlflowRunUrl: string | null;
  readonly firstLoss: number | null;
  readonly finalLoss: number | null;
  readonly steps: number | null;
  readonly startedAt: string | null;
  readonly finishedAt: string | null;
  readonly durationSeconds: number | null;
  readonly checkpoint: string | null;
  readonly metrics: Readonly<Record<string, number>>;
  readonly reason: string | null;
  /**
   * What is used of `maxDuration` and `retries`, while the run goes on without us: the next `up` carries on with that. Null once the run
   * ended, well or badly, so that the next `up` begins anew; states of older versions have none.
   */
  readonly allowance?: AllowanceFacts | null;
}
export type RunOutputs = Omit<RunInputs, "trains"> & RunFacts;

export class RunHandler implements ResourceHandler<RunInputs, RunOutputs> {
  private readonly backend: Backend;
  private readonly conductor: RunConductor;
  /** Old inputs by URN: the engine checks what it replaces a second time, and then does not say what was there before. */
  private readonly previous = new Map<string, RunInputs>();

  constructor(backend: Backend, conductor: RunConductor) {
    this.backend = backend;
    this.conductor = conductor;
  }

  async check(
    inputs: RunInputs,
    previous: RunInputs | undefined,
    { urn, log }: ReportContext,
  ): Promise<{ inputs: RunInputs; failures: CheckFailure[] }> {
    const before = previous ?? this.previous.get(urn);
    if (before !== undefined) this.previous.set(urn, before);
    const identity = identityOf(inputs);
    if (hasUnknown(identity)) {
      const unknown = { ...inputs, fingerprint: UNKNOWN, name: UNKNOWN, checkpointUri: UNKNOWN };
      const trains = await this.announce(before, unknown, { urn, log });
      return { inputs: { ...unknown, trains }, failures: await this.examine(unknown, { urn, log }) };
    }
    const fingerprint = fingerprintOf(identity);
    const name = runName(inputs.stack, inputs.pipeline, fingerprint);
    const checkpointUri = this.backend.checkpointUri(inputs.stack, inputs.pipeline, fingerprint);
    const filled = { ...inputs, fingerprint, name, checkpointUri };
    const trains = await this.announce(before, filled, { urn, log });
    const failures = [
      ...missingSubtrees(inputs),
      ...(await this.missingCritic(inputs, { urn, log })),
      ...(await this.examine(filled, { urn, log })),
    ];
    const submission = this.backend.describe(specOf(filled));
    return { inputs: { ...filled, trains, ...(submission === undefined ? {} : { submission }) }, failures };
  }

  /** Why it trains; also on the run's own line, but for one of which nothing differs: of that, `diff` tells. */
  private async announce(
    before: RunInputs | undefined,
    inputs: RunInputs,
    { urn, log }: ReportContext,
  ): Promise<string> {
    let hidden = "";
    const trains = await whyItTrains(before, inputs, async () => {
      try {
        const { checkpointUri, fingerprint } = inputs;
        return (await findCompletion(this.backend, checkpointUri as string, fingerprint as string)) !== undefined;
      } catch (error) {
        // A preview works without a login; the update will need one, and says so.
        hidden = ` (cannot be looked at: ${messageOf(error)})`;
        return undefined;
      }
    });
    const differs = before === undefined || !isSameRun(before, inputs) || changedDescription(before, inputs).length > 0;
    if (differs) log.status(urn, `effective batch ${inputs.effectiveBatch}, ${trains}${hidden}`);
    return trains;
  }

  private async examine(inputs: RunInputs, { urn, log }: ReportContext): Promise<CheckFailure[]> {
    const { problems, warnings } = await this.backend.examine(specOf(inputs));
    for (const warning of warnings) log.warn(urn, warning);
    return problems.map((reason) => ({ property: "", reason }));
  }

  async diff(id: string, before: RunOutputs, inputs: RunInputs, { urn, log }: ReportContext): Promise<DiffAnswer> {
    // The same content under another name is another run too: the stack was renamed, and its checkpoints are elsewhere.
    const replaced = (["fingerprint", "name", "checkpointUri"] as const).find((key) => before[key] !== inputs[key]);
    if (replaced !== undefined) {
      // Two runs of one pipeline would burn GPUs twice, or wait for each other in a queue of one.
      return { changes: true, replaces: [replaced], deleteBeforeReplace: await this.isActive(id, before) };
    }
    if (before.status !== "completed") {
      log.info(
        urn,
        before.reason === null
          ? `attempt ${before.attempts} was going on: the update attaches to it, adopts what it trained or resumes it`
          : `attempt ${before.attempts + 1}; last: ${before.reason}`,
      );
      return { changes: true };
    }
    return { changes: changedDescription(before, inputs).length > 0 };
  }

  private async isActive(id: string, before: RunOutputs): Promise<boolean> {
    try {
      return (await this.backend.findRun(before.stack, id))?.status === "running";
    } catch {
      return before.status === "running"; // a preview works without a login; the update asks again
    }
  }

  /** A critic named in the stack file, unlike one of this stack, must be there already. */
  private async missingCritic({ criticCheckpoint }: RunInputs, { urn, log }: ReportContext): Promise<CheckFailure[]> {
    if (criticCheckpoint === undefined) return [];
    try {
      if (await this.backend.hasCheckpoint(criticCheckpoint)) return [];
    } catch (error) {
      log.warn(urn, `cannot look whether criticCheckpoint ${criticCheckpoint} is there: ${messageOf(error)}`);
      return [];
    }
    const reason = `criticCheckpoint ${criticCheckpoint} is not there: name the directory of a trained critic's checkpoint_best`;
    return [{ property: "", reason }];
  }

  async create(
    { trains: _, ...inputs }: RunInputs,
    context: CallContext,
  ): Promise<{ id: string; outputs: RunOutputs }> {
    return { id: inputs.name as string, outputs: await this.conductor.bringToCompletion(inputs, context) };
  }

  async update(
    _id: string,
    before: RunOutputs,
    { trains: _, ...inputs }: RunInputs,
    context: CallContext,
  ): Promise<RunOutputs> {
    return this.conductor.bringToCompletion(inputs, context, before);
  }

  /** The marker beside the checkpoint is the truth: without it a completed run is not one any more, and trains again. */
  async read(id: string, before: RunOutputs): Promise<RunOutputs> {
    const completion = await findCompletion(this.backend, before.checkpointUri as string, before.fingerprint as string);
    if (completion !== undefined)
      return { ...before, ...completedFacts(completion, before, await this.backend.findRun(before.stack, id)) };
    const state = await this.backend.findRun(before.stack, id);
    if (state === undefined || state.status === "completed")
      return { ...before, status: "lost", reason: "its checkpoint is gone", allowance: null };
    // What the infrastructure broke meanwhile goes on with the next `up`, as it would have had one waited.
    const goesOn = state.status === "running" || state.retryable;
    return { ...before, ...openFacts(state), allowance: goesOn ? (before.allowance ?? null) : null };
  }

  async delete(id: string, before: RunOutputs): Promise<void> {
    await this.backend.terminate(before.stack, id, "its resource was deleted or replaced");
  }
}

function identityOf(inputs: RunInputs) {
  const { pipeline, trainerConfig, models, datasets, gpus, criticCheckpoint, checkpoints, resultsVersion, rerun } =
    inputs;
  const needs = Object.fromEntries(Object.entries(inputs.needs).map(([needed, run]) => [needed, run.fingerprint]));
  return {
    pipeline,
    trainerConfig,
    models,
    datasets,
    gpus,
    needs,
    criticCheckpoint,
    checkpoints,
    resultsVersion,
    rerun,
  };
}

/** A model or data set named in the stack file that its volume does not hold. The engine puts a named property's whole value first. */
function missingSubtrees({ models, datasets, checkpoints = {} }: RunInputs): CheckFailure[] {
  const missing = (property: "models" | "datasets" | "checkpoints", subtrees: Subtrees) =>
    Object.entries(subtrees)
      .filter(([, hash]) => hash === "")
      .map(([name]) => ({
        property: "",
        reason: `${name} is not in the source of the ${property} volume (wmtp:volumes.sources.${property}): put it there, or name another in the stack file`,
      }));
  return [...missing("models", models), ...missing("datasets", datasets), ...missing("checkpoints", checkpoints)];
}

/** Facts of a run that is not over, or ended badly. */
export function openFacts(state: RunState | undefined): RunFacts {
  return {
    status: state?.status ?? "pending",
    attempts: state?.attempts ?? 0,
    usedSeconds: state?.usedSeconds ?? 0,
    runId: state?.runId ?? "",
    runUrl: state?.runUrl ?? "",
    mlflowRunUrl: null,
    firstLoss: null,
    finalLoss: null,
    steps: null,
    startedAt: null,
    finishedAt: null,
    durationSeconds: null,
    checkpoint: null,
    metrics: {},
    reason: state?.reason ?? null,
    allowance: null,
  };
}

export function completedFacts(
  completion: Completion,
  { trackerUrl, checkpointUri }: RunInputs,
  state: RunState | undefined,
): RunFacts {
  const { mlflow_run_id: mlflowRun, mlflow_experiment_id: experiment } = completion;
  return {
    ...openFacts(state),
    status: "completed",
    usedSeconds: state?.usedSeconds ?? null,
    reason: null,
    mlflowRunUrl: mlflowRun === null ? null : `${trackerUrl}/#/experiments/${experiment}/runs/${mlflowRun}`,
    firstLoss: completion.first_loss,
    finalLoss: completion.final_loss,
    steps: completion.steps,
    startedAt: completion.started_at,
    finishedAt: completion.finished_at,
    durationSeconds: completion.duration_seconds,
    checkpoint: `${checkpointUri}/${completion.checkpoint}`,
    metrics: completion.metrics,
  };
}
