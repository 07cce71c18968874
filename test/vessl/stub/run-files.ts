/** A run's directory: what became of it and what it said. Written by the stub and by the run's node, which outlives the stub. */
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { identify, isAlive, type ProcessIdentity } from "../../../launcher/local/process.ts";

export interface Event {
  /** Milliseconds since 1970; one that lies ahead has not happened yet. */
  readonly at: number;
  readonly status: string;
  readonly reason?: string;
}

export interface LogLine {
  /** Seconds since 1970. */
  readonly timestamp: number;
  readonly message: string;
}

/** After these nothing happens any more. */
export const OVER: ReadonlySet<string> = new Set(["completed", "failed", "terminated", "stopped"]);

export class RunFiles {
  readonly directory: string;

  constructor(state: string, id: number) {
    this.directory = join(state, "runs", String(id));
  }

  create(): void {
    mkdirSync(this.directory, { recursive: true });
  }

  /** What has happened so far, oldest first. */
  history(now = Date.now()): Event[] {
    const past = readLines<Event>(join(this.directory, "history.jsonl")).filter(({ at }) => at <= now);
    // The node and the stub may both write an end; the first counts.
    const end = past.findIndex(({ status }) => OVER.has(status));
    return end < 0 ? past : past.slice(0, end + 1);
  }

  happened(status: string, reason?: string, at = Date.now()): void {
    this.append("history.jsonl", { at, status, ...(reason === undefined ? {} : { reason }) });
  }

  /** Strikes out what has not happened yet. */
  forgetFuture(): void {
    const past = this.history().map((event) => `${JSON.stringify(event)}\n`);
    writeFileSync(join(this.directory, "history.jsonl"), past.join(""));
  }

  get isOver(): boolean {
    return OVER.has(this.history().at(-1)?.status ?? "");
  }

  /** All that the run has said, oldest first. */
  log(): LogLine[] {
    return readLines(join(this.directory, "log.jsonl"));
  }

  say(message: string): void {
    this.append("log.jsonl", { timestamp: Date.now() / 1000, message });
  }

  /** The machine that the run is on; gone when it was killed. */
  takeNode(): void {
    writeFileSync(join(this.directory, "node.json"), JSON.stringify(identify(process.pid)));
  }

  node(): { identity: ProcessIdentity; alive: boolean } | undefined {
    const file = join(this.directory, "node.json");
    if (!existsSync(file)) return undefined;
    const identity: ProcessIdentity = JSON.parse(readFileSync(file, "utf8"));
    return { identity, alive: isAlive(identity) };
  }

  get terminateFile(): string {
    return join(this.directory, "terminate");
  }

  private append(file: string, line: object): void {
    appendFileSync(join(this.directory, file), `${JSON.stringify(line)}\n`);
  }
}

function readLines<T>(file: string): T[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, "utf8").split("\n").slice(0, -1);
  return lines.map((line) => JSON.parse(line));
}
