/** Where fetched models are kept from run to run. */
import type { VolumeRef } from "../launcher/backend.ts";
import type { Section } from "./config-schema.ts";

/** The volume of the GPU cloud that a cache is, and that the stack then makes; undefined for file systems of the cluster's own. */
export function cacheVolume({ cache }: Section<"models">): VolumeRef | undefined {
  const [, storage, name] = /^volume:\/\/([^/]+)\/([^/]+)$/.exec(cache?.mount ?? "") ?? [];
  return storage === undefined || name === undefined ? undefined : { storage, name };
}
