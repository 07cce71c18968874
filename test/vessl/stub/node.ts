/**
 * The machine that executes one run. A process of its own with a session of its own: it outlives the stub, as a run outlives the API's
 * bad hour, and it can be killed with all that is on it, as a spot machine is.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { identify, signalGroup, signalProcess } from "../../../launcher/local/process.ts";
import { type ContainerPaths, containerOptions, nodeEnvironment } from "./container.ts";
import { bucketDirectory } from "./gateway.ts";
import { RunFiles } from "./run-files.ts";

/** What the stub hands over on standard input. */
export interface Assignment {
  /** The stub's directory. */
  readonly state: string;
  readonly run: number;
  readonly s3Url: string;
  readonly paceMs: number;
  /** Without bucket and prefix: of a kind that is not copied here. */
  readonly imports: readonly {
    readonly path: string;
    readonly place: string;
    readonly bucket?: string;
    readonly prefix?: string;
  }[];
  readonly steps: readonly { readonly command?: string; readonly workdir?: string; readonly wait?: string }[];
  readonly environment: Readonly<Record<string, string>>;
}

const LOOK_MS = 50;
/** As a cluster gives it before it kills. */
const GRACE_MS = 30_000;
/** Without a stub for so long, nobody will ever ask for this run again. */
const ORPHAN_MS = 60_000;
const SECONDS = { s: 1, m: 60, h: 3600 } as const;

const given: Assignment = JSON.parse(await text(process.stdin));
const files = new RunFiles(given.state, given.run);
if (files.node() !== undefined) process.exit(); // the stub was killed right after it had started another one
files.takeNode();
let container: ChildProcess | undefined;
/** Process id of the container's first process, on this side. */
let first: number | undefined;
let stopping = false;
let orphanSince: number | undefined;
setInterval(look, LOOK_MS);

await happen("pending");
await happen("initializing");
const paths = prepare();
await happen("running");
let failure: string | undefined;
for (const step of given.steps) {
  if (stopping || failure !== undefined) break;
  if (step.wait !== undefined) await wait(step.wait);
  else failure = await execute(step.command as string, step.workdir ?? "/app");
}
if (stopping) files.happened("terminated", "Terminated by user");
else if (failure === undefined) files.happened("completed");
else files.happened("failed", failure);
process.exit();

async function happen(status: string): Promise<void> {
  await sleep(given.paceMs);
  if (!stopping) files.happened(status);
}

/** Copies the imports to where the container will see them. */
function prepare(): ContainerPaths {
  const at = (name: string) => join(files.directory, name);
  const standIn = join(given.state, "stand-in");
  for (const directory of [at("app"), standIn]) mkdirSync(directory, { recursive: true });
  const imports: Record<string, string> = {};
  for (const [index, { path, place, bucket, prefix }] of given.imports.entries()) {
    const inApp = path.startsWith("/app/");
    const target = inApp ? join(at("app"), path.slice("/app/".length)) : at(`import-${index}`);
    mkdirSync(target, { recursive: true });
    if (!inApp) imports[path] = target;
    if (bucket === undefined || prefix === undefined) files.say(`[node] ${place} is not fetched by this stub`);
    else if (existsSync(join(bucketDirectory(given.state, bucket), prefix)))
      cpSync(join(bucketDirectory(given.state, bucket), prefix), target, { recursive: true });
  }
  return { app: at("app"), standIn, bin: join(given.state, "bin"), imports };
}

/** @returns why the step failed; undefined when it did not. */
async function execute(command: string, workdir: string): Promise<string | undefined> {
  const started = spawn("bwrap", [...containerOptions(paths, workdir, 3), "sh", "-c", command], {
    stdio: ["ignore", "pipe", "pipe", "pipe"],
    env: { ...nodeEnvironment(given.s3Url), ...given.environment },
  });
  container = started;
  const ended = new Promise<{ code: number | null; signal: string | null }>((resolve) =>
    started.on("close", (code, signal) => resolve({ code, signal })),
  );
  for (const stream of [started.stdout, started.stderr])
    createInterface({ input: stream as Readable, crlfDelay: Number.POSITIVE_INFINITY }).on("line", (line) =>
      files.say(line),
    );
  text(started.stdio[3] as Readable).then((info) => {
    if (info !== "") first = JSON.parse(info)["child-pid"];
    if (stopping) askToStop();
  });
  const { code, signal } = await ended;
  container = undefined;
  first = undefined;
  if (code === 0) return undefined;
  return signal === null ? `Process exited with code ${code}` : `Process was killed by ${signal}`;
}

async function wait(duration: string): Promise<void> {
  const deadline = Date.now() + 1000 * Number(duration.slice(0, -1)) * SECONDS[duration.at(-1) as keyof typeof SECONDS];
  while (!stopping && Date.now() < deadline) await sleep(LOOK_MS);
}

function look(): void {
  if (!existsSync(files.directory)) die();
  if (!stopping && existsSync(files.terminateFile)) {
    stopping = true;
    askToStop();
  }
  orphanSince = stubIsThere() ? undefined : (orphanSince ?? Date.now());
  if (orphanSince !== undefined && Date.now() - orphanSince > ORPHAN_MS) die();
}

/** Like a cluster: the first process is asked, and after a grace all are killed. */
function askToStop(): void {
  if (container === undefined || first === undefined) return;
  signalProcess(first, "SIGTERM");
  setTimeout(() => container?.kill("SIGKILL"), GRACE_MS).unref();
}

function stubIsThere(): boolean {
  try {
    return identify(JSON.parse(readFileSync(join(given.state, "ready.json"), "utf8")).pid) !== undefined;
  } catch {
    return false;
  }
}

function die(): never {
  signalGroup(process.pid, "SIGKILL");
  process.exit(1);
}
