/** A run's identity is its content: what is trained, on what, by what maths. No clocks, no random, no places. */
import { createHash } from "node:crypto";
import stringify from "safe-stable-stringify";
import type { Subtrees } from "./backend.ts";

export interface Identity {
  readonly pipeline: string;
  /** Resolved config of the trainer, without places. */
  readonly trainerConfig: Readonly<Record<string, unknown>>;
  /** Hashes of exactly the models and data sets the run reads. */
  readonly models: Subtrees;
  readonly datasets: Subtrees;
  readonly gpus: number;
  /** Fingerprints of the runs whose checkpoints it reads, by pipeline. */
  readonly needs: Readonly<Record<string, string>>;
  /** A critic from elsewhere, by its URI. */
  readonly criticCheckpoint?: string;
  /** The content of one that a volume brings. */
  readonly checkpoints?: Subtrees;
  /** The trainer's, bumped when its numerics change. */
  readonly resultsVersion: string;
  /** Any new token trains again. */
  readonly rerun?: string;
}

/** Characters of the fingerprint in names that people read. */
const SHORT = 8;

/** sha256 over the canonical JSON of the identity, in hex. */
export function fingerprintOf(identity: Identity): string {
  return createHash("sha256")
    .update(stringify(identity) as string)
    .digest("hex");
}

/** `wmtp-<stack>-<pipeline>-<first 8 of the fingerprint>`: deterministic, so that a lost answer to a submission is found again. */
export function runName(stack: string, pipeline: string, fingerprint: string): string {
  return `wmtp-${stack}-${pipeline}-${fingerprint.slice(0, SHORT)}`;
}

/** What a name says; undefined when it is not of this form. The stack's name may hold dashes itself. */
export function parseRunName(name: string): { stack: string; pipeline: string; fingerprint: string } | undefined {
  const [, stack, pipeline, fingerprint] = /^wmtp-(.+)-([a-z0-9]+)-([0-9a-f]{8})$/.exec(name) ?? [];
  return stack === undefined ? undefined : { stack, pipeline: pipeline as string, fingerprint: fingerprint as string };
}
