/** What a stack on a base takes from it: bucket, tracker, image and secrets; an experiment also models and data. */
import * as pulumi from "@pulumi/pulumi";
import type { BaseStack } from "./base-stack.ts";
import { PREFIXES } from "./bucket-layout.ts";
import type { RunSettings, StackConfig } from "./config.ts";
import { BaseContent } from "./content.ts";
import { cloudPlace, type Ground } from "./ground.ts";
import { plainVariables, secretNames } from "./run-access.ts";
import type { StackContent } from "./stack-content.ts";
import { criticDirectory } from "./stack-critic.ts";

const CLOUD = ["region", "bucket", "trackerUrl", "trackerCaCertificate", "image", "runSecrets"] as const;
const CONTENT = ["models", "datasets", "modelsVolume", "datasetsVolume", "modelsDelivery"] as const;
const CHECKPOINTS = ["checkpointSources", "checkpointsVolume"] as const;
const TRACKER_MS = 5000;

/** Bucket, tracker, image and secrets of the base, for runs on the GPU cloud. */
export function groundOfBase(config: StackConfig, base: BaseStack): Ground {
  const { region, bucket, trackerUrl, trackerCaCertificate, image, runSecrets } = base.take(CLOUD);
  return {
    place: cloudPlace(config, region, bucket, `${PREFIXES.checkpoints}${base.name}/experiments/`),
    trackerUrl: pulumi.output(trackerUrl),
    image: pulumi.output(image),
    access: {
      env: plainVariables({ region, bucket, caCertificate: trackerCaCertificate }),
      secrets: secretNames(base.name, runSecrets),
      ...(base.pullCredential === undefined ? {} : { pullCredential: base.pullCredential }),
      dependsOn: [],
    },
  };
}

/** The tracker of a base on this machine. @throws pulumi.RunError in an update, where it does not run. */
export async function machineOfBase(base: BaseStack): Promise<Ground> {
  const { trackerUrl } = base.take(["trackerUrl"]);
  await requireTracker(base.name, trackerUrl);
  return { place: { target: "local" }, trackerUrl: pulumi.output(trackerUrl) };
}

/** The tracker is the base's process: this stack cannot start it. A preview goes on without. */
async function requireTracker(base: string, url: string): Promise<void> {
  const answers = await fetch(`${url}/health`, { signal: AbortSignal.timeout(TRACKER_MS) }).then(
    ({ ok }) => ok,
    () => false,
  );
  if (answers) return;
  const silent = `the tracker of ${base} does not answer at ${url}: start it with make up STACK=${base}`;
  if (!pulumi.runtime.isDryRun()) throw new pulumi.RunError(silent);
  await pulumi.log.warn(silent);
}

/**
 * Models and data as the base has them, and the checkpoints where a run names one by its path.
 * @throws pulumi.RunError where a run reads what the base does not have, before any is declared.
 */
export function contentOfBase({ launcher, runs }: StackConfig, base: BaseStack): StackContent {
  const given = base.take(CONTENT);
  const { name } = base;
  const models = new BaseContent({
    base: name,
    kind: "models",
    ref: given.modelsVolume,
    hashes: given.models,
    bytes: base.find("modelBytes"),
  });
  const datasets = new BaseContent({ base: name, kind: "datasets", ref: given.datasetsVolume, hashes: given.datasets });
  const content = { models, datasets, delivery: given.modelsDelivery, ready: [] };
  models.hashesOf(named(runs, (run) => run.models));
  datasets.hashesOf(named(runs, (run) => run.datasets));
  const critics = launcher.target === "local" ? [] : named(runs, (run) => criticDirectory(run.criticCheckpoint) ?? []);
  if (critics.length === 0) return content;
  const { checkpointSources: hashes, checkpointsVolume: ref } = base.take(CHECKPOINTS);
  const checkpoints = new BaseContent({ base: name, kind: "checkpoints", ref, hashes });
  checkpoints.hashesOf(critics);
  return { ...content, checkpoints };
}

function named(runs: readonly RunSettings[], directories: (run: RunSettings) => string | readonly string[]): string[] {
  return [...new Set(runs.flatMap(directories))].sort();
}
