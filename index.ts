/** The whole stack on one page: read the config, declare the components, export what other stacks need. */
import * as pulumi from "@pulumi/pulumi";
import { ArtifactStore } from "./components/artifact-store.ts";
import { BaseStack } from "./components/base-stack.ts";
import { PREFIXES } from "./components/bucket-layout.ts";
import { readConfig, readSecret } from "./components/config.ts";
import { FilledVolume } from "./components/filled-volume.ts";
import { TrackingServer, Volume } from "./components/launcher-resources.ts";
import { MlflowHost } from "./components/mlflow-host.ts";
import { cacheVolume } from "./components/model-cache.ts";
import type { PipelineName } from "./components/pipelines.ts";
import { plainVariables, type RunAccess, RunSecrets, secretNames } from "./components/run-access.ts";
import { RunIdentity } from "./components/run-identity.ts";
import { TrainerImage } from "./components/trainer-image.ts";
import { TrainingRun } from "./components/training-run.ts";
import type { Place } from "./launcher/by-place.ts";
import { findToken, TOKEN_REMEDY } from "./launcher/vessl/token.ts";

const config = readConfig();
const { stack, ephemeral } = config;

export const outputs = declare();

function declare() {
  if (config.launcher.target === "local") return onThisMachine();
  // A preview goes without, as on a pull request from a fork; an update would find out half way.
  if (!pulumi.runtime.isDryRun() && findToken() === undefined) {
    throw new pulumi.RunError(
      `there is no login for the GPU cloud, so nothing was created or changed: ${TOKEN_REMEDY}`,
    );
  }
  return config.base === undefined ? onTheCloud() : onItsBase(new BaseStack(config.base));
}

function onThisMachine() {
  const tracker = new TrackingServer("tracker", { stack });
  declareRuns({ place: { target: "local" }, trackerUrl: tracker.url });
  return { trackerUrl: tracker.url, experiment: config.tracking.experiment };
}

function onTheCloud() {
  const region = config.region as string; // checked with everything else
  const { bucket } = config.storage;
  const store = new ArtifactStore("store", { ...config.storage, region, ephemeral });
  const identity = new RunIdentity("runs", { stack, store, accessKeys: config.storage.accessKeys });
  const tracker = new MlflowHost("tracker", {
    ...config.tracking,
    region,
    store,
    ephemeral,
    adminPassword: readSecret("mlflowAdminPassword"),
  });
  const image = new TrainerImage("image", { ...config.image, ephemeral, registryToken: readSecret("registryToken") });
  const place = cloudPlace(region, bucket, PREFIXES.checkpoints);
  const values = {
    AWS_ACCESS_KEY_ID: identity.accessKeyId,
    AWS_SECRET_ACCESS_KEY: identity.secretAccessKey,
    MLFLOW_TRACKING_PASSWORD: tracker.runsPassword,
    HF_TOKEN: readSecret("hfToken"),
  };
  const secrets = new RunSecrets("secrets", { stack, place, values });
  declareRuns({
    place,
    trackerUrl: tracker.url,
    image: image.ref,
    bucket: { uri: `s3://${bucket}`, after: [store] },
    access: {
      env: plainVariables({ region, bucket, caCertificate: tracker.caCertificate }),
      secrets: secretNames(stack, secrets.variables),
      dependsOn: [secrets],
    },
  });
  return {
    region,
    bucket: store.bucketName,
    runsAccessKeyId: identity.accessKeyId,
    runSecrets: secrets.variables,
    trackerUrl: tracker.url,
    trackerInstanceId: tracker.instanceId,
    trackerCaCertificate: tracker.caCertificate,
    image: image.ref,
    ...(config.image.pullCredential === undefined ? {} : { imagePullCredential: config.image.pullCredential }),
    experiment: config.tracking.experiment,
  };
}

/** Volumes and runs of its own; bucket, tracker, image and secrets of the base. */
function onItsBase(base: BaseStack) {
  const [region, bucket, trackerUrl] = [base.text("region"), base.text("bucket"), base.text("trackerUrl")];
  const checkpoints = `${PREFIXES.checkpoints}${base.name}/experiments/`;
  declareRuns({
    place: pulumi.all([region, bucket]).apply((known) => cloudPlace(...known, checkpoints)),
    trackerUrl,
    image: base.text("image"),
    access: {
      env: plainVariables({ region, bucket, caCertificate: base.text("trackerCaCertificate") }),
      secrets: base.runSecrets.apply((variables) => secretNames(base.name, variables)),
      pullCredential: base.pullCredential,
      dependsOn: [],
    },
  });
  return { trackerUrl, experiment: config.tracking.experiment };
}

/** @param checkpoints prefix in the bucket below which the stack's own are */
function cloudPlace(region: string, bucket: string, checkpoints: string): Place {
  const { organization, project } = config.launcher.vessl;
  return { target: "vessl", organization: organization as string, project, bucket, region, checkpoints };
}

/** What the runs of a stack stand on. */
interface Ground {
  readonly place: pulumi.Input<Place>;
  readonly trackerUrl: pulumi.Output<string>;
  /** The rest on the GPU cloud alone. */
  readonly image?: pulumi.Output<string>;
  readonly bucket?: { readonly uri: string; readonly after: readonly pulumi.Resource[] };
  readonly access?: RunAccess | undefined;
}

/** Volumes and a run per pipeline, in dependency order; a stack without pipelines is infrastructure alone. */
function declareRuns({ place, trackerUrl, image, bucket, access: given }: Ground): void {
  if (config.runs.length === 0) return;
  const { storage, names, sources, forceDelete } = config.volumes;
  const onCloud = given !== undefined;
  const fill = (kind: "models" | "datasets" | "checkpoints") =>
    new FilledVolume(kind, {
      place,
      kind,
      storage,
      volumeName: names[kind],
      source: sources[kind],
      optional: kind === "checkpoints",
      owner: onCloud ? stack : undefined,
      protect: onCloud && !ephemeral,
      forceDelete: forceDelete || ephemeral,
    });
  const models =
    bucket !== undefined && config.models.delivery === "s3"
      ? new FilledVolume("models", {
          place,
          kind: "models",
          storage: bucket.uri,
          volumeName: PREFIXES.models.slice(0, -1),
          source: sources.models,
          after: bucket.after,
        })
      : fill("models");
  const [datasets, checkpoints] = [fill("datasets"), onCloud ? fill("checkpoints") : undefined];
  const access = given && { ...given, dependsOn: [...given.dependsOn, ...declareCache(place)] };
  const runs = new Map<PipelineName, TrainingRun>();
  for (const settings of config.runs) {
    const { pipeline } = settings;
    const run = { settings, config, place, models, datasets, checkpoints, access, trackerUrl, image, earlier: runs };
    runs.set(pipeline, new TrainingRun(pipeline, run));
  }
}

/** A cache that is a volume of the cloud's is made here; other file systems belong to the cluster. */
function declareCache(place: pulumi.Input<Place>): Volume[] {
  const cache = cacheVolume(config.models);
  if (cache === undefined) return [];
  const { storage, name } = cache;
  const args = {
    place,
    storage,
    volumeName: name,
    tags: ["weighted-mtp", "cache"],
    forceDelete: false,
    owner: undefined,
  };
  return [new Volume("cache", args, { protect: !ephemeral })];
}
