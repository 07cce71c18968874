import * as pulumi from "@pulumi/pulumi";
import type { TrainedCritic } from "./base-outputs.ts";
import type { RunSettings, StackConfig } from "./config.ts";
import type { Content } from "./content.ts";
import type { Ground } from "./ground.ts";
import { type CloudRunArgs, Run } from "./launcher-resources.ts";
import { PIPELINES, type PipelineName } from "./pipelines.ts";
import type { RunAccess } from "./run-access.ts";
import type { StackContent } from "./stack-content.ts";
import { criticDirectory } from "./stack-critic.ts";

export interface TrainingRunArgs {
  readonly settings: RunSettings;
  readonly config: StackConfig;
  readonly ground: Ground;
  readonly content: StackContent;
  /** One that another stack has trained; for a run that reads such a critic. */
  readonly critic?: TrainedCritic | undefined;
  /** Runs declared so far, by pipeline: those it needs and follows are among them. */
  readonly earlier: ReadonlyMap<PipelineName, TrainingRun>;
}

/**
 * One training run: trains once for its content (`fingerprint`), adopts what was trained before, resumes what was interrupted.
 *
 * ### Cost
 * GPUs for at most `maxDuration`, all resumptions included until an `up` says that it failed: 4 A100 at 12 USD an hour for the default
 * 48 h is at most 576 USD. Models from the bucket cost its egress at each start.
 */
export class TrainingRun extends pulumi.ComponentResource {
  readonly fingerprint: pulumi.Output<string>;
  /** Where the checkpoints are; known in a preview. */
  readonly checkpointUri: pulumi.Output<string>;
  /** In a preview, why the run trains, is adopted or is updated; undefined for one that stays as it is, and in an `up`. */
  readonly trains: pulumi.Output<string | undefined>;

  constructor(name: string, args: TrainingRunArgs, opts?: pulumi.ComponentResourceOptions) {
    const { settings, config, ground, content, earlier } = args;
    const { pipeline, gpus } = settings;
    const { place, access, trackerUrl, image } = ground;
    const { models, datasets, checkpoints } = content;
    super("wmtp:index:TrainingRun", name, { pipeline, gpus }, opts);
    const find = (wanted: PipelineName) => earlier.get(wanted);
    const critic = settings.criticStack === undefined ? undefined : args.critic;
    const directory = checkpoints === undefined ? undefined : criticDirectory(settings.criticCheckpoint);
    const criticVolume = directory === undefined ? undefined : checkpoints;
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
        needs: { ...checkpointsOf(settings.needs, find), ...(critic === undefined ? {} : { critic }) },
        criticCheckpoint: settings.criticCheckpoint,
        checkpoints: directory === undefined ? undefined : checkpoints?.hashesOf([directory]),
        resultsVersion: config.resultsVersion,
        rerun: settings.rerun,
        volumes: { models: models.ref, datasets: datasets.ref },
        trackerUrl,
        image,
        cloud: access === undefined ? undefined : cloudOf(config, settings, access, content.delivery, criticVolume),
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
          ...models.ready,
          ...datasets.ready,
          ...content.ready,
          ...(criticVolume?.ready ?? []),
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
  delivery: StackContent["delivery"],
  criticVolume: Content | undefined,
): CloudRunArgs {
  const { cluster, presets } = launcher.vessl;
  const { cache } = models;
  const credential = image.pullCredential ?? pullCredential;
  return {
    cluster,
    preset: presets[gpus],
    ...(credential === undefined ? {} : { pullCredential: credential }),
    delivery,
    ...(cache === undefined ? {} : { cache: { path: cache.path, mount: cache.mount } }),
    ...(criticVolume === undefined ? {} : { checkpointsVolume: criticVolume.ref }),
    env,
    secrets,
  };
}
