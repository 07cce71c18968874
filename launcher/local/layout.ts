/** Where the local target keeps things: one folder a stack, which survives `make down` and goes with `make clean`. */
import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import type { VolumeRef } from "../backend.ts";

export const PROJECT = resolve(import.meta.dirname, "..", "..");

export class Layout {
  /** Root of all local data; `WMTP_HOME` moves it, as tests do. */
  readonly home: string;

  constructor(home = process.env.WMTP_HOME ?? join(PROJECT, ".wmtp")) {
    this.home = home;
  }

  stack(stack: string): string {
    return join(this.home, "local", stack);
  }

  runDirectory(stack: string, run: string): string {
    return join(this.stack(stack), "runs", run);
  }

  /** Volumes belong to the storage and not to a stack, as on the GPU cloud. */
  volume({ storage, name }: VolumeRef): string {
    return join(this.home, "local", "volumes", storage, name);
  }

  volumeRecord({ storage, name }: VolumeRef): string {
    return join(this.home, "local", "volumes", storage, `${name}.json`);
  }

  tracker(stack: string): string {
    return join(this.stack(stack), "tracker");
  }

  scores(stack: string): string {
    return join(this.stack(stack), "scores");
  }

  get hashCache(): string {
    return join(this.home, "hashes");
  }

  /** `local://checkpoints/<stack>/<pipeline>/<fingerprint>` -> a directory. Identities hold no absolute paths, so URIs have none. */
  checkpoint(uri: string): string {
    if (!uri.startsWith(CHECKPOINT_SCHEME)) return resolve(PROJECT, uri);
    const [stack, ...rest] = uri.slice(CHECKPOINT_SCHEME.length).split("/");
    return join(this.stack(stack as string), "checkpoints", ...rest);
  }
}

const CHECKPOINT_SCHEME = "local://checkpoints/";

export function checkpointUri(stack: string, pipeline: string, fingerprint: string): string {
  return `${CHECKPOINT_SCHEME}${stack}/${pipeline}/${fingerprint}`;
}

/** Undefined when the file is missing or was torn by a crash; what cannot be read is as good as not written. */
export function readJson<T>(file: string): T | undefined {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return undefined;
  }
}

/** Whole or not at all, whatever kills us half way. */
export function writeJson(file: string, value: unknown): void {
  mkdirSync(dirname(file), { recursive: true });
  const draft = `${file}.${randomUUID()}`;
  writeFileSync(draft, `${JSON.stringify(value, null, 2)}\n`);
  renameSync(draft, file);
}
