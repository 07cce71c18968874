/** Files of a run's directory: what the launcher writes for the supervisor, and the other way. Each has one writer. */
import { join } from "node:path";
import type { ProcessIdentity } from "./process.ts";

/** Written by the launcher before it starts a supervisor. */
export interface Launch {
  readonly attempt: number;
  readonly pipeline: string;
  readonly fingerprint: string;
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly maxDurationSeconds: number;
  readonly submittedAt: string;
  /** Seconds that the attempts before this one ran. @default 0, in records of older versions */
  readonly usedSecondsBefore?: number;
}

/** Written by the supervisor when it has taken the run over. */
export interface Supervision {
  readonly attempt: number;
  readonly supervisor: ProcessIdentity;
  readonly trainer: ProcessIdentity;
}

/** Written by whoever asks the supervisor to stop, before the signal is sent. */
export interface StopRequest {
  readonly reason: string;
  /** A person asked: the run stays stopped until `wmtp retry`. */
  readonly byHand: boolean;
}

/** Written by the supervisor when the trainer is gone. */
export interface Outcome {
  readonly attempt: number;
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly deadlinePassed: boolean;
  readonly finishedAt: string;
}

export interface RunFiles {
  readonly directory: string;
  readonly launch: string;
  readonly supervision: string;
  readonly stop: string;
  readonly outcome: string;
  readonly config: string;
  readonly log: string;
}

export function runFiles(directory: string): RunFiles {
  return {
    directory,
    launch: join(directory, "launch.json"),
    supervision: join(directory, "supervision.json"),
    stop: join(directory, "stop.json"),
    outcome: join(directory, "outcome.json"),
    config: join(directory, "config.yaml"),
    log: join(directory, "log.txt"),
  };
}
