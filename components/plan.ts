/** What an update of a stack would do and cost at most: worked out from its config, without asking anybody. */
import { type Change, changedSettings } from "./changed-settings.ts";
import type { RunSettings, StackConfig } from "./config.ts";
import { egressCost, gpuCost, peakGpus } from "./cost.ts";
import type { PipelineName } from "./pipelines.ts";
import type { TrainerConfig } from "./trainer-config.ts";
import { formatHours } from "./units.ts";

/** Of what only the update finds out, as of the size of models that are not on this machine. */
export const NOT_KNOWN = "not known yet";
type Maybe<T> = T | typeof NOT_KNOWN;

/** A run of a base as its outputs tell it. */
export interface BaseRun {
  readonly gpus: number;
  /** None on this machine. */
  readonly preset?: string | undefined;
  readonly maxDurationSeconds: number;
  readonly effectiveBatch: number;
  readonly trainerConfig: TrainerConfig;
  readonly rerun?: string | undefined;
  /** Whose critic it reads: a stack, or where its checkpoint is. */
  readonly critic?: string | undefined;
}
export type BaseRuns = { readonly [Pipeline in PipelineName]?: BaseRun | undefined };

export interface PlanFacts {
  readonly config: Pick<StackConfig, "stack" | "base" | "experiment" | "launcher" | "models" | "cost" | "runs">;
  /** Runs of the base; undefined: there is none. */
  readonly baseRuns: Maybe<BaseRuns> | undefined;
  /** Bytes of each model by its directory. */
  readonly modelBytes: Maybe<Readonly<Record<string, number>>>;
  /** Why each run is made or updated, nothing of one that stays as it is; undefined in an update. */
  readonly trains: { readonly [Pipeline in PipelineName]?: string | undefined } | undefined;
  /** Bucket and tracker are this stack's. */
  readonly ownsInfrastructure: boolean;
}

export interface PlanRow {
  readonly pipeline: PipelineName;
  /** Against the base: settings of the trainer, gpus, preset, maxDuration; undefined where the base has no such run, or there is no base. */
  readonly changes: Maybe<readonly Change[]> | undefined;
  readonly gpus: number;
  /** None on this machine. */
  readonly preset: string | undefined;
  readonly effectiveBatch: number;
  /** The base's, where it is another one: losses of the two cannot be compared step by step. */
  readonly baseEffectiveBatch: number | undefined;
  readonly maxHours: number;
  /** None on this machine. */
  readonly cost: RunCost | undefined;
  readonly trains: string | undefined;
}

/** At most, in the stack's currency. */
export interface RunCost {
  /** Undefined where `wmtp:cost.perHour` does not name the preset. */
  readonly gpus: number | undefined;
  /** Models that leave the bucket, at the first start and at each resumption. */
  readonly egress: Maybe<number>;
}

export interface Plan {
  readonly stack: string;
  /** Of an experiment: what its runs are compared with. */
  readonly base: string | undefined;
  readonly currency: string;
  readonly rows: readonly PlanRow[];
  /** Most GPUs, or worker processes, at a time. */
  readonly peakGpus: number;
  /** Of all runs, as far as it is known; undefined on this machine. */
  readonly total: RunCost | undefined;
  /** Most that the runs cost which this update starts; undefined where that is not known, and on this machine. */
  readonly starts: number | undefined;
  /** Presets without a price. */
  readonly unpriced: readonly string[];
  readonly budget: number | undefined;
  /** A month of infrastructure; undefined where that is another stack's, or this machine. */
  readonly awsPerMonth: number | undefined;
}

const SECONDS_PER_HOUR = 3600;

