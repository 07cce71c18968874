/** Training runs of the local target: the same trainer command as on the GPU cloud, as supervised processes of this machine. */
import { createHash } from "node:crypto";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { stringify } from "yaml";
import type { RunSpec, RunState } from "../backend.ts";
import { outcomeOf } from "../outcome.ts";
import { type Layout, PROJECT, readJson, writeJson } from "./layout.ts";
import { cleanEnvironment, isAlive, signalGroup, signalProcess, spawnDetached, waitForExit } from "./process.ts";
import { type Launch, type Outcome, type RunFiles, runFiles, type StopRequest, type Supervision } from "./run-files.ts";

const SUPERVISOR = join(PROJECT, "launcher", "local", "supervisor.ts");
const START_MS = 15_000;
/** Longer than the supervisor's own grace, so that it can record the end. */
const STOP_MS = 75_000;
const ATTEMPT_MARK = "--- attempt ";
/** Lines searched for the cause of a failure. */
const DIAGNOSIS_LINES = 200;
const LOG_TAIL_BYTES = 256 * 1024;

export class LocalRuns {
  private readonly layout: Layout;
  private readonly python: string;

  /** @param python the trainer's interpreter. */
  constructor(layout: Layout, python: string) {
    this.layout = layout;
    this.python = python;
  }

  async find(stack: string, name: string): Promise<RunState | undefined> {
    const files = this.files(stack, name);
    const launch = readJson<Launch>(files.launch);
    if (launch === undefined) return undefined;
    const supervision = readJson<Supervision>(files.supervision);
    const outcome = readJson<Outcome>(files.outcome);
    const stop = readJson<StopRequest>(files.stop);
    const current = supervision?.attempt === launch.attempt ? supervision : undefined;
    const ended = outcome?.attempt === launch.attempt ? outcome : undefined;
    const runs = ended === undefined && current !== undefined && isAlive(current.supervisor);
    const seconds = secondsOf(launch, runs ? Date.now() : Date.parse(ended?.finishedAt ?? lastSign(files)));
    const known = {
      name,
      pipeline: launch.pipeline,
      attempts: launch.attempt,
      usedSeconds: (launch.usedSecondsBefore ?? 0) + seconds,
      runId: current === undefined ? "" : String(current.trainer.pid),
      runUrl: `file://${files.log}`,
      retryable: false,
      cancelled: false,
    };
    if (ended !== undefined) {
      if (stop !== undefined) return { ...known, status: "terminated", cancelled: stop.byHand, reason: stop.reason };
      return { ...known, ...outcomeOf(ended, await this.attemptLog(stack, name)) };
    }
    if (runs) return { ...known, status: "running", runningSeconds: seconds };
    // Killed together with its supervisor. What may be left of its group must not go on beside the next attempt.
    if (current !== undefined && isAlive(current.trainer)) signalGroup(current.trainer.pid, "SIGKILL");
    return {
      ...known,
      status: "lost",
      retryable: true,
      reason: "its processes are gone without a word (killed, or the machine went down)",
    };
  }

  async active(stack: string): Promise<RunState[]> {
    const directory = join(this.layout.stack(stack), "runs");
    if (!existsSync(directory)) return [];
    // Asked twice a second by every run that waits: those that are over are passed by before their logs are read.
    const open = readdirSync(directory).filter((name) => !this.isOver(stack, name));
    const states = await Promise.all(open.map((name) => this.find(stack, name)));
    return states.filter((state): state is RunState => state?.status === "running");
  }

  private isOver(stack: string, name: string): boolean {
    const files = this.files(stack, name);
    const outcome = readJson<Outcome>(files.outcome);
    return outcome !== undefined && outcome.attempt === readJson<Launch>(files.launch)?.attempt;
  }

  async submit(spec: RunSpec): Promise<RunState> {
    const before = await this.find(spec.stack, spec.name);
    if (before?.status === "running") return before;
    const files = this.files(spec.stack, spec.name);
    mkdirSync(files.directory, { recursive: true });
    const attempt = (before?.attempts ?? 0) + 1;
    for (const stale of [files.stop, files.outcome]) rmSync(stale, { force: true });
    writeFileSync(files.config, stringify(this.placedConfig(spec)));
    const launch: Launch = {
      attempt,
      pipeline: spec.pipeline,
      fingerprint: spec.fingerprint,
      command: this.command(spec, files),
      env: {
        MLFLOW_TRACKING_URI: spec.trackerUrl,
        MLFLOW_EXPERIMENT_NAME: spec.experiment,
        MLFLOW_DISABLE_TELEMETRY: "true",
        WMTP_FINGERPRINT: spec.fingerprint,
        WMTP_PROVENANCE: JSON.stringify({ stack: spec.stack, ...provenance() }),
        PYTHONUNBUFFERED: "1",
      },
      maxDurationSeconds: spec.maxDurationSeconds,
      submittedAt: new Date().toISOString(),
      usedSecondsBefore: before?.usedSeconds ?? 0,
    };
    writeJson(files.launch, launch);
    appendFileSync(files.log, `${ATTEMPT_MARK}${attempt}, ${launch.submittedAt}\n`, { mode: 0o600 });
    spawnDetached([process.execPath, "--disable-warning=ExperimentalWarning", SUPERVISOR, files.directory], {
      logFile: files.log,
      env: cleanEnvironment({}),
      cwd: files.directory,
    }).unref();
    return this.awaitSupervisor(spec, files, attempt);
  }

