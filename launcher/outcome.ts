/** How a run that is over ended: by whose fault, and whether resuming by itself is right. The same on every target. */
import type { RunState } from "./backend.ts";
import { diagnose } from "./diagnoses.ts";

/** What the trainer exits with when it was asked to stop; with and without a checkpoint saved. */
const PREEMPTED = new Set([75, 76]);
/** torchrun exits 1 whatever its workers did; its summary names the first of them that failed. */
const FIRST_FAILURE = /Root Cause[\s\S]*?exitcode\s*:\s*(-?\d+)/;
/** Signals that a program does not send to itself: the machine, its operator or the kernel did. */
const OUTSIDE_SIGNALS = new Set(["SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"]);

export interface Ending {
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly deadlinePassed: boolean;
}

export function outcomeOf(
  ending: Ending,
  log: readonly string[],
): Pick<RunState, "status" | "retryable"> & { reason?: string } {
  if (ending.exitCode === 0) return { status: "completed", retryable: false };
  if (ending.deadlinePassed)
    return {
      status: "failed",
      retryable: false,
      reason: "deadline passed: it ran longer than maxDuration; raise that, then run pulumi up to resume",
    };
  const text = log.join("\n");
  const workerCode = Number(FIRST_FAILURE.exec(text)?.[1] ?? Number.NaN);
  const known = diagnose(text);
  const code = Number.isNaN(workerCode) ? ending.exitCode : workerCode;
  const fromOutside =
    (ending.signal !== null && OUTSIDE_SIGNALS.has(ending.signal)) ||
    code === -9 ||
    code === -15 ||
    (code !== null && PREEMPTED.has(code));
  if (fromOutside) return { status: "failed", retryable: true, reason: "preempted: it was stopped from outside" };
  const ended = ending.signal === null ? `exit code ${code}` : `signal ${ending.signal}`;
  return {
    status: "failed",
    retryable: known?.retryable ?? false,
    reason: known === undefined ? ended : `${known.cause} (${ended}); ${known.remedy}`,
  };
}
