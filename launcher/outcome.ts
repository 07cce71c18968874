/** How a run that is over ended: by whose fault, and whether resuming by itself is right. The same on every target. */
import type { RunState } from "./backend.ts";
import { diagnose } from "./diagnoses.ts";
import { latestEvent } from "./trainer-events.ts";

/** What the trainer exits with when it was asked to stop; with and without a checkpoint saved. */
const PREEMPTED = [75, 76];
/** torchrun exits 1 whatever its workers did; its summary names the first of them that failed, a signal as a negative code. */
const FIRST_FAILURE = /Root Cause[\s\S]*?exitcode\s*:\s*(-?\d+)/;
/** What torchrun says when it was itself told to stop; it then exits 1. */
const TORCHRUN_STOPPED = /SignalException: Process \d+ got signal: \d+/;
/** Signals that a program does not send to itself - the machine, its operator or the kernel did - by name and number. */
const OUTSIDE_SIGNALS: Readonly<Record<string, number>> = { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGTERM: 15 };

/** Why a run that took too long ended. */
export const DEADLINE_PASSED =
  "deadline passed: it ran longer than maxDuration; raise that, then run pulumi up to resume";

export interface Ending {
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly deadlinePassed: boolean;
}
export type Verdict = Pick<RunState, "status" | "retryable" | "reason">;

/** @param log of this attempt alone: causes of earlier ones must not be mistaken for its own. */
export function outcomeOf(ending: Ending, log: readonly string[]): Verdict {
  if (ending.exitCode === 0) return { status: "completed", retryable: false };
  if (ending.deadlinePassed) return { status: "failed", retryable: false, reason: DEADLINE_PASSED };
  const text = log.join("\n");
  const said = latestEvent("exit", log);
  const firstFailure = FIRST_FAILURE.exec(text)?.[1];
  const code = Number(said?.code ?? firstFailure ?? ending.exitCode);
  if (TORCHRUN_STOPPED.test(text) || wasStoppedFromOutside(ending.signal, Number(firstFailure), code)) {
    return { status: "failed", retryable: true, reason: "preempted: it was stopped from outside" };
  }
  // What the trainer itself says last counts before all that its log holds: a warning there is not a cause.
  const stated = said?.message ? diagnose(String(said.message)) : undefined;
  const known = stated ?? diagnose(text);
  const explained = said?.message ? stated !== undefined : true;
  const ended = ending.signal === null ? `exit code ${code}` : `signal ${ending.signal}`;
  const own = said?.message ? `${said.message}${said.remedy ? `; ${said.remedy}` : ""}` : ended;
  const reason = known === undefined ? own : `${known.cause} (${ended}); ${known.remedy}`;
  return { status: "failed", retryable: explained && (known?.retryable ?? false), reason };
}

function wasStoppedFromOutside(signal: string | null, firstFailure: number, code: number): boolean {
  if (signal !== null) return signal in OUTSIDE_SIGNALS;
  // The first worker that failed counts before what the others said of it ("connection closed by peer").
  if (firstFailure < 0) return Object.values(OUTSIDE_SIGNALS).includes(-firstFailure);
  return PREEMPTED.includes(code);
}
