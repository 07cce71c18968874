/**
 * The GPU cloud as far as a preview goes: names and places are worked out, nothing is asked of the cloud. Runs there are not part of
 * this version; the program refuses to deploy them before a resource exists, and what gets here all the same is refused again.
 */
import { PREFIXES } from "../../components/bucket-layout.ts";
import type { Backend } from "../backend.ts";

export class VesslBackend implements Backend {
  private readonly bucket: string;

  /** @param bucket where the checkpoints go */
  constructor(bucket: string) {
    this.bucket = bucket;
  }

  checkpointUri(stack: string, pipeline: string, fingerprint: string): string {
    return `s3://${this.bucket}/${PREFIXES.checkpoints}${stack}/${pipeline}/${fingerprint}`;
  }

  /** Nothing has been trained by a version that cannot train there. */
  async readCompletion(): Promise<undefined> {
    return undefined;
  }

  /** Not looked for: a run that reads it would miss it, and no run is started. */
  async hasCheckpoint(): Promise<boolean> {
    return true;
  }

  readonly assertUsable = refuse;
  readonly readVolume = refuse;
  readonly ensureVolume = refuse;
  readonly deleteVolume = refuse;
  readonly missingFiles = refuse;
  readonly upload = refuse;
  readonly findRun = refuse;
  readonly activeRuns = refuse;
  readonly submit = refuse;
  readonly terminate = refuse;
  readonly logTail = refuse;
  readonly clearCancellation = refuse;
}

async function refuse(): Promise<never> {
  throw new Error("volumes and runs on the GPU cloud are not part of this version: use launcher.target: local");
}
