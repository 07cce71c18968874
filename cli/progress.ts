/** `wmtp progress`: how an update of a stack ended. A run that goes on, on the GPU cloud, is no failure: a later update attaches to it. */
import type { RunOutputs } from "../launcher/resources/run.ts";
import { type EngineEvents, nameOf, readEvents } from "./engine-events.ts";
import { readState } from "./state.ts";

export interface Progress {
  /** `running`: the wait was over before the runs were; the same update again attaches to them. */
  readonly state: "done" | "running" | "failed";
  /** One line, for people. */
  readonly description: string;
}

type Run = Pick<RunOutputs, "pipeline" | "status" | "reason">;

/** What `wmtp progress` exits with. 75 is what sysexits.h calls "try again later". */
export const EXIT_CODES: Readonly<Record<Progress["state"], number>> = { done: 0, running: 75, failed: 1 };
const RUN = "launcher:index:Run";
/** How the launcher ends the error of a run that goes on without it, and of no other. */
export const DETACHED = "run pulumi up again to attach";
/** What the engine says of every update with a failure in it. */
const GENERIC = /^(update|preview) failed$/;

/** @param events file that the engine wrote during the update. */
export async function progress(stack: string, events: string): Promise<Progress> {
  const read = readEvents(events);
  return progressOf(read, read.failed.length === 0 ? [] : (await readState(stack)).runs);
}

/** @param runs of the stack's state after the update. */
export function progressOf(events: EngineEvents, runs: readonly Run[]): Progress {
  if (!events.complete) return failed("the update was cut off, or never began");
  const violation = events.violations.find(({ level }) => level === "mandatory");
  if (violation !== undefined) return failed(`policy ${violation.policy} on ${nameOf(violation.urn)}`);
  const byPipeline = new Map(runs.map((run) => [run.pipeline, run]));
  const going = new Set<string>();
  for (const urn of events.failed) {
    const run = urn.includes(`${RUN}::`) ? byPipeline.get(nameOf(urn)) : undefined;
    if (run === undefined) return failed(`${nameOf(urn)} could not be made or changed`);
    const said = events.diagnostics.filter((told) => told.severity === "error" && told.urn === urn);
    const trouble = said.find(({ message }) => !message.includes(DETACHED));
    if (!goesOn(run)) return failed(`${run.pipeline}: ${run.reason?.split("\n")[0] ?? run.status}`);
    // The state may say of an earlier update that it runs.
    if (said.length === 0 || trouble !== undefined)
      return failed(`${run.pipeline}: ${trouble?.message.split("\n")[0] ?? "could not be made or changed"}`);
    going.add(run.pipeline);
  }
  // Of a run that goes on the engine tells an error as well; any other has a cause of its own.
  const other = events.diagnostics.find(
    ({ severity, urn, message }) =>
      severity === "error" && !GENERIC.test(message) && !(urn.includes(`${RUN}::`) && going.has(nameOf(urn))),
  );
  if (other !== undefined) return failed(`${nameOf(other.urn)}: ${other.message.split("\n")[0]}`.replace(/^: /, ""));
  if (going.size === 0) return { state: "done", description: "everything is as the stack file says" };
  const words = [...going].map((pipeline) =>
    byPipeline.get(pipeline)?.status === "running" ? `${pipeline} is running` : `${pipeline} waits for its turn`,
  );
  return { state: "running", description: words.join(", ") };
}

/**
 * What an update that goes on with what was approved does to a run: those that need others are made when these are done, from the same
 * commit; `same` is no change.
 */
const GOING_ON: readonly string[] = ["create", "update", "refresh", "read"];
const UNAPPROVED = "what it would do is not what was approved: deploy it again";

/**
 * Whether an update would only go on with what was approved. Not so where a run would be replaced or removed, because its base, or what
 * it reads, changed meanwhile: then it would train something that nobody has approved.
 * @param events of its preview
 */
export function attachOf(events: EngineEvents): Progress {
  if (!events.complete) return failed("the preview was cut off, or never began");
  const wrong = events.diagnostics.find(({ severity, message }) => severity === "error" && !GENERIC.test(message));
  if (wrong !== undefined)
    return failed(`the preview failed: ${nameOf(wrong.urn)}: ${wrong.message.split("\n")[0]}`.replace(": : ", ": "));
  const violation = events.violations.find(({ level }) => level === "mandatory");
  if (violation !== undefined) return failed(`policy ${violation.policy} on ${nameOf(violation.urn)}`);
  const others = events.changes.filter(({ type, op }) => type === RUN && !GOING_ON.includes(op));
  if (others.length > 0)
    return failed(`${UNAPPROVED} (${others.map(({ op, urn }) => `${op} ${nameOf(urn)}`).join(", ")})`);
  return { state: "running", description: "goes on" };
}

/** The launcher gives a reason to every run that is over without having completed. */
function goesOn({ status, reason }: Run): boolean {
  return reason === null && (status === "running" || status === "pending");
}

function failed(description: string): Progress {
  return { state: "failed", description };
}
