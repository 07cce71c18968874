import * as pulumi from "@pulumi/pulumi";
import type { RunSettings, StackConfig } from "./config.ts";
import type { FilledVolume } from "./filled-volume.ts";
import { Run } from "./launcher-resources.ts";
import { PIPELINES, type PipelineName } from "./pipelines.ts";

export interface TrainingRunArgs {
  readonly settings: RunSettings;
  readonly config: StackConfig;
  readonly models: FilledVolume;
  readonly datasets: FilledVolume;
  /** Resolves when the tracker is usable, so that no run starts without one. */
  readonly trackerUrl: pulumi.Output<string>;
  /** `repository@sha256:...`; the local target needs none. */
  readonly image?: pulumi.Output<string> | undefined;
  /** Runs declared so far, by pipeline: those it needs and follows are among them. */
  readonly earlier: ReadonlyMap<PipelineName, TrainingRun>;
}

/**
 * One training run: trains once for its content (`fingerprint`), adopts what was trained before, resumes what was interrupted.
 *
 * ### Cost
 * GPUs for at most `maxDuration`: 4 A100 at 12 USD an hour for the default 48 h is at most 576 USD.
 */
export class TrainingRun extends pulumi.ComponentResource {
  readonly fingerprint: pulumi.Output<string>;
  /** Where the checkpoints are; known in a preview. */
  readonly checkpointUri: pulumi.Output<string>;

  constructor(name: string, args: TrainingRunArgs, opts?: pulumi.ComponentResourceOptions) {
    const { settings, config, models, datasets, trackerUrl, image, earlier } = args;
    const { pipeline, gpus } = settings;
    super("wmtp:index:TrainingRun", name, { pipeline, gpus }, opts);
    const find = (wanted: PipelineName) => earlier.get(wanted);
    const run = new Run(
      name,
      {
        place: config.place,
        stack: config.stack,
        pipeline,
        gpus,
        trainerConfig: settings.trainerConfig,
        models: models.hashesOf(settings.models),
        datasets: datasets.hashesOf(settings.datasets),
        needs: checkpointsOf(settings.needs, find),
        criticCheckpoint: settings.criticCheckpoint,
        resultsVersion: config.resultsVersion,
        rerun: settings.rerun,
        volumes: { storage: models.storage, models: models.volumeName, datasets: datasets.volumeName },
        trackerUrl,
        image,
        experiment: `${config.tracking.experiment}/${PIPELINES[pipeline].experiment}`,
        tags: ["weighted-mtp", pipeline, `${gpus}gpu`, config.stack],
        effectiveBatch: settings.effectiveBatch,
        maxDurationSeconds: settings.maxDurationSeconds,
        maxParallel: config.launcher.maxParallel,
        retries: config.launcher.retries,
        waitSeconds: config.launcher.waitSeconds,
      },
      {
        parent: this,
        dependsOn: [models, datasets, ...[...settings.needs, ...settings.after].flatMap((other) => find(other) ?? [])],
      },
    );
    this.fingerprint = run.fingerprint;
    this.checkpointUri = run.checkpointUri;
    this.registerOutputs({});
  }
}

function checkpointsOf(needs: readonly PipelineName[], find: (pipeline: PipelineName) => TrainingRun | undefined) {
  const found = needs.flatMap((needed) => {
    const run = find(needed);
    return run === undefined ? [] : [[needed, { fingerprint: run.fingerprint, checkpointUri: run.checkpointUri }]];
  });
  return Object.fromEntries(found);
}
