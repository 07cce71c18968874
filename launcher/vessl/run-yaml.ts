/**
 * The document a run on the GPU cloud is made from: docs.vessl.ai/reference/yaml/run-yaml. Its text is what the API takes, what a
 * preview shows, and what the cloud's own client submits as it is (`vessl run create -f`).
 */
import { createHash } from "node:crypto";
import { stringify } from "yaml";
import { z } from "zod";
import { PIPELINES, type PipelineName } from "../../components/pipelines.ts";
import { WORKDIR } from "../../components/workdir.ts";
import type { CloudRun, RunSpec, VolumeRef } from "../backend.ts";
import { hasUnknown, UNKNOWN } from "../values.ts";

const text = z.string().min(1);
const directory = z.string().regex(/^\/.*\/$/, { error: "is not a directory of the container, written /app/x/" });

/** The part of the documented form that we write; strict, so that a key the cloud does not know is our error and not a lost run. */
export const RUN_YAML = z.strictObject({
  name: z.string().regex(/^[a-z0-9][A-Za-z0-9._-]{0,127}$/),
  description: text,
  tags: z.array(text).min(1),
  resources: z.strictObject({ cluster: text, preset: text }),
  image: z.union([text, z.strictObject({ url: text, credential_name: text })]),
  import: z.record(directory, z.string().regex(/^volume:\/\/[^/]+\/[^/]+$/)).optional(),
  mount: z.record(directory, z.string().regex(/^(nfs|hostpath|volume):\/\/.+$/)).optional(),
  env: z.record(z.string().regex(/^[A-Z][A-Z0-9_]*$/), z.union([z.string(), z.strictObject({ secret: text })])),
  run: z.array(z.strictObject({ command: text, workdir: z.literal(WORKDIR) })).length(1),
});
export type RunYaml = z.infer<typeof RUN_YAML>;

/** Directories of the container. */
const MODELS = `${WORKDIR}/models`;
const DATASETS = `${WORKDIR}/datasets`;
const CHECKPOINTS = `${WORKDIR}/checkpoints`;
/** Where the entry point puts the trainer's config, which it gets in a variable. */
const CONFIG = `${WORKDIR}/run.yaml`;
/** What a preview shows of what is not known before the update. */
const LATER = "(known after up)";

const FINGERPRINT_TAG = "fingerprint-";
/** Characters of the fingerprint in its tag: enough to be sure, short enough for any limit on tags. */
const TAG_CHARACTERS = 32;

const CACHE_KEY_CHARACTERS = 16;

/** Known kinds of GPU, to name the one of a preset in a tag. */
const GPU_KINDS = /(?:^|-)(a100|h100|h200|b200|l40s|l40|l4|a10|v100|t4)(?:-|$)/;

/** The tag by which a run is known to be of this content. @param fingerprint whole, or the beginning of one */
export function fingerprintTag(fingerprint: string): string {
  return `${FINGERPRINT_TAG}${fingerprint.slice(0, TAG_CHARACTERS)}`;
}

/** The text that is submitted. @throws ZodError when it is not of the documented form. */
export function runYaml(spec: RunSpec): string {
  const document = RUN_YAML.parse(hasUnknown(spec) ? withoutUnknowns(runDocument(spec)) : runDocument(spec));
  // The cloud and its client read YAML 1.1, where yes, 0o7 and 12:30 are no text unless they are quoted.
  return stringify(document, { version: "1.1", lineWidth: 0 });
}

export function runDocument(spec: RunSpec): RunYaml {
  const cloud = cloudOf(spec);
  const { pipeline, gpus, stack, fingerprint } = spec;
  const kind = GPU_KINDS.exec(cloud.preset)?.[1];
  const imports = importsOf(spec, cloud);
  return {
    name: spec.name,
    description: `${pipeline} of stack ${stack}: ${PIPELINES[pipeline as PipelineName].summary}`,
    tags: [
      ...new Set([...spec.tags, ...(kind === undefined ? [] : [kind]), `${gpus}gpu`]),
      fingerprintTag(fingerprint),
    ],
    resources: { cluster: cloud.cluster, preset: cloud.preset },
    image: imageOf(spec, cloud),
    ...(Object.keys(imports).length === 0 ? {} : { import: imports }),
    ...(cloud.cache === undefined ? {} : { mount: { [`${cloud.cache.path}/`]: cloud.cache.mount } }),
    env: environmentOf(spec, cloud),
    run: [{ command: commandOf(spec, cloud), workdir: WORKDIR }],
  };
}

