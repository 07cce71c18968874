/** A real `mlflow server` of this machine: SQLite, artifacts in a directory, one per stack, loopback only. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Layout, PROJECT, readJson, writeJson } from "./layout.ts";
import {
  cleanEnvironment,
  identify,
  isAlive,
  type ProcessIdentity,
  signalGroup,
  spawnDetached,
  waitForExit,
} from "./process.ts";

interface ServerRecord {
  readonly url: string;
  readonly server: ProcessIdentity;
}

const HOST = "127.0.0.1";
/** Ports of our own choice: outside the ephemeral range, and away from MLflow's 5000, which macOS and others use. */
const FIRST_PORT = 15_000;
const PORTS = 1_000;
/** No telemetry; and no job runners (ten processes, 2 GB), which serve features that no run here uses. */
const SERVER_ENVIRONMENT = {
  MLFLOW_DISABLE_TELEMETRY: "true",
  DO_NOT_TRACK: "true",
  MLFLOW_SERVER_ENABLE_JOB_EXECUTION: "false",
};
const START_MS = 120_000;
const STOP_MS = 10_000;
const PROBE_MS = 2_000;

export class LocalTracker {
  private readonly layout: Layout;
  private readonly mlflow: string;

  constructor(layout = new Layout(), mlflow = join(PROJECT, ".tools", "tracker", "bin", "mlflow")) {
    this.layout = layout;
    this.mlflow = mlflow;
  }

  /**
   * Address of the stack's server: the one it has, as long as nobody else took the port; else the first free one from a start that
   * follows from the stack's name, so that a preview and the `up` after it agree.
   */
  async chooseUrl(stack: string, current: string | undefined): Promise<string> {
    const running = this.record(stack);
    // A recorded server that is dead may have left workers that hold the port; it is still ours, `ensure` clears them away.
    if (running !== undefined && (isAlive(running.server) || running.url === current)) return running.url;
    const start = createHash("sha256").update(`${this.layout.home}/${stack}`).digest().readUInt32BE() % PORTS;
    const candidates = Array.from({ length: PORTS }, (_, offset) => FIRST_PORT + ((start + offset) % PORTS));
    const kept = current === undefined ? Number.NaN : Number(new URL(current).port);
    for (const port of [kept, ...candidates]) {
      if (!Number.isNaN(port) && (await isFree(port))) return `http://${HOST}:${port}`;
    }
    throw new Error(`no free port between ${FIRST_PORT} and ${FIRST_PORT + PORTS}: stop something that listens there`);
  }

  /** Whether the server of this stack answers at `url`. */
  async isHealthy(stack: string, url: string): Promise<boolean> {
    const record = this.record(stack);
    if (record === undefined || record.url !== url || !isAlive(record.server)) return false;
    return probe(url);
  }

  /** Starts the server, or leaves a healthy one alone; resolves when it answers. `waiting` is told the seconds so far. */
  async ensure(stack: string, url: string, waiting: (seconds: number) => void): Promise<void> {
    if (await this.isHealthy(stack, url)) return;
    await this.stop(stack);
    const { port } = new URL(url);
    if (!(await becomesFree(Number(port))))
      throw new Error(
        `port ${port} is taken by another program: run pulumi up again, the tracker then moves to a free one`,
      );
    if (!existsSync(this.mlflow)) throw new Error("the MLflow environment is missing: run make setup");
    const directory = this.layout.tracker(stack);
    mkdirSync(join(directory, "artifacts"), { recursive: true });
    const store = [
      "--backend-store-uri",
      `sqlite:///${join(directory, "mlflow.db")}`,
      "--artifacts-destination",
      join(directory, "artifacts"),
    ];
    const child = spawnDetached(
      [this.mlflow, "server", "--host", HOST, "--port", port, "--workers", "1", "--serve-artifacts", ...store],
      {
        logFile: join(directory, "server.log"),
        env: cleanEnvironment(SERVER_ENVIRONMENT),
        cwd: directory,
      },
    );
    const failure = new Promise<never>((_, reject) => child.on("error", reject));
    failure.catch(() => undefined); // handled by the race below; must not end the provider when that is over
    child.unref();
    const server = child.pid === undefined ? undefined : identify(child.pid);
    if (server !== undefined) writeJson(this.recordFile(stack), { url, server } satisfies ServerRecord);
    await Promise.race([this.awaitHealth(stack, url, waiting), failure]);
  }

  /** Stops the server; its database and artifacts stay. */
  async stop(stack: string): Promise<void> {
    const record = this.record(stack);
    if (record === undefined) return;
    if (isAlive(record.server)) {
      signalGroup(record.server.pid, "SIGTERM");
      if (!(await waitForExit(record.server, STOP_MS))) signalGroup(record.server.pid, "SIGKILL");
    } else {
      signalGroup(record.server.pid, "SIGKILL"); // its workers, when the server alone was killed
    }
    rmSync(this.recordFile(stack), { force: true });
  }

  private async awaitHealth(stack: string, url: string, waiting: (seconds: number) => void): Promise<void> {
    const started = Date.now();
    while (Date.now() - started < START_MS) {
      if (await probe(url)) return;
      const record = this.record(stack);
      if (record === undefined || !isAlive(record.server)) break;
      waiting(Math.round((Date.now() - started) / 1000));
      await sleep(200);
    }
    const log = join(this.layout.tracker(stack), "server.log");
    const tail = existsSync(log) ? readFileSync(log, "utf8").trimEnd().split("\n").slice(-8).join("\n  ") : "(no log)";
    throw new Error(`mlflow server did not become healthy at ${url}; the end of its log (${log}):\n  ${tail}`);
  }

  private record(stack: string): ServerRecord | undefined {
    return readJson<ServerRecord>(this.recordFile(stack));
  }

  private recordFile(stack: string): string {
    return join(this.layout.tracker(stack), "server.json");
  }
}

async function probe(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/health`, { signal: AbortSignal.timeout(PROBE_MS) })).ok;
  } catch {
    return false;
  }
}

/** The kernel takes a moment to close the sockets of what was just killed. */
async function becomesFree(port: number): Promise<boolean> {
  for (let waited = 0; waited < STOP_MS; waited += 100) {
    if (await isFree(port)) return true;
    await sleep(100);
  }
  return false;
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ port, host: HOST }, () => server.close(() => resolve(true)));
  });
}
