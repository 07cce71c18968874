/** Brings a run to completion: adopt, attach or submit; wait, resume what the infrastructure broke, and say why when it fails. */
import { setTimeout as sleep } from "node:timers/promises";
import { formatDuration } from "../../components/units.ts";
import type { Backend, RunState } from "../backend.ts";
import { findCompletion } from "../completion.ts";
import { Detached, messageOf, ResourceIncomplete } from "../errors.ts";
import { DEADLINE_PASSED } from "../outcome.ts";
import type { CallContext } from "../resource-handler.ts";
import type { Slots } from "../slots.ts";
import { lastWords } from "../trainer-events.ts";
import { Allowance, type Before } from "./allowance.ts";
import { completedFacts, openFacts, type RunInputs, type RunOutputs } from "./run.ts";
import { specOf } from "./run-spec.ts";
import { watchRun } from "./run-watch.ts";

/** What broke the run could be resumed, and there is no time left to. */
class OutOfTime extends Error {}

/** Lines of the log in an error. */
const ERROR_LOG_LINES = 30;
/** Lines searched for the trainer's last words. */
const SEARCHED_LOG_LINES = 200;

export class RunConductor {
  private readonly backend: Backend;
  private readonly slots: Slots;
  /** Runs as they were last seen, by name: what is known of one while its place does not answer. */
  private readonly latest = new Map<string, RunState>();

  constructor(backend: Backend, slots: Slots) {
    this.backend = backend;
    this.slots = slots;
  }

  /**
   * `maxDuration` and `retries` bound all that this call makes run, resumptions together; of a run that an earlier call left going on,
   * also all since that was asked for. @param before the facts of the run so far
   * @throws ResourceIncomplete with the facts so far when the run failed, or goes on without us; the engine then keeps it.
   */
  async bringToCompletion(inputs: RunInputs, context: CallContext, before?: Before): Promise<RunOutputs> {
    const adopted = await this.completed(inputs);
    if (adopted !== undefined) return adopted;
    const allowance = new Allowance(before);
    await this.backend.assertUsable();
    const patience = new AbortController();
    const stop = new AbortController();
    Promise.race([context.stopped, waitRunsOut(inputs.waitSeconds, patience.signal)]).catch((why) => stop.abort(why));
    try {
      await this.requireNeeded(inputs);
      await this.supersede(inputs, context);
      const release = await this.slots.acquire(
        inputs.pipeline,
        inputs.maxParallel,
        async () => (await this.backend.activeRuns(inputs.stack)).map((run) => run.pipeline),
        (looks) => this.backend.pollMs(looks),
        stop.signal,
        (others) =>
          context.log.status(
            context.urn,
            `${inputs.pipeline} waits for ${others.join(", ")} (maxParallel ${inputs.maxParallel})`,
          ),
      );
      try {
        return await this.runOnce(inputs, allowance, context, stop.signal);
      } finally {
        release();
      }
    } catch (error) {
      throw await this.incomplete(inputs, allowance, error);
    } finally {
      patience.abort();
    }
  }

  private async runOnce(
    inputs: RunInputs,
    allowance: Allowance,
    context: CallContext,
    stop: AbortSignal,
  ): Promise<RunOutputs> {
    const name = inputs.name as string;
    const { urn, log } = context;
    let state = await this.start(inputs, allowance, context);
    for (;;) {
      const limited = { ...inputs, maxDurationSeconds: allowance.left(inputs.maxDurationSeconds, state) };
      state = await watchRun(this.backend, limited, state, { urn, log }, stop, (now) => this.latest.set(name, now));
      allowance.saw(state);
      if (state.status === "completed") break;
      if (!state.retryable) throw new Error(await this.explain(inputs, state));
      state = await this.resume(inputs, state, allowance, context);
    }
    const outputs = await this.completed(inputs);
    if (outputs === undefined)
      throw new Error(
        `${name} ended well but left no completion marker at ${inputs.checkpointUri}: see ${state.runUrl}`,
      );
    const losses = `${outputs.firstLoss?.toFixed(4)} -> ${outputs.finalLoss?.toFixed(4)}`;
    log.status(urn, `${inputs.pipeline}: ${outputs.steps} steps, loss ${losses}`);
    return outputs;
  }

  /** Attaches, or submits: what ended since an earlier call left it is resumed, and what nobody has a record of begins anew. */
  private async start(inputs: RunInputs, allowance: Allowance, context: CallContext): Promise<RunState> {
    const state = await this.backend.findRun(inputs.stack, inputs.name as string);
    if (state?.cancelled) throw new Error(cancelledByHand(inputs, state));
    const carriesOn = state !== undefined && allowance.facts !== null;
    if (carriesOn) allowance.saw(state);
    else allowance.begin(state);
    if (state?.status === "running") {
      context.log.info(
        context.urn,
        `${inputs.pipeline}: attached to attempt ${state.attempts}, which was still running`,
      );
      return state;
    }
    return carriesOn ? this.resume(inputs, state, allowance, context) : this.backend.submit(specOf(inputs));
  }

