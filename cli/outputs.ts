/** `wmtp outputs`: what a stack trained, as JSON for programs or as a table for people. */
import Table from "cli-table3";
import { PIPELINE_NAMES, PIPELINES, type PipelineName } from "../components/pipelines.ts";
import { formatDuration } from "../components/units.ts";
import type { RunOutputs } from "../launcher/resources/run.ts";
import { readState, type StackState } from "./state.ts";

/** Facts of a run that everybody may see; a fixed list, so that nothing gets out because somebody added it to the state. */
const FACTS = [
  "runId",
  "status",
  "firstLoss",
  "finalLoss",
  "steps",
  "startedAt",
  "finishedAt",
  "durationSeconds",
  "effectiveBatch",
  "checkpoint",
  "mlflowRunUrl",
  "runUrl",
  "attempts",
  "metrics",
  "fingerprint",
  "reason",
] as const;

/** @param since seconds since 1970: a table of an older state is left out, because an `up` that was refused changed nothing. */
export async function outputs(stack: string, asTable: boolean, since = 0): Promise<string> {
  const state = await readState(stack);
  if (state.changedAt < since * 1000) return "";
  if (asTable) return renderTable(stack, state);
  return JSON.stringify({ trackerUrl: state.trackerUrl, runs: factsByPipeline(state) }, null, 2);
}

function factsByPipeline({ runs }: StackState): Record<string, object> {
  const place = ({ pipeline }: RunOutputs) => PIPELINE_NAMES.indexOf(pipeline as PipelineName);
  const ordered = runs.toSorted((a, b) => place(a) - place(b));
  return Object.fromEntries(
    ordered.map((run) => [run.pipeline, Object.fromEntries(FACTS.map((fact) => [fact, run[fact] ?? null]))]),
  );
}

function renderTable(stack: string, { trackerUrl, runs }: StackState): string {
  if (runs.length === 0) {
    return trackerUrl === null
      ? `Stack ${stack} has no runs yet: make up STACK=${stack}`
      : `Stack ${stack} has no runs; its tracker is ${trackerUrl}`;
  }
  const table = new Table({
    head: ["pipeline", "status", "loss", "-> final", "steps", "batch", "took", "tries"],
    style: { head: [], border: [], compact: true },
    colAligns: ["left", "left", "right", "right", "right", "right", "right", "right"],
  });
  const byPipeline = new Map(runs.map((run) => [run.pipeline as PipelineName, run]));
  const open: string[] = [];
  for (const pipeline of PIPELINE_NAMES) {
    const run = byPipeline.get(pipeline);
    const blocker = blockerOf(pipeline, byPipeline);
    if (run !== undefined && blocker === undefined) table.push(row(run, run.status));
    else if (blocker !== undefined) table.push(run === undefined ? [pipeline, "not started"] : row(run, "outdated"));
    if (blocker !== undefined) open.push(`  ${pipeline}: waits for ${blocker}, which did not complete`);
    else if (run !== undefined && run.status !== "completed") open.push(`  ${pipeline}: ${run.reason ?? run.status}`);
  }
  const next = open.length > 0 ? ["Not completed:", ...open] : ["Next:", ...nextSteps(stack, trackerUrl)];
  return [table.toString(), ...next].join("\n");
}

/** The needed run that keeps `pipeline` from being what the stack file asks for: it has not completed in its present form. */
function blockerOf(pipeline: PipelineName, runs: ReadonlyMap<PipelineName, RunOutputs>): PipelineName | undefined {
  return PIPELINES[pipeline].needs.find((needed) => {
    const run = runs.get(needed);
    const read = runs.get(pipeline)?.needs[needed]?.fingerprint;
    return run !== undefined && run.status !== "completed" && read !== run.fingerprint;
  });
}

function row(run: RunOutputs, status: string): string[] {
  const loss = (value: number | null) => value?.toFixed(4) ?? "-";
  const took = run.durationSeconds === null ? "-" : formatDuration(run.durationSeconds);
  const counts = [String(run.steps ?? "-"), String(run.effectiveBatch), took, String(run.attempts)];
  return [run.pipeline, status, loss(run.firstLoss), loss(run.finalLoss), ...counts];
}

function nextSteps(stack: string, trackerUrl: string | null): string[] {
  return [
    `  see the curves:   ${trackerUrl}`,
    `  try a setting:    edit Pulumi.${stack}.yaml, make preview STACK=${stack}`,
    `  use the numbers:  make outputs STACK=${stack}`,
    `  stop, remove:     make down STACK=${stack} (checkpoints and experiments stay)`,
  ];
}
