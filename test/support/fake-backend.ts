/** A backend in memory: no processes, no clock. A run ends when it has been looked at often enough, in the way its test says. */
import type {
  Backend,
  Completion,
  Findings,
  RunSpec,
  RunState,
  VolumeRef,
  VolumeState,
} from "../../launcher/backend.ts";
import type { Manifest } from "../../launcher/manifest.ts";

/** How a submission ends; "hangs" never does. */
export type End = "completes" | "hangs" | "completes without a marker" | { reason: string; retryable: boolean };

export const PREEMPTED: End = { reason: "preempted", retryable: true };
export const BROKEN: End = { reason: "exit code 1", retryable: false };

/** Looks at a running run before it ends. */
const LOOKS = 2;

export class FakeBackend implements Backend {
  /** Ends of each run's submissions, in order, by run name or pipeline; the last one holds for all after it. */
  readonly ends: Record<string, End[]> = {};
  readonly submissions: RunSpec[] = [];
  readonly terminated: { name: string; reason: string; byHand: boolean }[] = [];
  readonly runs = new Map<string, RunState>();
  readonly completions = new Map<string, Completion>();
  readonly checkpoints = new Set<string>();
  readonly logs = new Map<string, string[]>();
  /** Most runs that were ever active together. */
  peak = 0;
  unusable: Error | undefined;
  findings: Findings = { problems: [], warnings: [] };
  description: string | undefined;
  /** Seconds that each attempt runs. */
  secondsPerAttempt = 10;
  private readonly looks = new Map<string, number>();
  private readonly specs = new Map<string, RunSpec>();

  async assertUsable(): Promise<void> {
    if (this.unusable !== undefined) throw this.unusable;
  }

  async examine(): Promise<Findings> {
    return this.findings;
  }

  describe(): string | undefined {
    return this.description;
  }

  pollMs(): number {
    return 500;
  }

  checkpointUri(stack: string, pipeline: string, fingerprint: string): string {
    return `fake://${stack}/${pipeline}/${fingerprint}`;
  }

  async findRun(_stack: string, name: string): Promise<RunState | undefined> {
    const state = this.runs.get(name);
    if (state?.status !== "running" || !this.specs.has(name)) return state;
    const left = (this.looks.get(name) ?? LOOKS) - 1;
    this.looks.set(name, left);
    if (left > 0) return state;
    this.finish(name, this.endOf(state));
    return this.runs.get(name);
  }

  async activeRuns(): Promise<RunState[]> {
    return [...this.runs.values()].filter(({ status }) => status === "running");
  }

  async submit(spec: RunSpec): Promise<RunState> {
    this.submissions.push(spec);
    this.specs.set(spec.name, spec);
    this.looks.set(spec.name, LOOKS);
    const before = this.runs.get(spec.name);
    const state = { ...running(spec, (before?.attempts ?? 0) + 1), usedSeconds: before?.usedSeconds ?? 0 };
    this.runs.set(spec.name, state);
    this.peak = Math.max(this.peak, (await this.activeRuns()).length);
    return state;
  }

  async terminate(_stack: string, name: string, reason: string, byHand = false): Promise<void> {
    const state = this.runs.get(name);
    if (state?.status !== "running") return;
    this.terminated.push({ name, reason, byHand });
    this.runs.set(name, { ...state, status: "terminated", cancelled: byHand, reason });
  }

  async logTail(_stack: string, name: string, lines: number): Promise<string[]> {
    return (this.logs.get(name) ?? []).slice(-lines);
  }

  async clearCancellation(_stack: string, name: string): Promise<void> {
    const state = this.runs.get(name);
    if (state !== undefined) this.runs.set(name, { ...state, cancelled: false });
  }

  async readCompletion(uri: string): Promise<Completion | undefined> {
    return this.completions.get(uri);
  }

  async hasCheckpoint(uri: string): Promise<boolean> {
    return this.checkpoints.has(uri);
  }

  /** What a trainer leaves that completed. */
  complete(uri: string, fingerprint: string): void {
    this.completions.set(uri, {
      fingerprint,
      steps: 10,
      first_loss: 10,
      final_loss: 1,
      started_at: "2026-01-01T00:00:00Z",
      finished_at: "2026-01-01T00:01:00Z",
      duration_seconds: 60,
      effective_batch: 8,
      mlflow_run_id: "abc",
      mlflow_experiment_id: "7",
      checkpoint: "checkpoint_best",
      metrics: { explained_variance: 0.5 },
    });
    this.checkpoints.add(`${uri}/checkpoint_best`);
  }

  finish(name: string, end: End): void {
    const running = this.runs.get(name) as RunState;
    const spec = this.specs.get(name);
    if (end === "hangs") return;
    const state = { ...running, usedSeconds: running.usedSeconds + this.secondsPerAttempt };
    if (typeof end === "object") this.runs.set(name, { ...state, status: "failed", ...end });
    else {
      this.runs.set(name, { ...state, status: "completed" });
      if (end === "completes" && spec !== undefined) this.complete(spec.checkpointUri, spec.fingerprint);
    }
  }

  async examineVolume(_volume: VolumeRef): Promise<Findings> {
    return this.findings;
  }
  async readVolume(): Promise<VolumeState | undefined> {
    throw new Error("this fake has no volumes");
  }
  async ensureVolume(_volume: VolumeState): Promise<void> {
    throw new Error("this fake has no volumes");
  }
  async deleteVolume(_volume: VolumeRef): Promise<boolean> {
    throw new Error("this fake has no volumes");
  }
  async missingFiles(_volume: VolumeRef, _manifest: Manifest): Promise<string[]> {
    throw new Error("this fake has no volumes");
  }
  async upload(): Promise<void> {
    throw new Error("this fake has no volumes");
  }

  private endOf({ name, pipeline, attempts }: RunState): End {
    const ends = this.ends[name] ?? this.ends[pipeline] ?? ["completes"];
    return ends[Math.min(attempts, ends.length) - 1] as End;
  }
}

/** A run as it is while it runs. */
export function running(run: Pick<RunSpec, "name" | "pipeline">, attempts = 1): RunState {
  return {
    name: run.name,
    pipeline: run.pipeline,
    status: "running",
    attempts,
    usedSeconds: 0,
    runId: `id-${attempts}`,
    runUrl: `fake://runs/${run.name}`,
    retryable: false,
    cancelled: false,
  };
}
