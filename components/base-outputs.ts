/** What a stack exports for those that build on it: names and shapes, flat and without secrets, on both sides of the reference. */
import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import type { StackConfig } from "./config.ts";
import type { FilledVolume } from "./filled-volume.ts";
import { PIPELINE_NAMES, type PipelineName } from "./pipelines.ts";
import { type BaseRuns, criticOf } from "./plan.ts";
import { SECRET_VARIABLES } from "./run-access.ts";
import { parseSettings, settingsText } from "./settings-text.ts";
import type { StackContent } from "./stack-content.ts";
import type { TrainerConfig } from "./trainer-config.ts";
import type { TrainingRun } from "./training-run.ts";

const text = z.string();
const volume = z.object({ storage: text, name: text });
/** Content hash of each directory. */
const hashes = z.record(text, text);
const trainedCritic = z.object({ fingerprint: text, checkpointUri: text });
const run = z.object({
  gpus: z.number(),
  /** None on this machine. */
  preset: text.optional(),
  maxDurationSeconds: z.number(),
  effectiveBatch: z.number(),
  trainerConfig: z.custom<TrainerConfig>((value) => value !== null && typeof value === "object"),
  rerun: text.optional(),
  critic: text.optional(),
});

/** Every output that another stack may read. */
export const BASE_OUTPUTS = {
  region: text,
  bucket: text,
  trackerUrl: text,
  trackerCaCertificate: text,
  image: text,
  runSecrets: z.array(z.enum(SECRET_VARIABLES)),
  models: hashes,
  datasets: hashes,
  /** Of each directory of models. */
  modelBytes: z.record(text, z.number()),
  checkpointSources: hashes,
  modelsVolume: volume,
  datasetsVolume: volume,
  checkpointsVolume: volume,
  modelsDelivery: z.enum(["s3", "volume"]),
  critic: trainedCritic,
  runs: z
    .string()
    .transform(settings)
    .pipe(z.partialRecord(z.enum(PIPELINE_NAMES), run)),
} as const;
export type BaseOutputName = keyof typeof BASE_OUTPUTS;
export type BaseOutput<Name extends BaseOutputName> = z.output<(typeof BASE_OUTPUTS)[Name]>;
export type TrainedCritic = z.output<typeof trainedCritic>;

type Runs = ReadonlyMap<PipelineName, TrainingRun>;

/** What experiments take from a stack that owns volumes and runs. */
export function contentOutputs(
  config: StackConfig,
  { models, datasets, checkpoints, delivery }: StackContent<FilledVolume>,
  runs: Runs,
) {
  return {
    models: models.hashes,
    datasets: datasets.hashes,
    modelBytes: models.bytes,
    modelsVolume: models.ref,
    datasetsVolume: datasets.ref,
    modelsDelivery: delivery,
    ...(checkpoints === undefined ? {} : { checkpointSources: checkpoints.hashes, checkpointsVolume: checkpoints.ref }),
    ...criticOutput(runs),
    runs: settingsText(plainRuns(config)),
  };
}

/** Known once the critic has completed, because its run is done only then; nothing without one. */
export function criticOutput(runs: Runs): { critic?: pulumi.Output<TrainedCritic> } {
  const critic = runs.get("critic");
  if (critic === undefined) return {};
  return { critic: pulumi.output({ fingerprint: critic.fingerprint, checkpointUri: critic.checkpointUri }) };
}

/** A text that is none is another version's: as good as missing. */
function settings(text: string, context: z.RefinementCtx): Record<string, unknown> {
  try {
    return parseSettings(text);
  } catch (error) {
    context.addIssue({ code: "custom", message: String(error) });
    return z.NEVER;
  }
}

function plainRuns({ stack, runs, launcher }: StackConfig): BaseRuns {
  return Object.fromEntries(
    runs.map((run) => {
      const { pipeline, gpus, maxDurationSeconds, effectiveBatch, trainerConfig, rerun } = run;
      const plain = {
        gpus,
        ...(launcher.target === "local" ? {} : { preset: launcher.vessl.presets[gpus] }),
        maxDurationSeconds,
        effectiveBatch,
        trainerConfig,
        rerun,
        critic: criticOf(run, stack),
      };
      return [pipeline, plain];
    }),
  );
}
