/** `wmtp experiments`: all experiments, what became of their runs, and what they cost so far. */
import { readdirSync } from "node:fs";
import Table from "cli-table3";
import { checkConfig, resolveConfig, type StackConfig } from "../components/config.ts";
import type { Sections } from "../components/config-schema.ts";
import { formatMoney, gpuCost } from "../components/cost.ts";
import { TrainerConfigs } from "../components/trainer-config.ts";
import type { RunOutputs } from "../launcher/resources/run.ts";
import { readStackFile } from "./stack-file.ts";
import { pulumi, readState, type StackState } from "./state.ts";

export interface Experiment {
  readonly stack: string;
  readonly base: string;
  /** When the stack was changed last, by RFC 3339; null for one that was never deployed. */
  readonly changedAt: string | null;
  /** Why its file would be refused. */
  readonly problem: string | null;
  readonly runs: readonly ExperimentRun[];
}

export interface ExperimentRun {
  readonly pipeline: string;
  /** Of the launcher, or "not started". */
  readonly status: string;
  readonly finalLoss: number | null;
  /** Hours that all attempts have run; null where nobody knows, as of a run that was adopted. */
  readonly hoursUsed: number | null;
  /** Null where the hours are not known, where runs cost nothing, or where their preset has no price. */
  readonly costSoFar: number | null;
  /** The run was going on when the state was written: hours and cost count it as if it still were. */
  readonly estimated: boolean;
  /** It runs on the GPU cloud, where hours cost something. */
  readonly paid: boolean;
  readonly currency: string;
  readonly reason: string | null;
}

/** Each is a process of its own. */
const STATES_AT_A_TIME = 4;
const SECONDS_PER_HOUR = 3600;

/** @param from only the stacks on this base. */
export async function experiments(from: string | undefined, asJson: boolean): Promise<string> {
  const all = await readExperiments(from);
  return asJson ? JSON.stringify(all, null, 2) : render(all, from);
}

export async function readExperiments(from?: string): Promise<Experiment[]> {
  const trainer = new TrainerConfigs();
  const stacks = stackFiles().flatMap((stack) => {
    const { raw } = readStackFile(stack);
    const base = raw["wmtp:base"];
    // One with volumes of its own stands by itself.
    const experiment = base !== undefined && raw["wmtp:volumes"] === undefined;
    return experiment && (from === undefined || base === from) ? [{ stack, base }] : [];
  });
  if (stacks.length === 0) return [];
  const deployed = await deployedStacks();
  const found: Experiment[] = [];
  for (let first = 0; first < stacks.length; first += STATES_AT_A_TIME) {
    const some = stacks.slice(first, first + STATES_AT_A_TIME).map(async ({ stack, base }) => {
      const state = deployed.has(stack) ? await readState(stack) : undefined;
      return { stack, base, ...describe(stack, state, trainer) };
    });
    found.push(...(await Promise.all(some)));
  }
  return found;
}

/** Names of the stacks that have a file in the current folder. */
export function stackFiles(): string[] {
  return readdirSync(".")
    .flatMap((file) => /^Pulumi\.(.+)\.yaml$/.exec(file)?.[1] ?? [])
    .sort();
}

async function deployedStacks(): Promise<ReadonlySet<string>> {
  const stacks: { name: string }[] = JSON.parse(await pulumi(["stack", "ls", "--json"]));
  return new Set(stacks.map(({ name }) => name.split("/").at(-1) as string));
}

function describe(
  stack: string,
  state: StackState | undefined,
  trainer: TrainerConfigs,
): Omit<Experiment, "stack" | "base"> {
  const { raw, secrets } = readStackFile(stack);
  const { sections, problems, experiment } = checkConfig(raw, secrets, trainer);
  const config =
    problems.length > 0 ? undefined : resolveConfig(stack, sections as Required<Sections>, trainer, experiment);
  const runs = new Map(state?.runs.map((run) => [run.pipeline, run]));
  const wanted = config?.runs.map(({ pipeline }) => pipeline as string) ?? [];
  const pipelines = [...wanted, ...[...runs.keys()].filter((pipeline) => !wanted.includes(pipeline))];
  return {
    changedAt: state === undefined || state.changedAt === 0 ? null : new Date(state.changedAt).toISOString(),
    problem: problems[0] === undefined ? null : `${problems[0].path}: ${problems[0].message}`,
    runs: pipelines.map((pipeline) => describeRun(pipeline, runs.get(pipeline), config, state?.changedAt ?? 0)),
  };
}

