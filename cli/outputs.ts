/** `wmtp outputs`: what a stack trained, as JSON for programs or as a table for people. */
import Table from "cli-table3";
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

export async function outputs(stack: string, asTable: boolean): Promise<string> {
    const state = await readState(stack);
    return asTable ? renderTable(stack, state) : JSON.stringify({ trackerUrl: state.trackerUrl, runs: factsByPipeline(state) }, null, 2);
}

function factsByPipeline({ runs }: StackState): Record<string, object> {
    return Object.fromEntries(runs.map((run) => [run.pipeline, Object.fromEntries(FACTS.map((fact) => [fact, run[fact] ?? null]))]));
}

function renderTable(stack: string, { trackerUrl, runs }: StackState): string {
    if (runs.length === 0) return `Stack ${stack} has no runs yet: make up STACK=${stack}`;
    const table = new Table({
        head: ["pipeline", "status", "first loss", "final loss", "steps", "batch", "took", "attempts"],
        style: { head: [], border: [], compact: true },
        colAligns: ["left", "left", "right", "right", "right", "right", "right", "right"],
    });
    for (const run of runs) table.push(row(run));
    const failed = runs.filter(({ status }) => status !== "completed");
    const next = failed.length > 0 ? failed.map(({ pipeline, reason, status }) => `  ${pipeline}: ${reason ?? status}`) : nextSteps(stack, trackerUrl);
    return [table.toString(), failed.length > 0 ? "Not completed:" : "Next:", ...next].join("\n");
}

function row(run: RunOutputs): string[] {
    const loss = (value: number | null) => value?.toFixed(4) ?? "-";
    const took = run.durationSeconds === null ? "-" : formatDuration(run.durationSeconds);
    return [run.pipeline, run.status, loss(run.firstLoss), loss(run.finalLoss), String(run.steps ?? "-"), String(run.effectiveBatch), took, String(run.attempts)];
}

function nextSteps(stack: string, trackerUrl: string | null): string[] {
    return [
        `  look at the curves:    ${trackerUrl}`,
        `  try another setting:   edit Pulumi.${stack}.yaml, then make preview STACK=${stack}; only what the change concerns trains again`,
        `  read it by program:    make outputs STACK=${stack}`,
        `  stop and remove:       make down STACK=${stack} (checkpoints and experiments stay)`,
    ];
}
