/** What a stack on a base takes from it: bucket, tracker, image and secrets; an experiment also models, data and a trained critic. */
import * as pulumi from "@pulumi/pulumi";
import type { BaseOutputs, BaseStack } from "./base-stack.ts";
import { PREFIXES } from "./bucket-layout.ts";
import type { RunSettings, StackConfig } from "./config.ts";
import { BaseContent, type Content } from "./content.ts";
import { cloudPlace, type Ground } from "./ground.ts";
import { plainVariables, secretNames } from "./run-access.ts";
import type { StackContent } from "./stack-content.ts";
import { criticDirectory } from "./stack-critic.ts";

const CLOUD = ["region", "bucket", "trackerUrl", "trackerCaCertificate", "image", "runSecrets"] as const;
const CONTENT = ["models", "datasets", "modelsVolume", "datasetsVolume", "modelsDelivery"] as const;
const CHECKPOINTS = ["checkpointSources", "checkpointsVolume"] as const;
const MACHINE = ["trackerUrl"] as const;
const TRACKER_MS = 5000;

/** Bucket, tracker, image and secrets of the base, for a stack with volumes and runs of its own on the GPU cloud. */
export function groundOfBase(config: StackConfig, base: BaseStack): Ground {
  return cloudGround(config, base, base.outputs(CLOUD));
}

/** What an experiment stands on and reads. Nothing of it is known unless all of it is there, so that no run starts before another is refused. */
export function experimentOn(config: StackConfig, base: BaseStack): { ground: Ground; content: StackContent } {
  const local = config.launcher.target === "local";
  const byPath = !local && config.runs.some(({ criticCheckpoint }) => criticDirectory(criticCheckpoint) !== undefined);
  const given = base.outputs([...(local ? MACHINE : CLOUD), ...CONTENT, ...(byPath ? CHECKPOINTS : [])]);
  const from = (
    kind: "models" | "datasets" | "checkpoints",
    ref: typeof given.modelsVolume,
    hashes: typeof given.models,
  ) => new BaseContent({ base: base.name, kind, ref, hashes });
  const content = {
    models: from("models", given.modelsVolume, given.models),
    datasets: from("datasets", given.datasetsVolume, given.datasets),
    delivery: given.modelsDelivery,
    ...(byPath ? { checkpoints: from("checkpoints", given.checkpointsVolume, given.checkpointSources) } : {}),
    ready: [],
  };
  const ground = local ? machineGround(base.name, given.trackerUrl) : cloudGround(config, base, given);
  const found = pulumi.all([ground.trackerUrl, pulumi.all(readBy(config.runs, content))]);
  const place = pulumi.all([ground.place, found]).apply(([known]) => known);
  return { ground: { ...ground, place }, content };
}

function cloudGround(
  config: StackConfig,
  base: BaseStack,
  given: pulumi.Output<BaseOutputs<(typeof CLOUD)[number]>>,
): Ground {
  const checkpoints = `${PREFIXES.checkpoints}${base.name}/`;
  const { region, bucket, trackerUrl, trackerCaCertificate: caCertificate, image } = given;
  return {
    place: given.apply((known) => cloudPlace(config, known.region, known.bucket, `${checkpoints}experiments/`)),
    trackerUrl,
    readable: pulumi.interpolate`s3://${bucket}/${checkpoints}`,
    image,
    access: {
      env: plainVariables({ region, bucket, caCertificate }),
      secrets: given.apply(({ runSecrets }) => secretNames(base.name, runSecrets)),
      pullCredential: base.pullCredential,
      dependsOn: [],
    },
  };
}

function machineGround(base: string, trackerUrl: pulumi.Output<string>): Ground {
  return {
    place: { target: "local" },
    trackerUrl: trackerUrl.apply((url) => answering(base, url)),
    readable: "local://checkpoints/",
  };
}

/** The tracker is the base's process: this stack cannot start it. A preview goes on without. */
async function answering(base: string, url: string): Promise<string> {
  const answers = await fetch(`${url}/health`, { signal: AbortSignal.timeout(TRACKER_MS) }).then(
    ({ ok }) => ok,
    () => false,
  );
  if (answers) return url;
  const silent = `the tracker of ${base} does not answer at ${url}: start it with make up STACK=${base}`;
  if (!pulumi.runtime.isDryRun()) throw new pulumi.RunError(silent);
  await pulumi.log.warn(silent);
  return url;
}

/** Hashes of everything that runs read. */
function readBy(runs: readonly RunSettings[], { models, datasets, checkpoints }: StackContent) {
  const all = (content: Content, directories: (run: RunSettings) => string | readonly string[]) =>
    content.hashesOf([...new Set(runs.flatMap(directories))].sort());
  return [
    all(models, (run) => run.models),
    all(datasets, (run) => run.datasets),
    ...(checkpoints === undefined ? [] : [all(checkpoints, (run) => criticDirectory(run.criticCheckpoint) ?? [])]),
  ];
}
