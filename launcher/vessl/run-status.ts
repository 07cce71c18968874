/** What the cloud says of a run, in the launcher's words: whether it goes on, how it ended, and whose fault that was. */
import { formatDuration } from "../../components/units.ts";
import type { RunState } from "../backend.ts";
import { outcomeOf } from "../outcome.ts";
import { latestEvent } from "../trainer-events.ts";
import { OVER, type RunInfo } from "./api.ts";

/** Before its container runs. */
const WAITING = ["queued", "pending", "initializing"];
const RUNNING = "running";

/** What the cloud says when it took the machine away. */
const TAKEN_AWAY =
  /preempt|evict|reclaim|spot (node|instance)|node (lost|failure|not ?ready|shutdown)|NodeLost|infrastructure/i;
const EXIT_CODE = /exit code:? (\d+)/i;
/** Of a kill for memory. */
const KILLED = 137;

/** Messages that we leave on a run when we end it; the cloud itself keeps no reason. */
export const MESSAGES = {
  stopped: "wmtp: ",
  cancelled: "wmtp cancelled: ",
  retried: "wmtp retry: ",
  duplicate: "wmtp duplicate of ",
} as const;

/** Statuses that are in no list are taken for those of a run that goes on: ending one that works would cost more. */
export function isOver({ status }: Pick<RunInfo, "status">): boolean {
  return OVER.has(status);
}

/** A second run of the same name that lost a race, and never counted. */
export function isDuplicate({ message }: Pick<RunInfo, "message">): boolean {
  return message.startsWith(MESSAGES.duplicate);
}

type Progress = Pick<RunState, "status" | "waiting" | "runningSeconds">;

/** When it left the queue; undefined when it has not, or the cloud does not say. */
function startOf({ histories }: RunInfo): number | undefined {
  return histories.find(({ status, startedAt }) => status === RUNNING && startedAt > 0)?.startedAt;
}

/** Seconds that it has run, until it was over or until now. @param now in milliseconds since 1970 */
export function usedSecondsOf(run: RunInfo, now: number): number {
  const started = startOf(run);
  if (started === undefined) return 0;
  const until = isOver(run) ? (run.histories.findLast(({ startedAt }) => startedAt > 0)?.startedAt ?? started) : now;
  return Math.max(0, (until - started) / 1000);
}

/** Of a run that is not over. @param now in milliseconds since 1970 */
export function progressOf(run: RunInfo, now: number): Progress {
  const started = startOf(run);
  if (WAITING.includes(run.status)) {
    const reason = run.statusReason === "" ? "" : ` (${run.statusReason})`;
    return { status: "running", waiting: `${run.status} for ${formatDuration((now - run.createdAt) / 1000)}${reason}` };
  }
  const runningSeconds = started === undefined ? undefined : Math.max(0, (now - started) / 1000);
  return {
    status: "running",
    ...(run.status === RUNNING ? {} : { waiting: `the cloud says "${run.status}"` }),
    ...(runningSeconds === undefined ? {} : { runningSeconds }),
  };
}

type Verdict = Pick<RunState, "status" | "retryable" | "cancelled" | "reason">;

/** Of a run that is over. @param log its last lines */
export function verdictOf(run: RunInfo, log: readonly string[]): Verdict {
  const uncancelled = { cancelled: false };
  if (run.status === "completed") return { ...uncancelled, status: "completed", retryable: false };
  const because = run.statusReason === "" ? "" : `: ${run.statusReason}`;
  const ours = ownReason(run.message);
  if (ours !== undefined) return { ...ours, status: "terminated", retryable: false };
  if (TAKEN_AWAY.test(run.statusReason)) {
    return { ...uncancelled, status: "failed", retryable: true, reason: `preempted${because}` };
  }
  if (run.status === "terminated") {
    const reason = `terminated on the cloud, not by pulumi${because}`;
    return { status: "terminated", retryable: false, cancelled: true, reason };
  }
  if (run.status === "stopped") {
    return { ...uncancelled, status: "failed", retryable: false, reason: `stopped by the cloud${because}` };
  }
  const exitCode = Number(EXIT_CODE.exec(run.statusReason)?.[1] ?? 1);
  const ending = { exitCode, signal: null, deadlinePassed: latestEvent("deadline", log) !== undefined };
  const words = exitCode === KILLED ? ["OOMKilled"] : [];
  return { ...uncancelled, ...outcomeOf(ending, [run.statusReason, ...words, ...log]) };
}

/** What we wrote on the run when we ended it. */
function ownReason(message: string): Pick<Verdict, "reason" | "cancelled"> | undefined {
  if (message.startsWith(MESSAGES.cancelled)) {
    return { cancelled: true, reason: message.slice(MESSAGES.cancelled.length) };
  }
  for (const mark of [MESSAGES.stopped, MESSAGES.retried, MESSAGES.duplicate]) {
    if (message.startsWith(mark)) return { cancelled: false, reason: message.slice(mark.length) };
  }
  return undefined;
}