export function planOf(facts: PlanFacts): Plan {
  const { stack, base, experiment, launcher, cost, runs } = facts.config;
  const onCloud = launcher.target !== "local";
  const rows = runs.map((run) => rowOf(run, facts, onCloud));
  const costs = rows.flatMap((row) => row.cost ?? []);
  const unpriced = rows.flatMap((row) => (row.cost?.gpus === undefined ? (row.preset ?? []) : []));
  return {
    stack,
    base: experiment ? base : undefined,
    currency: cost.currency,
    rows,
    peakGpus: peakGpus(rows, launcher.maxParallel),
    total: onCloud
      ? {
          gpus: costs.reduce((sum, { gpus }) => sum + (gpus ?? 0), 0),
          egress: sumOf(costs.map(({ egress }) => egress)),
        }
      : undefined,
    starts: onCloud && facts.trains !== undefined ? startsOf(rows) : undefined,
    unpriced: [...new Set(unpriced)],
    budget: onCloud ? cost.budget : undefined,
    awsPerMonth: onCloud && facts.ownsInfrastructure ? cost.awsPerMonth : undefined,
  };
}

/** What a run or a whole plan costs at most, as far as it is known. */
export function knownCost({ gpus, egress }: RunCost): number {
  return (gpus ?? 0) + (egress === NOT_KNOWN ? 0 : egress);
}

/** A run that stays, is adopted or is merely recorded anew rents nothing. */
function startsOf(rows: readonly PlanRow[]): number {
  const training = rows.filter(({ trains }) => trains !== undefined && !/^(adopted|records)\b/.test(trains));
  return training.reduce((sum, { cost }) => sum + (cost === undefined ? 0 : knownCost(cost)), 0);
}

/** Whose critic a run reads; undefined of one that reads none. */
export function criticOf(run: RunSettings, stack: string): string | undefined {
  return run.criticCheckpoint ?? run.criticStack ?? (run.needs.includes("critic") ? stack : undefined);
}

function rowOf(run: RunSettings, { config, baseRuns, modelBytes, trains }: PlanFacts, onCloud: boolean): PlanRow {
  const { pipeline, gpus, effectiveBatch, maxDurationSeconds, trainerConfig, rerun } = run;
  const { stack, launcher, models, cost } = config;
  const critic = criticOf(run, stack);
  const preset = onCloud ? launcher.vessl.presets[gpus] : undefined;
  const ofBase = baseRuns === NOT_KNOWN ? undefined : baseRuns?.[pipeline];
  const batchOfBase = ofBase?.effectiveBatch;
  const egress = models.delivery === "s3" ? egressOf(run.models, modelBytes, config) : 0;
  return {
    pipeline,
    changes:
      baseRuns === NOT_KNOWN
        ? NOT_KNOWN
        : ofBase &&
          changesOf(ofBase, { gpus, preset, maxDurationSeconds, effectiveBatch, trainerConfig, rerun, critic }),
    gpus,
    preset,
    effectiveBatch,
    baseEffectiveBatch: batchOfBase === effectiveBatch ? undefined : batchOfBase,
    maxHours: maxDurationSeconds / SECONDS_PER_HOUR,
    cost: preset === undefined ? undefined : { gpus: gpuCost(cost, preset, maxDurationSeconds), egress },
    trains: trains?.[pipeline],
  };
}

function changesOf(base: BaseRun, now: BaseRun): Change[] {
  const settings = ({ gpus, preset, maxDurationSeconds, rerun, critic }: BaseRun) => ({
    gpus,
    preset,
    maxDuration: formatHours(maxDurationSeconds),
    rerun,
    critic,
  });
  return [...changedSettings(base.trainerConfig, now.trainerConfig), ...changedSettings(settings(base), settings(now))];
}

function egressOf(
  models: readonly string[],
  bytes: PlanFacts["modelBytes"],
  { cost, launcher }: PlanFacts["config"],
): Maybe<number> {
  if (bytes === NOT_KNOWN) return NOT_KNOWN;
  return sumOf(
    models.map((model) => {
      const size = bytes[model];
      return size === undefined ? NOT_KNOWN : egressCost(cost, size, 1 + launcher.retries);
    }),
  );
}

function sumOf(parts: readonly Maybe<number>[]): Maybe<number> {
  return parts.reduce<Maybe<number>>(
    (sum, part) => (sum === NOT_KNOWN || part === NOT_KNOWN ? NOT_KNOWN : sum + part),
    0,
  );
}
