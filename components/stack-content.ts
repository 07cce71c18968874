/** What the runs of a stack read. */
import type * as pulumi from "@pulumi/pulumi";
import { PREFIXES } from "./bucket-layout.ts";
import type { StackConfig } from "./config.ts";
import type { Content } from "./content.ts";
import { FilledVolume } from "./filled-volume.ts";
import type { Ground } from "./ground.ts";
import { Volume } from "./launcher-resources.ts";
import { cacheVolume } from "./model-cache.ts";

export interface StackContent<Kind extends Content = Content> {
  readonly models: Kind;
  readonly datasets: Kind;
  /** How models get into a container on the GPU cloud. */
  readonly delivery: pulumi.Input<"s3" | "volume">;
  /** On the GPU cloud alone: what a critic named by its path is in. */
  readonly checkpoints?: Kind;
  /** What must be there beside them before a run starts. */
  readonly ready: readonly pulumi.Resource[];
}

/** Declares the stack's own volumes, and its models in the bucket where they are delivered from there. */
export function fillVolumes(config: StackConfig, { place, bucket, access }: Ground): StackContent<FilledVolume> {
  const { stack, ephemeral } = config;
  const { storage, names, sources, forceDelete } = config.volumes;
  const onCloud = access !== undefined;
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
  return {
    models,
    datasets: fill("datasets"),
    delivery: onCloud ? config.models.delivery : "volume",
    ...(onCloud ? { checkpoints: fill("checkpoints") } : {}),
    ready: onCloud ? declareCache(config, place) : [],
  };
}

/** A cache that is a volume of the cloud's is made here; other file systems belong to the cluster. */
function declareCache({ models, ephemeral }: StackConfig, place: Ground["place"]): Volume[] {
  const cache = cacheVolume(models);
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
