/** Brings the files below a prefix to a manifest. Only what is missing or different travels; what is there is never read back. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { PutObjectCommand } from "@aws-sdk/client-s3";
import { type Manifest, type ManifestFile, manifestOf } from "../manifest.ts";
import { isSameContent, SHA256, storedSha256 } from "./content.ts";
import { forEachOf, Gate } from "./gate.ts";
import { UploadJournal } from "./journal.ts";
import { abortStale, uploadInParts } from "./multipart.ts";
import type { S3Prefix } from "./prefix.ts";
import type { Action } from "./s3-errors.ts";
import { withPayloadHash } from "./signing.ts";

export interface MirrorOptions {
  /** Directory that remembers the uploads under way. */
  readonly journal: string;
  /** Of the hashes of local files: the one that made the manifest. */
  readonly hashCache: string;
  /** What people call the target. @example "vessl-storage/models" */
  readonly label: string;
  /** Others keep directories beside ours: those that the manifest does not name are left alone. @default false */
  readonly shared?: boolean;
  /** Told the bytes moved since the last call: once for a small file, once for every part of a large one. */
  progress(bytes: number): void;
}

const UPLOAD: Action = { name: "upload", permission: "s3:PutObject" };
const FILES_AT_A_TIME = 8;
const REQUESTS_AT_A_TIME = 16;
/** Of the bodies of requests. */
const MEMORY_BYTES = 256 << 20;
/** Larger files go in parts. */
const SINGLE_BYTES = 64 << 20;
/** The protocol's own bound. */
const MAX_KEY_BYTES = 1024;
const NAMED = 5;

/**
 * Removes what we once uploaded and the manifest has no more, uploads the rest, and compares.
 * @throws Error, before anything is changed, when there are files that somebody else put there, or a file has a name that an object
 * store cannot hold; afterwards, when the source was changed meanwhile.
 */
export async function mirror(
  prefix: S3Prefix,
  source: string,
  manifest: Manifest,
  options: MirrorOptions,
): Promise<void> {
  await refuseNames(prefix, manifest);
  const inScope = scopeOf(manifest, options.shared ?? false);
  const list = async () => new Map([...(await prefix.list())].filter(([path]) => inScope(path)));
  const there = await list();
  await removeExtra(prefix, [...there.keys()], manifest, options.label);

  const queue: ManifestFile[] = [];
  await forEachOf(manifest, REQUESTS_AT_A_TIME, async (file) => {
    const stored = there.get(file.path);
    if (stored === undefined || !(await isSameContent(prefix, stored, file, join(source, file.path)))) queue.push(file);
  });
  const journal = new UploadJournal(options.journal);
  await abortStale(prefix, journal, queue);

  const changed = new Set<string>();
  const current = async () => new Map((await manifestOf(source, options.hashCache)).map((file) => [file.path, file]));
  const upload = {
    prefix,
    journal,
    gate: new Gate(REQUESTS_AT_A_TIME, MEMORY_BYTES),
    progress: options.progress,
    unchanged: async (file: ManifestFile) => (await current()).get(file.path)?.sha256 === file.sha256,
  };
  // The largest first: alone at the end they would leave most connections idle.
  queue.sort((a, b) => b.size - a.size);
  await forEachOf(queue, FILES_AT_A_TIME, async (file) => {
    const local = join(source, file.path);
    const whole =
      file.size > SINGLE_BYTES
        ? await uploadInParts(upload, file, local)
        : await upload.gate.run(file.size, () => uploadAtOnce(prefix, file, local, options.progress));
    if (!whole) changed.add(file.path);
  });

  const now = await current();
  const after = await list();
  const wrong = manifest
    .filter(({ path, size, sha256 }) => {
      const same = now.get(path)?.sha256 === sha256 && after.get(path)?.size === size;
      return changed.has(path) || !same;
    })
    .map(({ path }) => path);
  if (wrong.length > 0 || after.size !== manifest.length) {
    const names = wrong.slice(0, NAMED).join(", ") || "files that are not in the source";
    throw new Error(
      `volume ${options.label} differs from its source after the upload (${names}): was the source changed meanwhile? run pulumi up again`,
    );
  }
}

/** Which paths are ours to compare: all, or those below the manifest's own top-level directories. */
function scopeOf(manifest: Manifest, shared: boolean): (path: string) => boolean {
  if (!shared) return () => true;
  const topOf = (path: string) => path.split("/")[0] as string;
  const ours = new Set(manifest.map(({ path }) => topOf(path)));
  return (path) => ours.has(topOf(path));
}

/** Paths of the manifest that are not below the prefix, or have another size there. */
export async function missing(prefix: S3Prefix, manifest: Manifest): Promise<string[]> {
  const there = await prefix.list();
  return manifest.filter(({ path, size }) => there.get(path)?.size !== size).map(({ path }) => path);
}

/** Returns false, and sends nothing, when the file is not any more what the manifest says. */
async function uploadAtOnce(
  prefix: S3Prefix,
  { path, size, sha256 }: ManifestFile,
  local: string,
  progress: (bytes: number) => void,
): Promise<boolean> {
  const body = await readFile(local).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (body === undefined || createHash("sha256").update(body).digest("hex") !== sha256) return false;
  await prefix.request(UPLOAD, async ({ client, bucket, key }) => {
    const command = new PutObjectCommand({
      Bucket: bucket,
      Key: key(path),
      Body: body,
      Metadata: { [SHA256]: sha256 },
    });
    await client.send(withPayloadHash(command, sha256));
  });
  progress(size);
  return true;
}

/** Before the uploads: where the store is a file system, a file cannot be put where a directory still is. */
async function removeExtra(
  prefix: S3Prefix,
  there: readonly string[],
  manifest: Manifest,
  label: string,
): Promise<void> {
  const wanted = new Set(manifest.map(({ path }) => path));
  const extra = there.filter((path) => !wanted.has(path));
  const foreign: string[] = [];
  await forEachOf(extra, REQUESTS_AT_A_TIME, async (path) => {
    if ((await storedSha256(prefix, path)) === undefined) foreign.push(path);
  });
  if (foreign.length > 0) {
    const names = foreign.sort().slice(0, NAMED).join(", ");
    const more = foreign.length > NAMED ? ` and ${foreign.length - NAMED} more` : "";
    throw new Error(
      `volume ${label} holds files that were not uploaded from here and are not in the source (${names}${more}): add them to the source, or delete them there, then run pulumi up again`,
    );
  }
  await prefix.delete(extra);
}

async function refuseNames(prefix: S3Prefix, manifest: Manifest): Promise<void> {
  const key = await prefix.request(UPLOAD, async (session) => session.key);
  for (const { path } of manifest) {
    const shown = JSON.stringify(path);
    if (path.split("/").some((segment) => segment === "" || segment === "." || segment === ".."))
      throw new Error(
        `${shown} is no path that an object store can hold (an empty part, "." or ".."): rename the file`,
      );
    if (/\p{Cc}/u.test(path)) throw new Error(`${shown} holds control characters: rename the file`);
    const bytes = Buffer.byteLength(key(path));
    if (bytes > MAX_KEY_BYTES)
      throw new Error(
        `${shown} is too long for an object store (${bytes} bytes, at most ${MAX_KEY_BYTES}): shorten the names of the file and its directories`,
      );
  }
}
