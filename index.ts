/** The whole stack on one page: read the config, declare the components, export what other stacks need. */
import * as pulumi from "@pulumi/pulumi";
import { ArtifactStore } from "./components/artifact-store.ts";
import { contentOfBase, groundOfBase, machineOfBase } from "./components/base-ground.ts";
import { contentOutputs, criticOutput, type TrainedCritic } from "./components/base-outputs.ts";
import { BaseStack } from "./components/base-stack.ts";
import { PREFIXES } from "./components/bucket-layout.ts";
import { readConfig, readSecret } from "./components/config.ts";
import { cloudPlace, type Ground } from "./components/ground.ts";
import { TrackingServer } from "./components/launcher-resources.ts";
import { MlflowHost } from "./components/mlflow-host.ts";
import { plainVariables, RunSecrets, secretNames } from "./components/run-access.ts";
import { RunIdentity } from "./components/run-identity.ts";
import { fillVolumes } from "./components/stack-content.ts";
import { otherCritic, READABLE_HERE, readableIn } from "./components/stack-critic.ts";
import { declarePlan } from "./components/stack-plan.ts";
import { declareRuns } from "./components/stack-runs.ts";
import { TrainerImage } from "./components/trainer-image.ts";
import { unlessFailed } from "./components/unless-failed.ts";
import { findToken, TOKEN_REMEDY } from "./launcher/vessl/token.ts";

const config = readConfig();
const { stack, ephemeral } = config;
const local = config.launcher.target === "local";

export const outputs = declare().then(unlessFailed);

async function declare() {
  // A preview goes without, as on a pull request from a fork; an update would find out half way.
  if (!local && !pulumi.runtime.isDryRun() && findToken() === undefined) {
    throw new pulumi.RunError(
      `there is no login for the GPU cloud, so nothing was created or changed: ${TOKEN_REMEDY}`,
    );
  }
  if (config.base === undefined) return local ? onThisMachine() : onTheCloud();
  return onBase(await BaseStack.read(config.base));
}

async function onThisMachine() {
  const critic = await otherCritic(config, READABLE_HERE);
  const tracker = new TrackingServer("tracker", { stack });
  const content = trainHere({ place: { target: "local" }, trackerUrl: tracker.url }, critic);
  return { trackerUrl: tracker.url, experiment: config.tracking.experiment, ...content };
}

async function onTheCloud() {
  const region = config.region as string; // checked with everything else
  const { bucket } = config.storage;
  const critic = await otherCritic(config, readableIn(bucket, stack));
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
  const ground: Ground = {
    place,
    trackerUrl: tracker.url,
    image: image.ref,
    bucket: { uri: `s3://${bucket}`, after: [store] },
    access: {
      env: plainVariables({ region, bucket, caCertificate: tracker.caCertificate }),
      secrets: secretNames(stack, secrets.variables),
      dependsOn: [secrets],
    },
  };
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
    ...trainHere(ground, critic),
  };
}

/** Runs of its own; of an experiment everything else is its base's, any other stack on a base has volumes of its own. */
async function onBase(base: BaseStack) {
  const ground = local ? await machineOfBase(base) : groundOfBase(config, base);
  const readable = local ? READABLE_HERE : readableIn(base.take(["bucket"]).bucket, base.name);
  const critic = await otherCritic(config, readable, base);
  const { experiment } = config;
  const content = experiment ? contentOfBase(config, base) : fillVolumes(config, ground);
  const runs = declareRuns(config, ground, content, critic);
  return {
    trackerUrl: ground.trackerUrl,
    experiment: config.tracking.experiment,
    ...criticOutput(runs),
    plan: declarePlan({ config, runs, base: experiment ? base : undefined, modelBytes: content.models.bytes }),
  };
}

/** Volumes and runs of a stack without a base, and what experiments on it take; one without pipelines is infrastructure alone. */
function trainHere(ground: Ground, critic: TrainedCritic | undefined) {
  if (config.runs.length === 0) return { plan: declarePlan({ config, runs: new Map() }) };
  const content = fillVolumes(config, ground);
  const runs = declareRuns(config, ground, content, critic);
  return {
    ...contentOutputs(config, content, runs),
    plan: declarePlan({ config, runs, modelBytes: content.models.bytes }),
  };
}
