/** Large files, in parts side by side. A killed upload goes on: parts that arrived are not sent again. */
import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { crc32 } from "node:zlib";
import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  type MultipartUpload as MultipartUploadInfo,
  type Part,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import type { ManifestFile } from "../manifest.ts";
import { partBytesOf, SHA256, storedSha256 } from "./content.ts";
import { forEachOf, type Gate } from "./gate.ts";
import type { JournalEntry, UploadJournal } from "./journal.ts";
import type { S3Prefix } from "./prefix.ts";
import { type Action, codeOf, statusOf } from "./s3-errors.ts";
import { withPayloadHash } from "./signing.ts";

const UPLOAD: Action = { name: "upload", permission: "s3:PutObject" };
const PARTS: Action = { name: "list the parts of an upload", permission: "s3:ListMultipartUploadParts" };
const ABORT: Action = { name: "give up an upload", permission: "s3:AbortMultipartUpload" };
const UPLOADS: Action = { name: "list unfinished uploads", permission: "s3:ListBucketMultipartUploads" };
/** An unfinished upload of another machine, or one that no journal knows, is left alone for so long. */
const ABANDONED_MS = 2 * 24 * 3_600_000;

export interface MultipartUpload {
  readonly prefix: S3Prefix;
  readonly journal: UploadJournal;
  readonly gate: Gate;
  /** Told the bytes of every part that was sent. */
  progress(bytes: number): void;
  /** Whether the file still is what the manifest says; asked when all parts are there. */
  unchanged(file: ManifestFile): Promise<boolean>;
}

/** Uploads one file; returns false, and leaves nothing behind, when the file was changed meanwhile. */
export async function uploadInParts(upload: MultipartUpload, file: ManifestFile, local: string): Promise<boolean> {
  const { prefix, journal, gate } = upload;
  const entry = (await resumable(upload, file)) ?? (await begin(upload, file));
  const arrived = new Map((await partsOf(prefix, file.path, entry.uploadId)).map((part) => [part.PartNumber, part]));
  const partBytes = partBytesOf(file.size);
  const completed: CompletedPart[] = [];
  const handle = await open(local);
  try {
    const count = Math.ceil(file.size / partBytes);
    const numbers = Array.from({ length: count }, (_, index) => index + 1);
    // All at once: the gate is what bounds them, together with those of other files.
    await forEachOf(numbers, count, (number) =>
      gate.run(partBytes, async () => {
        const body = await readPart(
          handle,
          (number - 1) * partBytes,
          Math.min(partBytes, file.size - (number - 1) * partBytes),
        );
        const there = arrived.get(number);
        if (there !== undefined && holds(there, body)) {
          completed.push({ PartNumber: number, ETag: there.ETag, ChecksumCRC32: there.ChecksumCRC32 });
          return;
        }
        completed.push(await sendPart(prefix, file.path, entry.uploadId, number, body));
        upload.progress(body.length);
      }),
    );
  } finally {
    await handle.close();
  }
  if (!(await upload.unchanged(file))) {
    await abort(prefix, journal, entry);
    return false;
  }
  await complete(
    prefix,
    file,
    entry.uploadId,
    completed.sort((a, b) => (a.PartNumber ?? 0) - (b.PartNumber ?? 0)),
  );
  await journal.remove(entry.bucket, entry.key);
  return true;
}

/** Ends the uploads below the prefix that nobody goes on with: those of the journal that are not `wanted`, and forgotten ones. */
export async function abortStale(
  prefix: S3Prefix,
  journal: UploadJournal,
  wanted: readonly ManifestFile[],
): Promise<void> {
  const { bucket, base } = await prefix.request(UPLOAD, async (session) => ({
    bucket: session.bucket,
    base: session.key(""),
  }));
  const content = new Map(wanted.map((file) => [`${base}${file.path}`, file.sha256]));
  const known = (await journal.all()).filter((entry) => entry.bucket === bucket && entry.key.startsWith(base));
  for (const entry of known) if (content.get(entry.key) !== entry.sha256) await abort(prefix, journal, entry);
  const ids = new Set(known.map(({ uploadId }) => uploadId));
  for (const { UploadId = "", Key = "", Initiated } of await unfinished(prefix)) {
    const age = Date.now() - (Initiated?.getTime() ?? Date.now());
    if (!ids.has(UploadId) && age > ABANDONED_MS)
      await abort(prefix, journal, { bucket, key: Key, uploadId: UploadId });
  }
}

async function resumable({ prefix, journal }: MultipartUpload, file: ManifestFile): Promise<JournalEntry | undefined> {
  const { bucket, key } = await placeOf(prefix, file.path);
  const entry = await journal.find(bucket, key);
  if (entry === undefined) return undefined;
  const same = entry.size === file.size && entry.sha256 === file.sha256;
  if (same && (await isOpen(prefix, file.path, entry.uploadId))) return entry;
  await abort(prefix, journal, entry);
  return undefined;
}

