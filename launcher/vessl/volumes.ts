/** Volumes of the GPU cloud. Their files lie in an object store, which is spoken to directly with credentials that the cloud lends. */
import type { OwnedVolume, VolumeRef, VolumeState } from "../backend.ts";
import type { Manifest } from "../manifest.ts";
import { mirror, missing } from "../s3/mirror.ts";
import { type S3Access, S3Prefix } from "../s3/prefix.ts";
import { ApiError, type Federation, type VesslApi } from "./api.ts";

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
/** Tag that says whose a volume is: `stack-dev`. */
const OWNER_TAG = "stack-";

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
    if (found === undefined) return undefined;
    const owner = ownersOf(found.tags)[0];
    const tags = found.tags.filter((tag) => !isOwnerTag(tag));
    return { storage, name, tags, ...(owner === undefined ? {} : { owner }) };
  }

  /** @throws Error where the volume is another stack's: two that fill one would delete each other's files. */
  async ensure({ storage, name, tags, owner }: VolumeState): Promise<void> {
    if (isOwnBucket(storage)) return;
    const wanted = owner === undefined ? tags : [...tags, `${OWNER_TAG}${owner}`];
    const found = (await this.api.volume(storage, name)) ?? (await this.create(storage, name, wanted));
    const other = owner === undefined ? undefined : ownersOf(found.tags).find((stack) => stack !== owner);
    if (other !== undefined)
      throw new Error(
        `volume ${storage}/${name} belongs to stack ${other}: choose another name in wmtp:volumes.names, or set wmtp:base to build on that stack (if that stack is no more, take the tag ${OWNER_TAG}${other} off the volume)`,
      );
    const add = wanted.filter((tag) => !found.tags.includes(tag));
    const remove = found.tags.filter((tag) => !tags.includes(tag) && !isOwnerTag(tag));
    if (add.length > 0) await this.api.addVolumeTags(storage, found.id, add);
    if (remove.length > 0) await this.api.removeVolumeTags(storage, found.id, remove);
  }

  /**
   * Another stack's stays, and so does one whose content cannot be listed.
   * @param force also when it holds files, which go with it. Files in the account's own bucket always stay.
   */
  async delete(volume: OwnedVolume, force = false): Promise<boolean> {
    const { storage, name, owner } = volume;
    if (isOwnBucket(storage)) return true;
    const found = await this.api.volume(storage, name);
    if (found === undefined) return true;
    // Also for a stack that claims none: what says whose it is, is not that stack's.
    if (ownersOf(found.tags).some((stack) => stack !== owner)) return false;
    if ((await this.api.storages()).find((one) => one.name === storage)?.type !== "s3") return false;
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
    const problem = await storageProblem(this.api, storage);
    if (problem !== undefined) throw new Error(problem);
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
    return new S3Prefix(async () => accessOf(volume, await this.federate(volume, use)));
  }

  private async federate({ storage, name }: VolumeRef, use: "read" | "write"): Promise<Federation> {
    try {
      return await this.api.federate(storage, name, use);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404)
        throw new Error(`volume ${storage}/${name} is gone from the cloud: run pulumi refresh, then pulumi up`);
      // A storage that is no object store lends nothing: its type says more than the refusal.
      if (error instanceof ApiError && error.status === 400) await requireStorage(this.api, storage);
      throw error;
    }
  }
}

/** Says that the organization has no such storage, and which it has; undefined where it has it, of whatever type. */
export async function storageProblem(api: VesslApi, storage: string): Promise<string | undefined> {
  if (isOwnBucket(storage)) return undefined;
  const known = (await api.storages()).map(({ name }) => name);
  if (known.includes(storage)) return undefined;
  return `storage "${storage}" is not among the organization's: set wmtp:volumes.storage to one of ${known.join(", ") || "them (there is none)"}`;
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

function isOwnerTag(tag: string): boolean {
  return tag.startsWith(OWNER_TAG);
}

/** Names of the stacks that say that a volume is theirs. */
function ownersOf(tags: readonly string[]): string[] {
  return tags.filter(isOwnerTag).map((tag) => tag.slice(OWNER_TAG.length));
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
