/**
 * What a place that trains can do. `vessl` and `local` are two implementations and pass the same contract tests; the resources in
 * `resources/` hold the semantics (find-or-submit, adopt, retry, detach) once for both.
 */
import type { Manifest } from "./manifest.ts";

export interface VolumeRef {
  readonly storage: string;
  readonly name: string;
}

/** A volume as one stack sees it. */
export interface OwnedVolume extends VolumeRef {
  /** Name of the stack that fills and deletes it; undefined: nobody says. */
  readonly owner?: string;
}

export interface VolumeState extends OwnedVolume {
  readonly tags: readonly string[];
}

/** One model or data directory and the hash of its content: `{ "tiny-mtp": "sha256:..." }`. */
export type Subtrees = Readonly<Record<string, string>>;

/** What a run is submitted with. Plain data, no secrets: those travel by reference. */
export interface RunSpec {
  readonly name: string;
  readonly stack: string;
  readonly pipeline: string;
  readonly fingerprint: string;
  readonly gpus: number;
  readonly trainerConfig: Readonly<Record<string, unknown>>;
  /** Where the checkpoints and the completion marker go. */
  readonly checkpointUri: string;
  /** Directory of the critic checkpoint this run reads, if any. */
  readonly criticCheckpointUri?: string;
  readonly volumes: { readonly models: VolumeRef; readonly datasets: VolumeRef };
  /** Directories of the models it reads, and the hashes of their content. */
  readonly models: Subtrees;
  readonly maxDurationSeconds: number;
  readonly trackerUrl: string;
  readonly experiment: string;
  readonly tags: readonly string[];
  /** `repository@sha256:...`; the local target has none. */
  readonly image?: string;
  /** On the GPU cloud alone. */
  readonly cloud?: CloudRun;
}

/** What a run on the GPU cloud takes beside what it trains: where it runs, what is put into its container, what it may know. */
export interface CloudRun {
  readonly cluster: string;
  readonly preset: string;
  /** The organization's credential that pulls the image; a public image needs none. */
  readonly pullCredential?: string;
  /** `s3`: the container fetches the models from the bucket; `volume`: the cloud copies the volume in before the start. */
  readonly delivery: "s3" | "volume";
  /** Live-mounted, kept from run to run. */
  readonly cache?: { readonly path: string; readonly mount: string };
  /** The volume that a critic named by its path lies in. */
  readonly checkpointsVolume?: VolumeRef;
  /** Plain variables; empty ones are left out. */
  readonly env: Readonly<Record<string, string>>;
  /** Variables that are secret: the organization's secret that holds each, by name. */
  readonly secrets: Readonly<Record<string, string>>;
}

/** `lost`: it was running and its process or machine is gone without a word. */
export type RunStatus = "running" | "completed" | "failed" | "terminated" | "lost";

export interface RunState {
  readonly name: string;
  readonly pipeline: string;
  readonly status: RunStatus;
  /** Submissions so far. */
  readonly attempts: number;
  /** Seconds that all attempts have run so far, without what they waited in a queue; what the GPUs cost goes by these. */
  readonly usedSeconds: number;
  /** The cloud's id of the latest attempt, or the process id. */
  readonly runId: string;
  readonly runUrl: string;
  /** Infrastructure's fault (preempted, killed, lost), so that resuming by itself is right. */
  readonly retryable: boolean;
  /** Stopped by a person; stays so until `wmtp retry`. */
  readonly cancelled: boolean;
  /** Cause in one sentence, for runs that did not complete. */
  readonly reason?: string;
  /** Of an active run: why it does not train yet, for example `queued for 12m 3s`. */
  readonly waiting?: string;
  /** Of an active run: seconds that its latest attempt has run; undefined while it waits. */
  readonly runningSeconds?: number;
}

/** What is wrong with a run or a volume before it is made. */
export interface Findings {
  /** Refused. */
  readonly problems: readonly string[];
  /** What could not be looked at, or is only likely wrong. */
  readonly warnings: readonly string[];
}

/** The marker the trainer writes last, beside the checkpoint (`COMPLETED.json`): the truth about completion on every target. */
export interface Completion {
  readonly fingerprint: string;
  readonly steps: number;
  readonly first_loss: number;
  readonly final_loss: number;
  readonly started_at: string;
  readonly finished_at: string;
  readonly duration_seconds: number;
  readonly effective_batch: number;
  readonly mlflow_run_id: string | null;
  readonly mlflow_experiment_id: string | null;
  readonly checkpoint: string;
  readonly metrics: Readonly<Record<string, number>>;
}

export interface Backend {
  /** Fails with cause and remedy where this machine or account cannot run anything at all. */
  assertUsable(): Promise<void>;

  /** Whether this place can run `spec`; asks nothing that takes long, and works in a preview without any login. */
  examine(spec: RunSpec): Promise<Findings>;
  /** What would be submitted, for people to read in a preview; undefined where that is not a document. */
  describe(spec: RunSpec): string | undefined;
  /** Milliseconds until a run is looked at again, after so many looks. */
  pollMs(looks: number): number;

  /** Where a run's checkpoints go; known before it runs, and free of paths of this machine. */
  checkpointUri(stack: string, pipeline: string, fingerprint: string): string;

  /** Whether this place can have the volume; never fails, and asks nothing without a login. */
  examineVolume(volume: VolumeRef): Promise<Findings>;
  readVolume(volume: VolumeRef): Promise<VolumeState | undefined>;
  /** Creates the volume or adopts the one that is there; sets its tags and, where one is given, its owner. */
  ensureVolume(volume: VolumeState): Promise<void>;
  /**
   * Removes the volume when it is empty, or `force`d; returns false, and keeps it, when it holds something. On the GPU cloud also
   * when it is another stack's, or its content cannot be listed.
   */
  deleteVolume(volume: OwnedVolume, force?: boolean): Promise<boolean>;
  /** Paths below the volume whose size or presence differs from `manifest`; empty when all is there. */
  missingFiles(volume: VolumeRef, manifest: Manifest): Promise<string[]>;
  /** Brings `volume` to `manifest`, reading the files below `source`; calls `progress` with the bytes moved since the last call. */
  upload(volume: VolumeRef, source: string, manifest: Manifest, progress: (bytes: number) => void): Promise<void>;

  findRun(stack: string, name: string): Promise<RunState | undefined>;
  activeRuns(stack: string): Promise<RunState[]>;
  /** Starts the run, or starts it again (its trainer resumes from the last checkpoint). */
  submit(spec: RunSpec): Promise<RunState>;
  /** Stops an active run and waits until it is gone; `reason` is recorded. `byHand`: it stays stopped until `wmtp retry`. No-op for one that is over. */
  terminate(stack: string, name: string, reason: string, byHand?: boolean): Promise<void>;
  /** Last lines of the run's log, oldest first. */
  logTail(stack: string, name: string, lines: number): Promise<string[]>;
  /** Forgets that a person stopped the run, so that the next `up` takes it up again. */
  clearCancellation(stack: string, name: string): Promise<void>;
  readCompletion(checkpointUri: string): Promise<Completion | undefined>;
  /** Whether there is a checkpoint directory at `uri`, for example `<checkpointUri>/checkpoint_best`. */
  hasCheckpoint(uri: string): Promise<boolean>;
}
