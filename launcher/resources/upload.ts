/** What must be in a volume: the content of a local tree, brought up to date by a manifest of hashes. */

import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { Backend, Subtrees, VolumeRef } from "../backend.ts";
import type { Placed } from "../by-place.ts";
import { hashManifest, hashSubtrees, type Manifest, manifestOf, subtreeBytes, totalBytes } from "../manifest.ts";
import { transferLine } from "../progress.ts";
import type { CallContext, CheckFailure, DiffAnswer, ResourceHandler } from "../resource-handler.ts";
import { hasUnknown, UNKNOWN } from "../values.ts";
import { refOf } from "./volume.ts";

export interface UploadInputs extends Placed {
  readonly storage: string;
  readonly volumeName: string;
  /** Directory below the project. */
  readonly source: string;
  /** A source that is not there, and never was, is an empty one. @default false */
  readonly optional?: boolean;
  /** Filled by `check`: hash of the whole tree. */
  readonly contentHash?: string;
  /** Filled by `check`: hash of every top-level directory. */
  readonly subtrees?: Subtrees | typeof UNKNOWN;
  /** Filled by `check`, for what it costs to fetch them: bytes of every top-level directory. Recorded; no reason to upload again. */
  readonly subtreeBytes?: Readonly<Record<string, number>> | typeof UNKNOWN;
}

export interface UploadOutputs extends UploadInputs {
  readonly files: number;
  readonly bytes: number;
}

/** How often the status line moves. */
const REPORT_MS = 500;
/** Of a tree without files. */
const EMPTY = hashManifest([]);

export class UploadHandler implements ResourceHandler<UploadInputs, UploadOutputs> {
  private readonly backend: Backend;
  private readonly project: string;
  private readonly hashCache: string;
  private readonly previewOnly: boolean;

  /** @param previewOnly nothing is made or trained on this machine, so that a missing source is unknown and not an error. */
  constructor(backend: Backend, project: string, hashCache: string, previewOnly = false) {
    this.previewOnly = previewOnly;
    this.backend = backend;
    this.project = project;
    this.hashCache = hashCache;
  }

  /**
   * A source that is not here (a CI runner has no 63 GB of models, and perhaps an empty directory in their place) keeps what the
   * state says; a first upload needs it.
   */
  async check(
    inputs: UploadInputs,
    previous: UploadInputs | undefined,
  ): Promise<{ inputs: UploadInputs; failures: CheckFailure[] }> {
    const known = previous?.contentHash !== undefined && previous.source === inputs.source ? previous : undefined;
    const manifest = await this.manifest(inputs);
    const filled = (content: Pick<UploadInputs, "contentHash" | "subtrees" | "subtreeBytes">) => ({
      inputs: { ...inputs, ...content },
      failures: [],
    });
    if (manifest.length === 0 && known !== undefined) {
      const { contentHash, subtrees, subtreeBytes } = known;
      return filled({ contentHash, subtrees, ...(subtreeBytes === undefined ? {} : { subtreeBytes }) });
    }
    if (!existsSync(this.path(inputs))) {
      if (inputs.optional) return filled({ contentHash: EMPTY, subtrees: {}, subtreeBytes: {} });
      if (this.previewOnly) return filled({ contentHash: UNKNOWN, subtrees: UNKNOWN, subtreeBytes: UNKNOWN });
      return {
        inputs,
        failures: [{ property: "", reason: missingSource(inputs) }],
      };
    }
    return filled({
      contentHash: hashManifest(manifest),
      subtrees: hashSubtrees(manifest),
      subtreeBytes: subtreeBytes(manifest),
    });
  }

  async diff(_id: string, before: UploadOutputs, inputs: UploadInputs): Promise<DiffAnswer> {
    const replaces = (["storage", "volumeName"] as const).filter((key) => before[key] !== inputs[key]);
    // A state of before they were counted: the update moves nothing that is there.
    const known = inputs.subtreeBytes !== undefined && !hasUnknown(inputs.subtreeBytes);
    const uncounted = before.subtreeBytes === undefined && known;
    const changed = before.contentHash !== inputs.contentHash || before.source !== inputs.source;
    return { changes: replaces.length > 0 || changed || uncounted, replaces };
  }

  async create(inputs: UploadInputs, { urn, log }: CallContext): Promise<{ id: string; outputs: UploadOutputs }> {
    const id = `${inputs.storage}/${inputs.volumeName}`;
    if (!inputs.optional && !existsSync(this.path(inputs))) throw new Error(missingSource(inputs));
    const manifest = await this.manifest(inputs);
    if (isElsewhere(manifest, inputs))
      throw new Error(
        `${inputs.source} holds no files, and the volume needs those it was filled with: put them there, or name another directory in wmtp:volumes.sources`,
      );
    if (hashManifest(manifest) !== inputs.contentHash)
      throw new Error(`${inputs.source} changed between preview and upload: run pulumi up again`);
    const total = totalBytes(manifest);
    const started = Date.now();
    let moved = 0;
    let reported = started;
    await this.backend.upload(refOf(inputs), this.path(inputs), manifest, (bytes) => {
      moved += bytes;
      if (Date.now() - reported < REPORT_MS) return;
      reported = Date.now();
      log.status(urn, transferLine(moved, total, (reported - started) / 1000));
    });
    return { id, outputs: { ...inputs, files: manifest.length, bytes: total } };
  }

  async update(_id: string, before: UploadOutputs, inputs: UploadInputs, context: CallContext): Promise<UploadOutputs> {
    if (!existsSync(this.path(inputs)) || isElsewhere(await this.manifest(inputs), inputs))
      return { ...before, ...inputs };
    return (await this.create(inputs, context)).outputs;
  }

  /** Gone when the volume is, or when any file is missing or has another size: the next `up` uploads again. */
  async read(_id: string, before: UploadOutputs): Promise<UploadOutputs | undefined> {
    if ((await this.backend.readVolume(refOf(before))) === undefined) return undefined;
    if (!existsSync(this.path(before))) return before;
    const manifest = await this.manifest(before);
    if (hashManifest(manifest) !== before.contentHash) return before; // the source moved on; `check` will say so
    return (await this.backend.missingFiles(refOf(before) satisfies VolumeRef, manifest)).length === 0
      ? before
      : undefined;
  }

  /** The files stay: they go with the volume, or by hand. */
  async delete(): Promise<void> {}

  private path({ source }: Pick<UploadInputs, "source">): string {
    return resolve(this.project, source);
  }

  private manifest(inputs: Pick<UploadInputs, "source">): Promise<Manifest> {
    return manifestOf(this.path(inputs), this.hashCache);
  }
}

/** The content that is meant has files, and there are none here. */
function isElsewhere(manifest: Manifest, { contentHash }: UploadInputs): boolean {
  return manifest.length === 0 && contentHash !== EMPTY;
}

function missingSource({ source }: UploadInputs): string {
  return `${source} does not exist: put the files there, or name another directory in wmtp:volumes.sources`;
}
