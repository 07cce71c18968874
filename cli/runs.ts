/** `wmtp cancel` and `wmtp retry`: of a run where it is, on this machine or on the GPU cloud. */
import { Backends } from "../launcher/backends.ts";
import { HERE } from "../launcher/by-place.ts";
import { readState, UserError } from "./state.ts";

/** Looks where the state says that the stack is, also for a run whose first `up` is not over. */
export async function cancel(stack: string, pipeline: string | undefined): Promise<string> {
  const backends = new Backends();
  const { places } = await readState(stack);
  const backendsOfStack = (places.length === 0 ? [HERE] : places).map((place) => backends.of(place));
  const found = await Promise.all(
    backendsOfStack.map(async (backend) => (await backend.activeRuns(stack)).map((run) => ({ backend, run }))),
  );
  const active = found.flat();
  const wanted = active.find(({ run }) => run.pipeline === pipeline);
  if (wanted === undefined) {
    const names = active.map(({ run }) => run.pipeline).join(", ") || "none";
    throw new UserError(`no run of ${pipeline ?? "(no pipeline named)"} is active in stack ${stack}; active: ${names}`);
  }
  const { backend, run } = wanted;
  await backend.terminate(stack, run.name, "wmtp cancel", true);
  return `${run.name} is stopped and stays so; wmtp retry ${pipeline} --stack ${stack} lets it start again`;
}

export async function retry(stack: string, pipeline: string | undefined): Promise<string> {
  const { name, place } = await runOf(stack, pipeline);
  const backend = new Backends().of(place);
  const state = await backend.findRun(stack, name);
  if (state?.status === "completed" || state?.status === "running") {
    return `${name} is ${state.status}: nothing to retry`;
  }
  await backend.clearCancellation(stack, name);
  return `${name} may start again: pulumi up --stack ${stack}`;
}

/** The pipeline's run in the stack's state. */
async function runOf(stack: string, pipeline: string | undefined) {
  const { runs } = await readState(stack);
  const { name, place = HERE } = runs.find((candidate) => candidate.pipeline === pipeline) ?? {};
  if (name !== undefined) return { name, place };
  const known = runs.map((candidate) => candidate.pipeline).join(", ") || "none yet";
  throw new UserError(`stack ${stack} has no run of ${pipeline ?? "(no pipeline named)"}; its runs: ${known}`);
}