async function begin({ prefix, journal }: MultipartUpload, file: ManifestFile): Promise<JournalEntry> {
  const { bucket, key } = await placeOf(prefix, file.path);
  const uploadId = await prefix.request(UPLOAD, async ({ client }) => {
    const { UploadId } = await client.send(
      new CreateMultipartUploadCommand({
        Bucket: bucket,
        Key: key,
        Metadata: { [SHA256]: file.sha256 },
        ChecksumAlgorithm: "CRC32",
      }),
    );
    return UploadId as string;
  });
  const entry = { bucket, key, uploadId, size: file.size, sha256: file.sha256 };
  await journal.write(entry);
  return entry;
}

async function readPart(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const body = Buffer.allocUnsafeSlow(length);
  for (let filled = 0; filled < length; ) {
    const { bytesRead } = await handle.read(body, filled, length - filled, position + filled);
    // Truncated under our hands: what is sent instead does not matter, for the file is looked at again before the end.
    if (bytesRead === 0) return body.fill(0, filled);
    filled += bytesRead;
  }
  return body;
}

async function sendPart(
  prefix: S3Prefix,
  path: string,
  uploadId: string,
  number: number,
  body: Buffer,
): Promise<CompletedPart> {
  return prefix.request(UPLOAD, async ({ client, bucket, key }) => {
    const command = new UploadPartCommand({
      Bucket: bucket,
      Key: key(path),
      UploadId: uploadId,
      PartNumber: number,
      Body: body,
      ChecksumAlgorithm: "CRC32",
    });
    const { ETag, ChecksumCRC32 } = await client.send(withPayloadHash(command, "UNSIGNED-PAYLOAD"));
    return { PartNumber: number, ETag, ChecksumCRC32 };
  });
}

/** By whatever the store tells of a part that arrived. */
function holds(part: Part, body: Buffer): boolean {
  if (part.Size !== body.length) return false;
  if (part.ChecksumCRC32 !== undefined) {
    const sum = Buffer.alloc(4);
    sum.writeUInt32BE(crc32(body));
    return part.ChecksumCRC32 === sum.toString("base64");
  }
  return part.ETag?.replaceAll('"', "") === createHash("md5").update(body).digest("hex");
}

async function complete(prefix: S3Prefix, file: ManifestFile, uploadId: string, parts: CompletedPart[]): Promise<void> {
  await prefix.request(UPLOAD, async ({ client, bucket, key }) => {
    try {
      await client.send(
        new CompleteMultipartUploadCommand({
          Bucket: bucket,
          Key: key(file.path),
          UploadId: uploadId,
          MultipartUpload: { Parts: parts },
        }),
      );
    } catch (error) {
      // Completed before, by the request whose answer was lost, or by another machine.
      if (codeOf(error) === "NoSuchUpload" && (await storedSha256(prefix, file.path)) === file.sha256) return;
      throw error;
    }
  });
}

async function partsOf(prefix: S3Prefix, path: string, uploadId: string): Promise<Part[]> {
  const parts: Part[] = [];
  for (let marker: string | undefined, last = false; !last; ) {
    const page = await prefix.request(PARTS, ({ client, bucket, key }) =>
      client.send(
        new ListPartsCommand({ Bucket: bucket, Key: key(path), UploadId: uploadId, PartNumberMarker: marker }),
      ),
    );
    parts.push(...(page.Parts ?? []));
    marker = page.NextPartNumberMarker;
    last = page.IsTruncated !== true;
  }
  return parts;
}

async function isOpen(prefix: S3Prefix, path: string, uploadId: string): Promise<boolean> {
  return prefix.request(PARTS, async ({ client, bucket, key }) => {
    try {
      await client.send(new ListPartsCommand({ Bucket: bucket, Key: key(path), UploadId: uploadId, MaxParts: 1 }));
      return true;
    } catch (error) {
      if (statusOf(error) === 404) return false;
      throw error;
    }
  });
}

async function abort(
  prefix: S3Prefix,
  journal: UploadJournal,
  { bucket, key, uploadId }: Pick<JournalEntry, "bucket" | "key" | "uploadId">,
): Promise<void> {
  await prefix.request(ABORT, async ({ client }) => {
    try {
      await client.send(new AbortMultipartUploadCommand({ Bucket: bucket, Key: key, UploadId: uploadId }));
    } catch (error) {
      if (statusOf(error) !== 404) throw error;
    }
  });
  await journal.remove(bucket, key);
}

/** None when one may not look, or the store does not know the question: tidying up is no reason to fail. */
async function unfinished(prefix: S3Prefix): Promise<MultipartUploadInfo[]> {
  return prefix.request(UPLOADS, async ({ client, bucket, key }) => {
    try {
      const page = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: key("") }));
      return page.Uploads ?? [];
    } catch (error) {
      if (codeOf(error) === "AccessDenied" || statusOf(error) === 501) return [];
      throw error;
    }
  });
}

async function placeOf(prefix: S3Prefix, path: string): Promise<{ bucket: string; key: string }> {
  return prefix.request(UPLOAD, async ({ bucket, key }) => ({ bucket, key: key(path) }));
}
