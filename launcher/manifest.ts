/**
 * What is in a directory: path, size and content hash of every file. Hashes are cached by size and modification time, so that the
 * preview of 63 GB of models takes seconds and not minutes.
 */
import { createHash, randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { Subtrees } from "./backend.ts";

export interface ManifestFile {
  /** Below the root, separated by `/`. */
  readonly path: string;
  readonly size: number;
  readonly sha256: string;
}
/** Sorted by path. */
export type Manifest = readonly ManifestFile[];

/** Read at a time when a file is hashed. */
const CHUNK_BYTES = 1 << 20;

type HashCache = Record<string, { size: number; mtimeMs: number; sha256: string }>;

/**
 * Manifest of `root`; empty when there is no such directory. Hidden files (`.DS_Store`, `.cache`) are not content.
 * @throws when the tree holds something that is neither a file nor a directory, by its path.
 */
export async function manifestOf(root: string, cacheDirectory: string): Promise<Manifest> {
  // One cache per tree: trees are hashed side by side, and must not overwrite each other's.
  const cacheFile = join(cacheDirectory, `${createHash("sha256").update(root).digest("hex").slice(0, 16)}.json`);
  const paths = (await filesBelow(root, "")).sort();
  const known = await readCache(cacheFile);
  const cache: HashCache = {};
  const manifest: ManifestFile[] = [];
  let hashed = false;
  for (const path of paths) {
    const file = join(root, path);
    const { size, mtimeMs } = await stat(file);
    const before = known[path];
    const fresh = before !== undefined && before.size === size && before.mtimeMs === mtimeMs;
    const sha256 = fresh ? before.sha256 : await hashFile(file, size);
    hashed ||= !fresh;
    cache[path] = { size, mtimeMs, sha256 };
    manifest.push({ path, size, sha256 });
  }
  if (hashed) await writeCache(cacheFile, cache);
  return manifest;
}

/** Hash of a whole manifest: same files with the same content, wherever they lie. */
export function hashManifest(manifest: Manifest): string {
  const hash = createHash("sha256");
  for (const { path, size, sha256 } of manifest) hash.update(`${path}\0${size}\0${sha256}\n`);
  return hash.digest("hex");
}

/** Hash of every top-level directory by itself: a run's identity covers the models it reads and no others. */
export function hashSubtrees(manifest: Manifest): Subtrees {
  return Object.fromEntries(subtreesOf(manifest).map(([top, files]) => [top, hashManifest(files)]));
}

/** Bytes of every top-level directory. */
export function subtreeBytes(manifest: Manifest): Readonly<Record<string, number>> {
  return Object.fromEntries(subtreesOf(manifest).map(([top, files]) => [top, totalBytes(files)]));
}

/** Top-level directories with their files, whose paths are below them. */
function subtreesOf(manifest: Manifest): [string, ManifestFile[]][] {
  const groups = new Map<string, ManifestFile[]>();
  for (const file of manifest) {
    const slash = file.path.indexOf("/");
    if (slash < 0) continue;
    const top = file.path.slice(0, slash);
    const files = groups.get(top) ?? [];
    files.push({ ...file, path: file.path.slice(slash + 1) });
    groups.set(top, files);
  }
  return [...groups];
}

export function totalBytes(manifest: Manifest): number {
  return manifest.reduce((sum, file) => sum + file.size, 0);
}

async function filesBelow(root: string, prefix: string): Promise<string[]> {
  const entries = await readdir(join(root, prefix), { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT" && prefix === "") return [];
    throw error;
  });
  const found: string[] = [];
  for (const entry of entries) {
    if (entry.name.startsWith(".")) continue;
    const path = prefix === "" ? entry.name : `${prefix}/${entry.name}`;
    const target = entry.isSymbolicLink() ? await stat(join(root, path)) : entry;
    if (target.isDirectory()) found.push(...(await filesBelow(root, path)));
    else if (target.isFile()) found.push(path);
    else throw new Error(`${join(root, path)} is neither a file nor a directory: move it out of the tree`);
  }
  return found;
}

/** A small file is read at once: a stream, and its buffer, would cost several times what hashing it does. */
async function hashFile(file: string, size: number): Promise<string> {
  const hash = createHash("sha256");
  if (size <= CHUNK_BYTES) hash.update(await readFile(file));
  else await pipeline(createReadStream(file, { highWaterMark: CHUNK_BYTES }), hash);
  return hash.digest("hex");
}

async function readCache(file: string): Promise<HashCache> {
  try {
    return JSON.parse(await readFile(file, "utf8"));
  } catch {
    return {}; // missing or torn: hashing again is only slower
  }
}

async function writeCache(file: string, cache: HashCache): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  const draft = `${file}.${randomUUID()}`;
  await writeFile(draft, JSON.stringify(cache));
  await rename(draft, file);
}
