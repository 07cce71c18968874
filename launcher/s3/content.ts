/** Whether a stored file holds the same content as one of the manifest, without reading the stored one. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import type { ManifestFile } from "../manifest.ts";
import type { S3File, S3Prefix } from "./prefix.ts";

/** User metadata of all that we store: the content's SHA-256 in hexadecimal. It also says that the file is ours. */
export const SHA256 = "sha256";
/** Parts that boto3, and with it the GPU cloud's own client, uploads in. */
const BOTO3_PART_BYTES = 8 << 20;
const PART_BYTES = 16 << 20;
/** The protocol's own bound. */
const MAX_PARTS = 10_000;

/** The content hash that we stored with a file; undefined when somebody else stored it, or it is gone. */
export async function storedSha256(prefix: S3Prefix, path: string): Promise<string | undefined> {
  const sha256 = (await prefix.metadata(path))?.[SHA256];
  return sha256 !== undefined && /^[0-9a-f]{64}$/.test(sha256) ? sha256 : undefined;
}

/**
 * By the hash that we stored with it, else by the entity tag: the MD5 of the content, or of the MD5s of its parts. An entity tag of
 * another kind (of an encrypted file) is no proof, and the answer is no.
 * @param local the file of this machine that the manifest's one is.
 */
export async function isSameContent(
  prefix: S3Prefix,
  stored: S3File,
  wanted: ManifestFile,
  local: string,
): Promise<boolean> {
  if (stored.size !== wanted.size) return false;
  const sha256 = await storedSha256(prefix, wanted.path);
  if (sha256 !== undefined) return sha256 === wanted.sha256;
  return matchesEtag(stored, local);
}

async function matchesEtag({ etag, size }: S3File, local: string): Promise<boolean> {
  const [, md5, parts] = /^([0-9a-f]{32})(?:-(\d+))?$/.exec(etag) ?? [];
  if (md5 === undefined) return false;
  if (parts === undefined) return (await md5s(local, size))[0]?.toString("hex") === md5;
  for (const partBytes of new Set([BOTO3_PART_BYTES, partBytesOf(size)])) {
    if (Math.ceil(size / partBytes) !== Number(parts)) continue;
    const all = createHash("md5").update(Buffer.concat(await md5s(local, partBytes)));
    if (all.digest("hex") === md5) return true;
  }
  return false;
}

/** MD5 of every `partBytes` of a file; of an empty file, one. */
async function md5s(file: string, partBytes: number): Promise<Buffer[]> {
  const digests: Buffer[] = [];
  let hash = createHash("md5");
  let room = partBytes;
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
    for (let rest = chunk; rest.length > 0; ) {
      const piece = rest.subarray(0, room);
      hash.update(piece);
      rest = rest.subarray(piece.length);
      room -= piece.length;
      if (room > 0) continue;
      digests.push(hash.digest());
      hash = createHash("md5");
      room = partBytes;
    }
  }
  return room < partBytes || digests.length === 0 ? [...digests, hash.digest()] : digests;
}

/** Size of the parts that a file of `size` bytes is uploaded in: the same whoever asks, so that any of our machines goes on. */
export function partBytesOf(size: number): number {
  const mebibytes = Math.ceil(size / MAX_PARTS / (1 << 20));
  return Math.max(PART_BYTES, mebibytes * (1 << 20));
}
