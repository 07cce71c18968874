/** The whole stack on one page: read the config, declare the components, export what other stacks need. */
import * as pulumi from "@pulumi/pulumi";
import { ArtifactStore } from "./components/artifact-store.ts";
import { experimentOn, groundOfBase } from "./components/base-ground.ts";
import { contentOutputs, criticOutput } from "./components/base-outputs.ts";
import { BaseStack } from "./components/base-stack.ts";
import { PREFIXES } from "./components/bucket-layout.ts";
import { readConfig, readSecret } from "./components/config.ts";
import { cloudPlace, type Ground } from "./components/ground.ts";
import { TrackingServer } from "./components/launcher-resources.ts";
import { MlflowHost } from "./components/mlflow-host.ts";
import { plainVariables, RunSecrets, secretNames } from "./components/run-access.ts";
import { RunIdentity } from "./components/run-identity.ts";
import { fillVolumes } from "./components/stack-content.ts";
import { declareRuns } from "./components/stack-runs.ts";
import { TrainerImage } from "./components/trainer-image.ts";
import { findToken, TOKEN_REMEDY } from "./launcher/vessl/token.ts";

const config = readConfig();
const { stack, ephemeral } = config;

export const outputs = declare();

function declare() {
  const base = config.base === undefined ? undefined : new BaseStack(config.base);
  if (config.launcher.target === "local") return base === undefined ? onThisMachine() : asExperiment(base);
  // A preview goes without, as on a pull request from a fork; an update would find out half way.
  if (!pulumi.runtime.isDryRun() && findToken() === undefined) {
    throw new pulumi.RunError(
      `there is no login for the GPU cloud, so nothing was created or changed: ${TOKEN_REMEDY}`,
    );
  }
  if (base === undefined) return onTheCloud();
  return config.experiment ? asExperiment(base) : onItsBase(base);
}

function onThisMachine() {
  const tracker = new TrackingServer("tracker", { stack });
  const content = trainHere({ place: { target: "local" }, trackerUrl: tracker.url, readable: "local://checkpoints/" });
  return { trackerUrl: tracker.url, experiment: config.tracking.experiment, ...content };
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
  const place = cloudPlace(config, region, bucket, PREFIXES.checkpoints);
  const values = {
    AWS_ACCESS_KEY_ID: identity.accessKeyId,
    AWS_SECRET_ACCESS_KEY: identity.secretAccessKey,
    MLFLOW_TRACKING_PASSWORD: tracker.runsPassword,
    HF_TOKEN: readSecret("hfToken"),
  };
  const secrets = new RunSecrets("secrets", { stack, place, values });
  const content = trainHere({
    place,
    trackerUrl: tracker.url,
    readable: `s3://${bucket}/${PREFIXES.checkpoints}${stack}/`,
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
    ...content,
  };
}

/** Volumes and runs of its own; bucket, tracker, image and secrets of the base. */
function onItsBase(base: BaseStack) {
  const ground = groundOfBase(config, base);
  const runs = declareRuns(config, ground, fillVolumes(config, ground), otherStacks(base));
  return { trackerUrl: ground.trackerUrl, experiment: config.tracking.experiment, ...criticOutput(runs) };
}

/** Runs of its own; everything else is the base's. */
function asExperiment(base: BaseStack) {
  const { ground, content } = experimentOn(config, base);
  const runs = declareRuns(config, ground, content, otherStacks(base));
  return { trackerUrl: ground.trackerUrl, experiment: config.tracking.experiment, ...criticOutput(runs) };
}

/** Volumes and runs of a stack without a base, and what experiments on it take; one without pipelines is infrastructure alone. */
function trainHere(ground: Ground) {
  if (config.runs.length === 0) return {};
  const content = fillVolumes(config, ground);
  return contentOutputs(config, content, declareRuns(config, ground, content, otherStacks()));
}

/** The stack of a name: the base where it is that, for there is one reference to a stack. */
function otherStacks(base?: BaseStack) {
  return (name: string) =>
    name === base?.name ? base : new BaseStack(name, "wmtp:pipelines.verifiable.criticCheckpoint");
}
