/** The local target: this machine, real processes, the same contract as the GPU cloud's backend. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Backend, Completion, Findings, RunSpec, RunState, VolumeRef, VolumeState } from "../backend.ts";
import type { Manifest } from "../manifest.ts";
import { checkpointUri, Layout, PROJECT, readJson } from "./layout.ts";
import { LocalRuns } from "./runs.ts";
import { LocalVolumes } from "./volumes.ts";

const POLL_MS = 500;

export class LocalBackend implements Backend {
  private readonly layout: Layout;
  private readonly volumes: LocalVolumes;
  private readonly runs: LocalRuns;
  private readonly python: string;

  constructor(
    layout = new Layout(),
    python = process.env.WMTP_PYTHON ?? join(PROJECT, ".tools", "trainer", "bin", "python"),
  ) {
    this.layout = layout;
    this.python = python;
    this.volumes = new LocalVolumes(layout);
    this.runs = new LocalRuns(layout, python);
  }

  async assertUsable(): Promise<void> {
    if (process.platform !== "linux") {
      throw new Error(
        `target local trains on Linux only (runs are supervised through /proc), this is ${process.platform}: preview here, train on Linux or on the GPU cloud`,
      );
    }
    if (!existsSync(this.python)) throw new Error("the trainer's Python environment is missing: run make setup");
  }

  /** What a run takes is on this machine: set-up and config have seen to it. */
  async examine(): Promise<Findings> {
    return { problems: [], warnings: [] };
  }

  describe(): undefined {
    return undefined;
  }

  pollMs(): number {
    return POLL_MS;
  }

  checkpointUri(stack: string, pipeline: string, fingerprint: string): string {
    return checkpointUri(stack, pipeline, fingerprint);
  }

  /** Every storage is a directory, made when it is needed. */
  async examineVolume(): Promise<Findings> {
    return { problems: [], warnings: [] };
  }

  readVolume(volume: VolumeRef): Promise<VolumeState | undefined> {
    return this.volumes.read(volume);
  }

  ensureVolume(volume: VolumeState): Promise<void> {
    return this.volumes.ensure(volume);
  }

  deleteVolume(volume: VolumeRef, force = false): Promise<boolean> {
    return this.volumes.delete(volume, force);
  }

  missingFiles(volume: VolumeRef, manifest: Manifest): Promise<string[]> {
    return this.volumes.missing(volume, manifest);
  }

  upload(volume: VolumeRef, source: string, manifest: Manifest, progress: (bytes: number) => void): Promise<void> {
    return this.volumes.upload(volume, source, manifest, progress);
  }

  findRun(stack: string, name: string): Promise<RunState | undefined> {
    return this.runs.find(stack, name);
  }

  activeRuns(stack: string): Promise<RunState[]> {
    return this.runs.active(stack);
  }

  submit(spec: RunSpec): Promise<RunState> {
    return this.runs.submit(spec);
  }

  terminate(stack: string, name: string, reason: string, byHand = false): Promise<void> {
    return this.runs.terminate(stack, name, reason, byHand);
  }

  logTail(stack: string, name: string, lines: number): Promise<string[]> {
    return this.runs.logTail(stack, name, lines);
  }

  async clearCancellation(stack: string, name: string): Promise<void> {
    this.runs.clearCancellation(stack, name);
  }

  async readCompletion(uri: string): Promise<Completion | undefined> {
    return readJson<Completion>(join(this.layout.checkpoint(uri), "COMPLETED.json"));
  }

  async hasCheckpoint(uri: string): Promise<boolean> {
    return existsSync(this.layout.checkpoint(uri));
  }
}
