/** Looks at a run until it is over, also over times in which its place does not answer: a run of days outlives many of those. */
import { formatDuration } from "../../components/units.ts";
import type { Backend, RunState } from "../backend.ts";
import { Detached, messageOf, Refused } from "../errors.ts";
import { DEADLINE_PASSED } from "../outcome.ts";
import { pause } from "../pause.ts";
import { progressLine } from "../progress.ts";
import type { ReportContext } from "../resource-handler.ts";
import type { RunInputs } from "./run.ts";

/** Lines of the log searched for the latest progress. */
const SEARCHED_LOG_LINES = 200;
/** What a run has beyond its deadline to end by itself, before it is ended from here. */
const LATE_SECONDS = 300;
/** After so long without an answer nobody waits any more; the run goes on. */
const SILENCE_SECONDS = 1800;

/**
 * @param seen is told the state at every look.
 * @throws Detached when the place refuses us or has been silent for too long; the reason of `stop` when that is aborted.
 */
export async function watchRun(
  backend: Backend,
  inputs: RunInputs,
  first: RunState,
  { urn, log }: ReportContext,
  stop: AbortSignal,
  seen: (state: RunState) => void,
): Promise<RunState> {
  const { pipeline, stack, maxDurationSeconds } = inputs;
  let state = first;
  let answered = Date.now();
  for (let looks = 0; state.status === "running"; looks += 1) {
    seen(state);
    try {
      log.status(urn, await progressOf(backend, inputs, state));
      if ((state.runningSeconds ?? 0) > maxDurationSeconds + LATE_SECONDS)
        await backend.terminate(stack, state.name, DEADLINE_PASSED);
      await pause(backend.pollMs(looks), stop);
      state = (await backend.findRun(stack, state.name)) ?? gone(state);
      answered = Date.now();
    } catch (error) {
      if (stop.aborted) throw stop.reason;
      if (error instanceof Refused && !error.passing) throw new Detached(messageOf(error));
      const silence = (Date.now() - answered) / 1000;
      if (silence > SILENCE_SECONDS)
        throw new Detached(`no answer for ${formatDuration(silence)} (${messageOf(error)})`);
      log.status(urn, `${pipeline}: no answer for ${formatDuration(silence)}, asking again (${messageOf(error)})`);
      await pause(backend.pollMs(looks), stop);
    }
  }
  return state;
}

async function progressOf(backend: Backend, { pipeline, stack }: RunInputs, state: RunState): Promise<string> {
  if (state.waiting !== undefined) return `${pipeline}: ${state.waiting}`;
  try {
    const log = await backend.logTail(stack, state.name, SEARCHED_LOG_LINES);
    return progressLine(pipeline, log) ?? `${pipeline}: starting`;
  } catch (error) {
    // What counts is whether it runs: a log that is not there yet is no reason to leave it.
    return `${pipeline}: running, its log cannot be read (${messageOf(error)})`;
  }
}

function gone(state: RunState): RunState {
  return { ...state, status: "lost", retryable: true, reason: "its record is gone" };
}
