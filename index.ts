/** The whole stack on one page: read the config, declare the components, export what other stacks need. */
import * as pulumi from "@pulumi/pulumi";
import { ArtifactStore } from "./components/artifact-store.ts";
import { readConfig, readSecret } from "./components/config.ts";
import { FilledVolume } from "./components/filled-volume.ts";
import { TrackingServer } from "./components/launcher-resources.ts";
import { MlflowHost } from "./components/mlflow-host.ts";
import type { PipelineName } from "./components/pipelines.ts";
import { RunIdentity } from "./components/run-identity.ts";
import { TrainerImage } from "./components/trainer-image.ts";
import { TrainingRun } from "./components/training-run.ts";

const config = readConfig();
const { stack, ephemeral } = config;
if (config.launcher.target === "vessl" && config.runs.length > 0 && !pulumi.runtime.isDryRun()) {
  throw new pulumi.RunError(
    "runs on the GPU cloud can be previewed, but not deployed by this version; nothing was created or changed. " +
      "Deploy the bucket, the tracker and the image alone with wmtp:pipelines: {}, or train on this machine with target local",
  );
}

export const outputs = config.launcher.target === "local" ? onThisMachine() : onTheCloud();

function onThisMachine() {
  const tracker = new TrackingServer("tracker", { stack });
  declareRuns(tracker.url);
  return { trackerUrl: tracker.url, experiment: config.tracking.experiment };
}

function onTheCloud() {
  const region = config.region as string; // checked with everything else
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
  declareRuns(tracker.url, image.ref);
  return {
    region,
    bucket: store.bucketName,
    runsAccessKeyId: identity.accessKeyId,
    trackerUrl: tracker.url,
    trackerInstanceId: tracker.instanceId,
    trackerCaCertificate: tracker.caCertificate,
    image: image.ref,
    experiment: config.tracking.experiment,
  };
}

/** Volumes and a run per pipeline, in dependency order; a stack without pipelines is infrastructure alone. */
function declareRuns(trackerUrl: pulumi.Output<string>, image?: pulumi.Output<string>): void {
  if (config.runs.length === 0) return;
  const { storage, names, sources } = config.volumes;
  const fill = (kind: "models" | "datasets") =>
    new FilledVolume(kind, { place: config.place, kind, storage, volumeName: names[kind], source: sources[kind] });
  const models = fill("models");
  const datasets = fill("datasets");
  const runs = new Map<PipelineName, TrainingRun>();
  for (const settings of config.runs) {
    const { pipeline } = settings;
    runs.set(
      pipeline,
      new TrainingRun(pipeline, { settings, config, models, datasets, trackerUrl, image, earlier: runs }),
    );
  }
}