  async terminate(stack: string, name: string, reason: string, byHand = false): Promise<void> {
    const files = this.files(stack, name);
    if ((await this.find(stack, name))?.status !== "running") return;
    const supervision = readJson<Supervision>(files.supervision) as Supervision;
    const request: StopRequest = { reason, byHand };
    writeJson(files.stop, request);
    signalProcess(supervision.supervisor.pid, "SIGTERM");
    if (await waitForExit(supervision.supervisor, STOP_MS)) return;
    signalGroup(supervision.trainer.pid, "SIGKILL");
    await waitForExit(supervision.supervisor, STOP_MS);
  }

  async logTail(stack: string, name: string, lines: number): Promise<string[]> {
    const file = await open(this.files(stack, name).log, "r").catch(() => undefined);
    if (file === undefined) return [];
    try {
      const { size } = await file.stat();
      const length = Math.min(size, LOG_TAIL_BYTES);
      const { buffer } = await file.read({ buffer: Buffer.alloc(length), position: size - length });
      return buffer.toString("utf8").trimEnd().split("\n").slice(-lines);
    } finally {
      await file.close();
    }
  }

  /** What the latest attempt wrote last: the causes of earlier ones must not be mistaken for its own. */
  private async attemptLog(stack: string, name: string): Promise<string[]> {
    const tail = await this.logTail(stack, name, DIAGNOSIS_LINES);
    return tail.slice(tail.findLastIndex((line) => line.startsWith(ATTEMPT_MARK)) + 1);
  }

  clearCancellation(stack: string, name: string): void {
    rmSync(this.files(stack, name).stop, { force: true });
  }

  private files(stack: string, name: string): RunFiles {
    return runFiles(this.layout.runDirectory(stack, name));
  }

  /** The very config that the fingerprint covers, with this machine's places filled in. */
  private placedConfig(spec: RunSpec): object {
    return {
      ...spec.trainerConfig,
      paths: {
        models: this.layout.volume(spec.volumes.models),
        datasets: this.layout.volume(spec.volumes.datasets),
        output: this.layout.checkpoint(spec.checkpointUri),
        scores: this.layout.scores(spec.stack),
      },
    };
  }

  /** One process by itself, several by torchrun; `--standalone` takes a free port, so that parallel runs cannot collide. */
  private command(spec: RunSpec, files: RunFiles): string[] {
    const module = `weighted_mtp.pipelines.run_${spec.pipeline}`;
    const args = ["--config", files.config, "--run-name", spec.name, "--tags", spec.tags.join(",")];
    if (spec.criticCheckpointUri !== undefined)
      args.push("--critic-checkpoint", this.layout.checkpoint(spec.criticCheckpointUri));
    if (spec.gpus === 1) return [this.python, "-m", module, ...args];
    const workers = ["--standalone", `--nproc_per_node=${spec.gpus}`, "-m", module];
    return [this.python, "-m", "torch.distributed.run", ...workers, ...args];
  }

  private async awaitSupervisor(spec: RunSpec, files: RunFiles, attempt: number): Promise<RunState> {
    const deadline = Date.now() + START_MS;
    while (Date.now() < deadline) {
      const taken =
        readJson<Supervision>(files.supervision)?.attempt === attempt ||
        readJson<Outcome>(files.outcome)?.attempt === attempt;
      if (taken) return (await this.find(spec.stack, spec.name)) as RunState;
      await sleep(30);
    }
    throw new Error(`the supervisor of ${spec.name} did not start within ${START_MS / 1000} s: see ${files.log}`);
  }
}

/** @param until milliseconds since 1970 */
function secondsOf({ submittedAt }: Launch, until: number): number {
  return Math.max(0, (until - Date.parse(submittedAt)) / 1000); // a clock may have been set back
}

/** When a run that is gone without a word was last heard of. */
function lastSign({ log }: RunFiles): string {
  return (statSync(log, { throwIfNoEntry: false })?.mtime ?? new Date(0)).toISOString();
}

/** What the run is trained with: recorded and shown, never a reason to train again by itself. */
function provenance(): { sourceSha256: string; lockSha256: string } {
  const trainer = join(PROJECT, "trainer");
  const source = createHash("sha256");
  const files = readdirSync(join(trainer, "src"), { recursive: true, encoding: "utf8" }).filter((file) =>
    file.endsWith(".py"),
  );
  for (const file of files.sort()) source.update(file).update(readFileSync(join(trainer, "src", file)));
  const lock = createHash("sha256").update(readFileSync(join(trainer, "requirements.lock")));
  return { sourceSha256: source.digest("hex"), lockSha256: lock.digest("hex") };
}
