/** What the stub remembers: one JSON file, written whole at every change, so that kill -9 loses nothing that was answered. */
import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface VolumeRecord {
  readonly id: number;
  readonly organization: string;
  readonly storage: string;
  readonly name: string;
  /** Key prefix in the storage's bucket. */
  readonly prefix: string;
  tags: string[];
  readonly createdAt: string;
}

export interface SecretRecord {
  readonly id: number;
  readonly organization: string;
  readonly name: string;
  value: string;
}

export interface RunRecord {
  readonly id: number;
  readonly organization: string;
  readonly project: string;
  readonly yaml: string;
  readonly createdAt: string;
  message: string;
  tags: string[];
}

/** What happens to runs of a title instead of being executed. */
export interface Script {
  /** Regular expression. */
  readonly title: string;
  /** For this many runs; without it for all that follow. */
  times?: number;
  /** Waits for `after` ms before each status; the last one stays. */
  readonly timeline: readonly { readonly status: string; readonly reason?: string; readonly after?: number }[];
  readonly log?: readonly string[];
}

/** `execute`: runs are processes. `instant`: they are over at once, with their results in place. */
export type Mode = "execute" | "instant";

export interface State {
  mode: Mode;
  tokenRevoked: boolean;
  nextId: number;
  nextRunId: number;
  volumes: VolumeRecord[];
  secrets: SecretRecord[];
  runs: RunRecord[];
  scripts: Script[];
}

export class Store {
  readonly directory: string;
  readonly state: State;

  constructor(directory: string) {
    this.directory = directory;
    mkdirSync(directory, { recursive: true });
    this.state = readState(directory) ?? {
      mode: "execute",
      tokenRevoked: false,
      nextId: 101,
      nextRunId: 369367000001,
      volumes: [],
      secrets: [],
      runs: [],
      scripts: [],
    };
  }

  save(): void {
    const draft = join(this.directory, `state.${randomUUID()}`);
    writeFileSync(draft, JSON.stringify(this.state));
    renameSync(draft, stateFile(this.directory));
  }

  newId(): number {
    return this.state.nextId++;
  }
}

const stateFile = (directory: string) => join(directory, "state.json");

/** Also for tests, which look at it from outside. */
export function readState(directory: string): State | undefined {
  try {
    return JSON.parse(readFileSync(stateFile(directory), "utf8"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