/** @param changedAt milliseconds since 1970, when the state was written. */
function describeRun(
  pipeline: string,
  run: RunOutputs | undefined,
  config: StackConfig | undefined,
  changedAt: number,
): ExperimentRun {
  const estimated = run?.status === "running" && isKnown(run.usedSeconds);
  const seconds = run === undefined ? 0 : secondsUsed(run, changedAt);
  const preset = run?.cloud?.preset;
  const cost =
    config === undefined || preset === undefined || seconds === null
      ? undefined
      : gpuCost(config.cost, preset, seconds);
  return {
    pipeline,
    status: run?.status ?? "not started",
    finalLoss: run?.finalLoss ?? null,
    hoursUsed: seconds === null ? null : seconds / SECONDS_PER_HOUR,
    costSoFar: cost ?? null,
    estimated,
    paid: preset !== undefined,
    currency: config?.cost.currency ?? "",
    reason: run?.reason ?? null,
  };
}

/** Of a run that was going on when the state was written, as if it still were: until its deadline, at the latest. */
function secondsUsed({ status, usedSeconds, maxDurationSeconds }: RunOutputs, changedAt: number): number | null {
  if (!isKnown(usedSeconds)) return null;
  if (status !== "running" || changedAt === 0) return usedSeconds;
  const since = Math.max(0, Date.now() - changedAt) / 1000;
  return usedSeconds + Math.min(since, maxDurationSeconds ?? since);
}

/** States of older versions say nothing at all. */
function isKnown(seconds: number | null | undefined): seconds is number {
  return typeof seconds === "number";
}

function render(all: readonly Experiment[], from: string | undefined): string {
  if (all.length === 0) {
    const on = from === undefined ? "" : ` on ${from}`;
    return `there is no experiment${on}: make experiment NAME=lr-3e-5 FROM=${from ?? "prod"} SET="verifiable.overrides.training.learning_rate=3e-5"`;
  }
  const table = new Table({
    head: ["experiment", "base", "pipeline", "status", "loss", "hours", "cost so far", "last change"],
    style: { head: [], border: [], compact: true },
    colAligns: ["left", "left", "left", "left", "right", "right", "right", "left"],
  });
  const notes: string[] = [];
  for (const { stack, base, changedAt, problem, runs } of all) {
    const changed = changedAt?.slice(0, 16).replace("T", " ") ?? "never deployed";
    if (problem !== null) notes.push(`  ${stack}: its file is refused: ${problem}`);
    for (const [place, run] of runs.entries()) {
      const name = place === 0 ? [stack, base] : ["", ""];
      table.push([...name, run.pipeline, run.status, ...numbers(run), place === 0 ? changed : ""]);
      if (run.reason !== null) notes.push(`  ${stack} ${run.pipeline}: ${run.reason.split("\n")[0]}`);
    }
    if (runs.length === 0) table.push([stack, base, "-", "-", "-", "-", "-", changed]);
  }
  return [table.toString(), ...notes, ...totals(all)].join("\n");
}

function numbers({ finalLoss, hoursUsed, costSoFar, estimated, currency }: ExperimentRun): string[] {
  const about = estimated ? "about " : "";
  return [
    finalLoss?.toFixed(4) ?? "-",
    hoursUsed === null || hoursUsed === 0 ? "-" : `${about}${hoursUsed.toFixed(1)}`,
    costSoFar === null ? "-" : `${about}${formatMoney(costSoFar, currency)}`,
  ];
}

/** A sum for each currency; what is missing in it, because hours or prices are not known, is said. */
function totals(all: readonly Experiment[]): string[] {
  const runs = all.flatMap((experiment) => experiment.runs);
  const more = runs.some(({ paid, hoursUsed, costSoFar }) => paid && hoursUsed !== 0 && costSoFar === null);
  const sums = new Map<string, { sum: number; estimated: boolean }>();
  for (const { costSoFar, currency, estimated } of runs) {
    if (costSoFar === null) continue;
    const before = sums.get(currency) ?? { sum: 0, estimated: false };
    sums.set(currency, { sum: before.sum + costSoFar, estimated: before.estimated || estimated });
  }
  if (sums.size === 0 && more) return ["Together so far: not known"];
  return [...sums].map(
    ([currency, { sum, estimated }]) =>
      `Together so far: ${estimated ? "about " : ""}${formatMoney(sum, currency)}${more ? " and more" : ""}`,
  );
}
