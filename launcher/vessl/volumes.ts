/** Volumes of the GPU cloud. Their files lie in an object store, which is spoken to directly with credentials that the cloud lends. */
import type { VolumeRef, VolumeState } from "../backend.ts";
import type { Manifest } from "../manifest.ts";
import { mirror, missing } from "../s3/mirror.ts";
import { type S3Access, S3Prefix } from "../s3/prefix.ts";
import type { Federation, VesslApi } from "./api.ts";

export interface VesslVolumesOptions {
  /** Of the account's own bucket. */
  readonly region: string;
  /** Directory for what an interrupted upload must know to go on. */
  readonly journal: string;
  /** Of the hashes of local files: the one that the manifests are made with. */
  readonly hashCache: string;
}

/** `{ storage: "s3://bucket", name: "models" }` is a prefix of the account's own bucket, and no volume of the cloud. */
const OWN_BUCKET = "s3://";

export class VesslVolumes {
  private readonly api: VesslApi;
  private readonly options: VesslVolumesOptions;

  constructor(api: VesslApi, options: VesslVolumesOptions) {
    this.api = api;
    this.options = options;
  }

  async read({ storage, name }: VolumeRef): Promise<VolumeState | undefined> {
    // There is nothing to make: a prefix of a bucket is there when a file is.
    if (isOwnBucket(storage)) return { storage, name, tags: [] };
    const found = await this.api.volume(storage, name);
    return found === undefined ? undefined : { storage, name, tags: found.tags };
  }

  async ensure({ storage, name, tags }: VolumeState): Promise<void> {
    if (isOwnBucket(storage)) return;
    const found = (await this.api.volume(storage, name)) ?? (await this.create(storage, name, tags));
    const add = tags.filter((tag) => !found.tags.includes(tag));
    const remove = found.tags.filter((tag) => !tags.includes(tag));
    if (add.length > 0) await this.api.addVolumeTags(storage, found.id, add);
    if (remove.length > 0) await this.api.removeVolumeTags(storage, found.id, remove);
  }

  /** @param force also when it holds files, which go with it. Files in the account's own bucket always stay. */
  async delete(volume: VolumeRef, force = false): Promise<boolean> {
    const { storage, name } = volume;
    if (isOwnBucket(storage)) return true;
    if ((await this.api.volume(storage, name)) === undefined) return true;
    const files = this.files(volume, force ? "write" : "read");
    const paths = [...(await files.list()).keys()];
    if (paths.length > 0 && !force) return false;
    await files.delete(paths);
    await this.api.deleteVolume(storage, name);
    return true;
  }

  missing(volume: VolumeRef, manifest: Manifest): Promise<string[]> {
    return missing(this.files(volume, "read"), manifest);
  }

  upload(volume: VolumeRef, source: string, manifest: Manifest, progress: (bytes: number) => void): Promise<void> {
    const { journal, hashCache } = this.options;
    const label = `${volume.storage}/${volume.name}`;
    const shared = isOwnBucket(volume.storage);
    return mirror(this.files(volume, "write"), source, manifest, { journal, hashCache, label, shared, progress });
  }

  /** Made here or, at the same moment, by somebody else. */
  private async create(storage: string, name: string, tags: readonly string[]) {
    await requireStorage(this.api, storage);
    await this.api.createVolume(storage, name, tags);
    const made = await this.api.volume(storage, name);
    if (made === undefined)
      throw new Error(`volume ${storage}/${name} was created and is not there: run pulumi up again`);
    return made;
  }

  private files(volume: VolumeRef, use: "read" | "write"): S3Prefix {
    const { storage, name } = volume;
    if (isOwnBucket(storage)) {
      const [bucket, ...folders] = storage.slice(OWN_BUCKET.length).split("/");
      const prefix = [...folders, name].filter((part) => part !== "").join("/");
      return new S3Prefix(async () => ({ bucket: bucket as string, prefix, region: this.options.region }));
    }
    return new S3Prefix(async () => accessOf(volume, await this.api.federate(storage, name, use)));
  }
}

/** @throws Error where the organization has no such storage, or one that cannot be uploaded to; it names those that can. */
export async function requireStorage(api: VesslApi, storage: string): Promise<void> {
  const all = await api.storages();
  const found = all.find(({ name }) => name === storage);
  if (found !== undefined && found.type === "s3") return;
  const fitting = all.filter(({ type }) => type === "s3").map(({ name }) => name);
  const cause =
    found === undefined
      ? `storage "${storage}" is not among the organization's`
      : `storage "${storage}" is of type ${found.type}, which cannot be uploaded to from here`;
  throw new Error(`${cause}: set wmtp:volumes.storage to one of type s3 (${fitting.join(", ") || "there is none"})`);
}

function isOwnBucket(storage: string): boolean {
  return storage.startsWith(OWN_BUCKET);
}

function accessOf({ storage, name }: VolumeRef, { type, ...access }: Federation): S3Access {
  if (type !== "s3")
    throw new Error(
      `volume ${storage}/${name} is in a storage of type ${type}, which cannot be uploaded to from here: use a storage of type s3, or the bucket itself (storage s3://BUCKET)`,
    );
  if (access.credentials === undefined)
    throw new Error(
      `the GPU cloud lends no credentials for volume ${storage}/${name}: ask an owner of the organization for access to storage ${storage}`,
    );
  return access;
}
