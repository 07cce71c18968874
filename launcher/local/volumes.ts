/** Volumes of the local target: directories, and a record of their tags and owner beside each. */
import { randomUUID } from "node:crypto";
import { constants, existsSync } from "node:fs";
import { copyFile, mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { VolumeRef, VolumeState } from "../backend.ts";
import { type Manifest, manifestOf } from "../manifest.ts";
import { type Layout, readJson, writeJson } from "./layout.ts";

/** Files to be moved at a time; more do not make one disk faster. */
const PARALLEL_COPIES = 4;
/** Hidden, so that a half-written file is no content. */
const DRAFT = ".draft-";

export class LocalVolumes {
  private readonly layout: Layout;

  constructor(layout: Layout) {
    this.layout = layout;
  }

  async read(volume: VolumeRef): Promise<VolumeState | undefined> {
    if (!existsSync(this.layout.volume(volume))) return undefined;
    const record = readJson<Pick<VolumeState, "tags" | "owner">>(this.layout.volumeRecord(volume));
    const owned = record?.owner === undefined ? {} : { owner: record.owner };
    return { storage: volume.storage, name: volume.name, tags: record?.tags ?? [], ...owned };
  }

  async ensure(volume: VolumeState): Promise<void> {
    const owner = volume.owner ?? (await this.read(volume))?.owner;
    await mkdir(this.layout.volume(volume), { recursive: true });
    writeJson(this.layout.volumeRecord(volume), { tags: volume.tags, owner });
  }

  async delete(volume: VolumeRef, force: boolean): Promise<boolean> {
    const directory = this.layout.volume(volume);
    if (!existsSync(directory)) return true;
    if (!force && (await readdir(directory)).length > 0) return false;
    await rm(directory, { recursive: true });
    await rm(this.layout.volumeRecord(volume), { force: true });
    return true;
  }

  async missing(volume: VolumeRef, manifest: Manifest): Promise<string[]> {
    const root = this.layout.volume(volume);
    const differing: string[] = [];
    for (const { path, size } of manifest) {
      const found = await stat(join(root, path)).catch(() => undefined);
      if (!found?.isFile() || found.size !== size) differing.push(path);
    }
    return differing;
  }

  /**
   * Copies what is missing or has other content, each file under a draft name first, then compares the whole volume with the
   * manifest: files nobody listed would be trained on without being part of any run's identity.
   */
  async upload(
    volume: VolumeRef,
    source: string,
    manifest: Manifest,
    progress: (bytes: number) => void,
  ): Promise<void> {
    const root = this.layout.volume(volume);
    await removeDrafts(root);
    const before = new Map((await manifestOf(root, this.layout.hashCache)).map((file) => [file.path, file]));
    const wanted = new Map(manifest.map((file) => [file.path, file]));
    for (const path of before.keys()) if (!wanted.has(path)) await rm(join(root, path));
    const queue = manifest.filter((file) => before.get(file.path)?.sha256 !== file.sha256);
    const worker = async (): Promise<void> => {
      for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
        const target = join(root, file.path);
        await mkdir(dirname(target), { recursive: true });
        const draft = join(dirname(target), `${DRAFT}${randomUUID()}`);
        await copyFile(join(source, file.path), draft, constants.COPYFILE_FICLONE);
        // A directory that lost all its files makes room for the file that has its name now.
        if ((await stat(target).catch(() => undefined))?.isDirectory()) await rm(target, { recursive: true });
        await rename(draft, target);
        progress(file.size);
      }
    };
    await Promise.all(Array.from({ length: PARALLEL_COPIES }, worker));
    await this.verify(volume, manifest);
  }

  private async verify(volume: VolumeRef, manifest: Manifest): Promise<void> {
    const after = new Map(
      (await manifestOf(this.layout.volume(volume), this.layout.hashCache)).map((file) => [file.path, file.sha256]),
    );
    const wrong = manifest.filter((file) => after.get(file.path) !== file.sha256);
    if (wrong.length > 0 || after.size !== manifest.length) {
      const names =
        wrong
          .slice(0, 5)
          .map((file) => file.path)
          .join(", ") || "files that are not in the source";
      throw new Error(
        `volume ${volume.storage}/${volume.name} differs from its source after the upload (${names}): was the source changed meanwhile? run pulumi up again`,
      );
    }
  }
}

/** What an upload that was killed left half written. */
async function removeDrafts(root: string): Promise<void> {
  for (const path of await readdir(root, { recursive: true })) {
    if (basename(path).startsWith(DRAFT)) await rm(join(root, path));
  }
}