  private async resume(
    inputs: RunInputs,
    state: RunState,
    allowance: Allowance,
    { urn, log }: CallContext,
  ): Promise<RunState> {
    if (allowance.resumes >= inputs.retries) throw new Error(await this.explain(inputs, state));
    const left = allowance.left(inputs.maxDurationSeconds, state);
    if (left <= 0) throw new OutOfTime(await this.explain(inputs, { ...state, reason: DEADLINE_PASSED }));
    log.warn(urn, `${inputs.pipeline}: ${state.reason}; resuming (${allowance.resumes + 1} of ${inputs.retries})`);
    const resumed = await this.backend.submit(specOf({ ...inputs, maxDurationSeconds: left }));
    allowance.resumed(resumed);
    return resumed;
  }

  /** The run as it is when its completion marker and its checkpoint are both there. */
  private async completed(inputs: RunInputs): Promise<RunOutputs | undefined> {
    const completion = await findCompletion(this.backend, inputs.checkpointUri as string, inputs.fingerprint as string);
    if (completion === undefined) return undefined;
    return {
      ...inputs,
      ...completedFacts(completion, inputs, await this.backend.findRun(inputs.stack, inputs.name as string)),
    };
  }

  /** The state may say that a needed run completed long ago; what counts is that its checkpoint is there now. */
  private async requireNeeded({ pipeline, needs }: RunInputs): Promise<void> {
    for (const [needed, { checkpointUri, fingerprint }] of Object.entries(needs)) {
      if ((await findCompletion(this.backend, checkpointUri, fingerprint)) !== undefined) continue;
      throw new Error(
        `${pipeline} needs the checkpoint of ${needed}, which is not at ${checkpointUri}: run pulumi refresh, then pulumi up, to train ${needed} again`,
      );
    }
  }

  /** An active run of the same pipeline with other content was orphaned by a kill; it must not burn GPUs beside the new one. */
  private async supersede(inputs: RunInputs, { urn, log }: CallContext): Promise<void> {
    for (const other of await this.backend.activeRuns(inputs.stack)) {
      if (other.pipeline !== inputs.pipeline || other.name === inputs.name) continue;
      log.warn(urn, `${other.name} was still running with an older configuration: terminating it`);
      await this.backend.terminate(inputs.stack, other.name, `superseded by ${inputs.name}`);
    }
  }

  private async explain(inputs: RunInputs, state: RunState): Promise<string> {
    if (state.cancelled) return cancelledByHand(inputs, state);
    const { stack, pipeline } = inputs;
    const tail = await this.backend.logTail(stack, state.name, SEARCHED_LOG_LINES).catch(() => ["(it cannot be read)"]);
    const log = lastWords(tail).slice(-ERROR_LOG_LINES);
    const attempt = state.attempts > 1 ? ` after ${state.attempts} attempts` : "";
    return `${pipeline} ${state.status}${attempt}: ${state.reason}\nlast lines of ${state.runUrl}:\n${log.map((line) => `  ${line}`).join("\n")}`;
  }

  private async incomplete(inputs: RunInputs, allowance: Allowance, error: unknown): Promise<ResourceIncomplete> {
    const name = inputs.name as string;
    const found = await this.backend.findRun(inputs.stack, name).catch(() => null);
    const state = found === null ? this.latest.get(name) : found;
    if (found) allowance.saw(found);
    const facts = openFacts(state);
    const reason = messageOf(error);
    const cause = error instanceof OutOfTime ? DEADLINE_PASSED : (facts.reason ?? reason);
    const goesOn = error instanceof Detached || facts.status === "running" || facts.status === "pending";
    const properties: RunOutputs = {
      ...inputs,
      ...facts,
      reason: error instanceof Detached ? null : cause,
      allowance: goesOn ? allowance.facts : null,
    };
    if (!(error instanceof Detached)) return new ResourceIncomplete(inputs.name as string, properties, reason);
    const still =
      state?.status === "running" ? `${inputs.pipeline} is still running` : `${inputs.pipeline} has not started yet`;
    return new ResourceIncomplete(
      inputs.name as string,
      properties,
      `${reason}: ${still}; run pulumi up again to attach`,
    );
  }
}

/** The reason tells a run that somebody ended on the cloud's own page from one that `wmtp cancel` did. */
function cancelledByHand({ pipeline }: RunInputs, { name, reason }: RunState): string {
  return `${name} was cancelled by hand (${reason}): run wmtp retry ${pipeline}, then pulumi up`;
}

/** A timer of Node's fires at once when it is set for longer than this. */
const LONGEST_TIMER_SECONDS = 2 ** 31 / 1000 - 1;

async function waitRunsOut(seconds: number | null, signal: AbortSignal): Promise<never> {
  if (seconds === null) return new Promise(() => undefined);
  try {
    for (let left = seconds; left > 0; left -= LONGEST_TIMER_SECONDS) {
      await sleep(Math.min(left, LONGEST_TIMER_SECONDS) * 1000, undefined, { signal });
    }
  } catch {
    return new Promise(() => undefined); // aborted: the run is over, and nobody waits any more
  }
  throw new Detached(`launcher.wait (${formatDuration(seconds)}) is over`);
}