function imageOf({ image }: RunSpec, { pullCredential }: CloudRun): RunYaml["image"] {
  const url = image as string;
  return pullCredential === undefined ? url : { url, credential_name: pullCredential };
}

/** Copied in before the start. Models come from the bucket unless the stack says otherwise. */
function importsOf({ volumes }: RunSpec, { delivery, checkpointsVolume }: CloudRun): Record<string, string> {
  const from = ({ storage, name }: VolumeRef) => `volume://${storage}/${name}`;
  return {
    [`${DATASETS}/`]: from(volumes.datasets),
    ...(delivery === "volume" ? { [`${MODELS}/`]: from(volumes.models) } : {}),
    ...(checkpointsVolume === undefined ? {} : { [`${CHECKPOINTS}/`]: from(checkpointsVolume) }),
  };
}

function environmentOf(spec: RunSpec, { env, secrets }: CloudRun): RunYaml["env"] {
  const output = `${CHECKPOINTS}/${spec.pipeline}`;
  const config = {
    ...spec.trainerConfig,
    paths: { models: modelsRoot(spec), datasets: DATASETS, output, scores: `${output}/scores` },
  };
  return {
    ...Object.fromEntries(Object.entries(env).filter(([, value]) => value !== "")),
    MLFLOW_TRACKING_URI: spec.trackerUrl,
    MLFLOW_EXPERIMENT_NAME: spec.experiment,
    MLFLOW_DISABLE_TELEMETRY: "true",
    ...(spec.gpus > 1 ? { NCCL_DEBUG: "WARN" } : {}),
    WMTP_FINGERPRINT: spec.fingerprint,
    WMTP_PROVENANCE: JSON.stringify({ stack: spec.stack, image: spec.image }),
    WMTP_CONFIG: JSON.stringify(config),
    ...Object.fromEntries(Object.entries(secrets).map(([variable, secret]) => [variable, { secret }])),
  };
}

/** Fetch, verify, train, upload: the entry point does all but training, which one process does or torchrun's several. */
function commandOf(spec: RunSpec, cloud: CloudRun): string {
  const entry = ["python", "-m", "weighted_mtp.entry"];
  if (cloud.delivery === "s3") {
    const { storage, name } = spec.volumes.models;
    for (const model of Object.keys(spec.models))
      entry.push("--fetch", `${storage}/${name}/${model}=${modelsRoot(spec)}/${model}`);
  }
  const critic = criticOf(spec);
  if (critic?.fetch !== undefined) entry.push("--fetch", critic.fetch);
  entry.push("--checkpoints", spec.checkpointUri, "--max-duration", String(Math.ceil(spec.maxDurationSeconds)));
  const launch = spec.gpus === 1 ? ["python"] : ["torchrun", "--standalone", `--nproc_per_node=${spec.gpus}`];
  const trainer = ["-m", `weighted_mtp.pipelines.run_${spec.pipeline}`, "--config", CONFIG];
  trainer.push("--run-name", spec.name, "--tags", spec.tags.join(","));
  if (critic !== undefined) trainer.push("--critic-checkpoint", critic.path);
  // A shell that stays would be the container's first process, and would not pass SIGTERM on: nobody would save.
  return `exec ${[...entry, "--", ...launch, ...trainer].map(quote).join(" ")}`;
}

/**
 * A cache that is kept from run to run is where the models are fetched to: below a hash of their content, so that another model of the
 * same name is not taken for the one that lies there.
 */
function modelsRoot(spec: RunSpec): string {
  const { cache } = cloudOf(spec);
  if (cache === undefined) return MODELS;
  const content = createHash("sha256").update(JSON.stringify(Object.entries(spec.models).sort()));
  return `${cache.path}/${content.digest("hex").slice(0, CACHE_KEY_CHARACTERS)}`;
}

/** Where the critic is in the container, and, unless a volume brings it, what fetches it there. */
function criticOf({ criticCheckpointUri: uri }: RunSpec): { path: string; fetch?: string } | undefined {
  if (uri === undefined) return undefined;
  if (!uri.includes("://")) return { path: `${CHECKPOINTS}/${uri}` };
  const path = `${CHECKPOINTS}/critic/checkpoint_best`;
  return { path, fetch: `${uri}=${path}` };
}

/** For `sh`. */
function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function cloudOf({ cloud, name }: RunSpec): CloudRun {
  if (cloud === undefined) throw new Error(`${name} has nothing of what a run on the GPU cloud takes`);
  return cloud;
}

function withoutUnknowns<T>(document: T): T {
  return JSON.parse(JSON.stringify(document).replaceAll(UNKNOWN, LATER));
}
