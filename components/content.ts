import * as pulumi from "@pulumi/pulumi";
import type { VolumeRef } from "../launcher/backend.ts";

/** Directories that runs read, by name: a volume that this stack fills, or one that its base has filled. */
export interface Content {
  /** What a run is told of it. */
  readonly ref: VolumeRef;
  /** What must be done before a run reads from it. */
  readonly ready: readonly pulumi.Resource[];
  /** Bytes of each directory; undefined: nobody has counted them. */
  readonly bytes: pulumi.Input<Readonly<Record<string, number>> | undefined>;
  /** Content hashes of the named directories. */
  hashesOf(directories: readonly string[]): pulumi.Input<Record<string, string>>;
}

export interface BaseContentArgs {
  /** Name of the base. @example "prod" */
  readonly base: string;
  /** What it holds. */
  readonly kind: "models" | "datasets" | "checkpoints";
  readonly ref: VolumeRef;
  /** Content hash of every directory that the base has. */
  readonly hashes: Readonly<Record<string, string>>;
  /** Of every directory, where the base says it. */
  readonly bytes?: Readonly<Record<string, number>> | undefined;
}

/** What the base has filled; nothing is moved for it. */
export class BaseContent implements Content {
  readonly ref: VolumeRef;
  readonly bytes: Readonly<Record<string, number>> | undefined;
  readonly ready = [];
  private readonly args: BaseContentArgs;

  constructor(args: BaseContentArgs) {
    this.args = args;
    this.ref = args.ref;
    this.bytes = args.bytes;
  }

  /** @throws pulumi.RunError for directories that the base does not have. */
  hashesOf(directories: readonly string[]): Record<string, string> {
    const { base, kind, hashes } = this.args;
    const missing = directories.filter((directory) => !Object.hasOwn(hashes, directory));
    if (missing.length === 0) {
      return Object.fromEntries(directories.map((directory) => [directory, hashes[directory] as string]));
    }
    const there = Object.keys(hashes).sort().join(", ") || "none";
    throw new pulumi.RunError(
      `the base stack ${base} has no ${kind} ${missing.join(", ")}, only ${there}: put the files into its ` +
        `wmtp:volumes.sources.${kind} and run pulumi up --stack ${base}, or name another in the stack file`,
    );
  }
}
