import * as pulumi from "@pulumi/pulumi";
import type { Place } from "../launcher/by-place.ts";
import type { RunSettings, StackConfig } from "./config.ts";
import type { FilledVolume } from "./filled-volume.ts";
import { type CloudRunArgs, Run } from "./launcher-resources.ts";
import { PIPELINES, type PipelineName } from "./pipelines.ts";
import type { RunAccess } from "./run-access.ts";

export interface TrainingRunArgs {
  readonly settings: RunSettings;
  readonly config: StackConfig;
  /** On this machine, or on the GPU cloud. */
  readonly place: pulumi.Input<Place>;
  readonly models: FilledVolume;
  readonly datasets: FilledVolume;
  /** On the GPU cloud alone: what a critic named by its path is in. */
  readonly checkpoints?: FilledVolume | undefined;
  /** On the GPU cloud alone. */
  readonly access?: RunAccess | undefined;
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
 * GPUs for at most `maxDuration`, all resumptions within one `up` included: 4 A100 at 12 USD an hour for the default 48 h is at most
 * 576 USD. Models from the bucket cost its egress at each start.
 */
export class TrainingRun extends pulumi.ComponentResource {
  readonly fingerprint: pulumi.Output<string>;
  /** Where the checkpoints are; known in a preview. */
  readonly checkpointUri: pulumi.Output<string>;
  /** In a preview, why the run trains, is adopted or is updated; undefined for one that stays as it is, and in an `up`. */
  readonly trains: pulumi.Output<string | undefined>;

  constructor(name: string, args: TrainingRunArgs, opts?: pulumi.ComponentResourceOptions) {
    const { settings, config, place, models, datasets, checkpoints, access, trackerUrl, image, earlier } = args;
    const { pipeline, gpus } = settings;
    super("wmtp:index:TrainingRun", name, { pipeline, gpus }, opts);
    const find = (wanted: PipelineName) => earlier.get(wanted);
    const criticDirectory = checkpoints === undefined ? undefined : directoryOf(settings.criticCheckpoint);
    const criticVolume = criticDirectory === undefined ? undefined : checkpoints;
    const run = new Run(
      name,
      {
        place,
        stack: config.stack,
        pipeline,
        gpus,
        trainerConfig: settings.trainerConfig,
        models: models.hashesOf(settings.models),
        datasets: datasets.hashesOf(settings.datasets),
        needs: checkpointsOf(settings.needs, find),
        criticCheckpoint: settings.criticCheckpoint,
        checkpoints: criticDirectory === undefined ? undefined : checkpoints?.hashesOf([criticDirectory]),
        resultsVersion: config.resultsVersion,
        rerun: settings.rerun,
        volumes: { models: models.ref, datasets: datasets.ref },
        trackerUrl,
        image,
        cloud: access === undefined ? undefined : cloudOf(config, settings, access, criticVolume),
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
        dependsOn: [
          models,
          datasets,
          ...(criticVolume === undefined ? [] : [criticVolume]),
          ...(access?.dependsOn ?? []),
          ...[...settings.needs, ...settings.after].flatMap((other) => find(other) ?? []),
        ],
      },
    );
    this.fingerprint = run.fingerprint;
    this.checkpointUri = run.checkpointUri;
    this.trains = run.trains;
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

/** What the run takes on the GPU cloud. Each part is known as early as it can be: a preview looks at the cluster and its presets. */
function cloudOf(
  { launcher, models, image }: StackConfig,
  { gpus }: RunSettings,
  { env, secrets, pullCredential }: RunAccess,
  criticVolume: FilledVolume | undefined,
): CloudRunArgs {
  const { cluster, presets } = launcher.vessl;
  const { cache } = models;
  const credential = image.pullCredential ?? pullCredential;
  return {
    cluster,
    preset: presets[gpus],
    ...(credential === undefined ? {} : { pullCredential: credential }),
    delivery: models.delivery,
    ...(cache === undefined ? {} : { cache: { path: cache.path, mount: cache.mount } }),
    ...(criticVolume === undefined ? {} : { checkpointsVolume: criticVolume.ref }),
    env,
    secrets,
  };
}

/** `old-critic` of `old-critic/checkpoint_best`; undefined for a URI, which is in no volume. */
function directoryOf(path: string | undefined): string | undefined {
  return path === undefined || path.includes("://") ? undefined : path.split("/")[0];
}
