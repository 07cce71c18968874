/**
 * Watches one training process, in a session of its own, so that a run survives the provider and even `pulumi` itself.
 * Usage: node supervisor.ts RUN_DIRECTORY. It keeps the deadline, passes on a request to stop, and records how it ended.
 */
import { rmSync } from "node:fs";
import { readJson, writeJson } from "./layout.ts";
import { cleanEnvironment, identify, isAlive, signalGroup, spawnDetached } from "./process.ts";
import { type Launch, type Outcome, runFiles, type Supervision } from "./run-files.ts";

/** The trainer saves a checkpoint when asked to stop, if that is quick; then it is killed. */
const GRACE_MS = 60_000;

const files = runFiles(process.argv[2] as string);
const launch = readJson<Launch>(files.launch);
if (launch === undefined) throw new Error(`${files.launch} is missing or torn: start the run with pulumi up`);

const earlier = readJson<Supervision>(files.supervision);
if (earlier !== undefined && isAlive(earlier.supervisor)) process.exit(0); // two launchers raced; one supervisor is right
rmSync(files.outcome, { force: true });

// The trainer dies with its supervisor, whatever kills the latter: nobody else would keep the deadline.
const child = spawnDetached(["setpriv", "--pdeathsig", "KILL", "--", ...launch.command], {
  logFile: files.log,
  env: cleanEnvironment(launch.env),
  cwd: files.directory,
});
const trainerPid = child.pid;
let deadlinePassed = false;

function stop(): void {
  if (trainerPid === undefined) return;
  signalGroup(trainerPid, "SIGTERM");
  setTimeout(() => signalGroup(trainerPid, "SIGKILL"), GRACE_MS).unref();
}

function finish(exitCode: number | null, signal: string | null): void {
  // Whatever the trainer left behind in its group ends with it.
  if (trainerPid !== undefined) signalGroup(trainerPid, "SIGKILL");
  const outcome: Outcome = {
    attempt: (launch as Launch).attempt,
    exitCode,
    signal,
    deadlinePassed,
    finishedAt: new Date().toISOString(),
  };
  writeJson(files.outcome, outcome);
  process.exit(0);
}

child.on("error", (error) => {
  console.error(`could not start the trainer: ${error.message}`);
  finish(127, null);
});
child.on("exit", finish);
process.on("SIGTERM", stop);
process.on("SIGINT", () => undefined);
process.on("SIGHUP", () => undefined);

/** setTimeout takes at most 2^31 ms; a deadline may be longer. */
const deadline = Date.now() + launch.maxDurationSeconds * 1000;
setInterval(() => {
  if (deadlinePassed || Date.now() < deadline) return;
  deadlinePassed = true;
  stop();
}, 1000).unref();

if (trainerPid !== undefined) {
  const supervisor = identify(process.pid);
  const trainer = identify(trainerPid);
  if (supervisor !== undefined && trainer !== undefined) {
    const supervision: Supervision = { attempt: launch.attempt, supervisor, trainer };
    writeJson(files.supervision, supervision);
  }
}
