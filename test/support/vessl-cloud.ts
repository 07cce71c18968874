/** The GPU cloud of one test file: the stub of its API, S3 behind it, and the cloud's real client to prove them. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  type Dirent,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { CloudPlace } from "../../launcher/by-place.ts";
import { signalGroup } from "../../launcher/local/process.ts";
import type { Fault } from "../vessl/stub/faults.ts";
import { bucketDirectory } from "../vessl/stub/gateway.ts";
import type { ApiRequest, S3Request } from "../vessl/stub/journal.ts";
import { RunFiles } from "../vessl/stub/run-files.ts";
import { type Mode, readState, type Script } from "../vessl/stub/state.ts";
import { OWN_BUCKET, REGION, ROOT_KEY, STORAGES, TOKEN } from "../vessl/stub/world.ts";
import { eventually } from "./eventually.ts";

const PROJECT = resolve(import.meta.dirname, "..", "..");
const MAIN = join(PROJECT, "test", "vessl", "stub", "main.ts");
/** The first start of all builds the S3 server. */
const START_MS = 300_000;
const CLIENT_MS = 120_000;

export interface VesslCloudOptions {
  /** What runs are trained by. @default "stand-in" */
  readonly trainer?: "stand-in" | "real";
}

export interface Said {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ShownRun {
  readonly id: number;
  readonly status: string;
  readonly status_reason: string;
  readonly message: string;
  readonly run_spec: { readonly title: string; readonly yaml_spec: string };
  readonly histories: readonly { readonly status: string; readonly message: string }[];
}

interface Ready {
  readonly pid: number;
  readonly ports: { readonly api: number; readonly s3: number; readonly control: number };
}

export class VesslCloud {
  readonly organization = "acme";
  readonly project = "infra";
  readonly token = TOKEN;
  readonly root = mkdtempSync(join(tmpdir(), "wmtp-vessl-"));
  private readonly options: VesslCloudOptions;
  private ready!: Ready;
  private process!: ChildProcess;

  private constructor(options: VesslCloudOptions) {
    this.options = options;
  }

  static async start(options: VesslCloudOptions = {}): Promise<VesslCloud> {
    const cloud = new VesslCloud(options);
    mkdirSync(cloud.state);
    await cloud.restart();
    return cloud;
  }

  /** Where the API is; the real client and our launcher append `/api/v1`. */
  get url(): string {
    return `http://127.0.0.1:${this.ready.ports.api}`;
  }

  get s3Url(): string {
    return `http://127.0.0.1:${this.ready.ports.s3}`;
  }

  /** Where a stack is that has its volumes and runs here, and its bucket behind it. */
  get place(): CloudPlace {
    return {
      target: "vessl",
      organization: this.organization,
      project: this.project,
      bucket: OWN_BUCKET,
      region: REGION,
      checkpoints: "checkpoints/",
    };
  }

  /** Everything our launcher needs. */
  get env(): Record<string, string> {
    return {
      VESSL_API_HOST: this.url,
      VESSL_ACCESS_TOKEN: this.token,
      AWS_ENDPOINT_URL_S3: this.s3Url,
      AWS_ACCESS_KEY_ID: ROOT_KEY.accessKeyId,
      AWS_SECRET_ACCESS_KEY: ROOT_KEY.secretAccessKey,
      AWS_REGION: REGION,
    };
  }

  /** What the real client needs to talk to this cloud and to nobody else. */
  get clientEnv(): Record<string, string> {
    return {
      PATH: process.env.PATH as string,
      HOME: this.clientHome,
      VESSL_CONFIG_PATH: join(this.clientHome, ".vessl", "config"),
      VESSL_API_HOST: this.url,
      VESSL_WEB_HOST: this.url,
      VESSL_ACCESS_TOKEN: this.token,
      VESSL_DEFAULT_ORGANIZATION: this.organization,
      VESSL_DEFAULT_PROJECT: this.project,
      ENABLE_SENTRY: "false",
      VESSL_DATA_COLLECTION_OPT_OUT: "true",
    };
  }

  /** Runs the real client: `client("storage", "list")`. */
  client(...args: string[]): Promise<Said> {
    return this.run(join(clientBin(), "vessl"), args);
  }

  /** Runs Python that imports the real client's SDK; `vessl` is there, organization and project are set. */
  sdk(script: string): Promise<Said> {
    const setUp = `import vessl, vessl.storage as st\napi = vessl.vessl_api\napi.set_organization("${this.organization}")\napi.set_project("${this.project}")\n`;
    return this.run(join(clientBin(), "python"), ["-c", setUp + script]);
  }

  /** Orders faults of the API; each strikes once unless it says `times`. */
  faults(...faults: Fault[]): Promise<unknown> {
    return this.order("POST /faults", faults);
  }

  s3Faults(...faults: Fault[]): Promise<unknown> {
    return this.order("POST /s3/faults", faults);
  }

  clearFaults(): Promise<unknown> {
    return this.order("DELETE /faults");
  }

  /** All temporary S3 credentials given out so far are expired from now on. */
  expireCredentials(): Promise<unknown> {
    return this.order("POST /s3/expire");
  }

  /** Temporary S3 credentials given out from now on expire after so many requests or milliseconds. */
  shortenCredentials(limits: { requests?: number; milliseconds?: number }): Promise<unknown> {
    return this.order("POST /s3/shorten", limits);
  }

  /** What becomes of runs whose title matches, instead of being executed. */
  script(script: Script): Promise<unknown> {
    return this.order("POST /runs/script", script);
  }

  /** `instant`: runs are over at once, with their results in place. */
  mode(mode: Mode): Promise<unknown> {
    return this.order("POST /mode", { mode });
  }

  /** The machine below the newest run of this id or title is gone without a word to it. */
  preempt(run: string, status = "failed", reason = "Preempted: spot node reclaimed"): Promise<unknown> {
    return this.order("POST /runs/preempt", { run, status, reason });
  }

  /** Somebody removes the newest run of this id or title from the list. */
  forgetRun(run: string): Promise<unknown> {
    return this.order("POST /runs/forget", { run });
  }

  /** Completed runs of yesterday. */
  addOldRuns(count: number, title = "old"): Promise<unknown> {
    return this.order("POST /runs/old", { count, title });
  }

  /** All runs, oldest first, as the API shows them. */
  runs(): Promise<ShownRun[]> {
    return this.order("GET /runs") as Promise<ShownRun[]>;
  }

  /** What the newest run of this id or title has said so far. */
  async runLog(run: string): Promise<string[]> {
    const found = (await this.runs()).findLast(({ id, run_spec }) => String(id) === run || run_spec.title === run);
    return found === undefined ? [] : new RunFiles(this.state, found.id).log().map(({ message }) => message);
  }

  /** Where the stand-in trainer looks for `<pipeline>.fail` and keeps `trained.log`. */
  get standIn(): string {
    const directory = join(this.state, "stand-in");
    mkdirSync(directory, { recursive: true });
    return directory;
  }

  revokeToken(revoked = true): Promise<unknown> {
    return this.order("POST /token", { revoked });
  }

  /** Every request to the API so far, in order. */
  requests(): ApiRequest[] {
    return readLines(join(this.state, "requests.jsonl"));
  }

  s3Requests(): S3Request[] {
    return readLines(join(this.state, "s3-requests.jsonl"));
  }

  /** Content of every object of a volume, by its path in the volume. */
  volumeFiles(storage: string, volume: string): Record<string, string> {
    const record = readState(this.state)?.volumes.find((one) => one.storage === storage && one.name === volume);
    const bucket = STORAGES.find(({ name }) => name === storage)?.bucket;
    if (record === undefined || bucket === undefined) return {};
    return filesBelow(join(bucketDirectory(this.state, bucket), record.prefix));
  }

  /** Content of every object of the stack's own bucket below `prefix`, by what follows it. */
  bucketFiles(prefix = "", bucket: string = OWN_BUCKET): Record<string, string> {
    return filesBelow(join(bucketDirectory(this.state, bucket), prefix));
  }

  /** kill -9 of the API and of S3; runs go on, as they do when only the API is away. */
  async kill(): Promise<void> {
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.kill("SIGKILL");
    await ended;
  }

  /** Starts what `kill` ended, on the same ports with the same memory. */
  async restart(): Promise<void> {
    const log = openSync(join(this.root, "stub.log"), "a");
    const words = [MAIN, "--state", this.state, "--trainer", this.options.trainer ?? "stand-in"];
    this.process = spawn(
      "setpriv",
      ["--pdeathsig", "KILL", process.execPath, "--disable-warning=ExperimentalWarning", ...words],
      {
        stdio: ["ignore", log, log],
        env: { PATH: process.env.PATH, HOME: process.env.HOME },
      },
    );
    const { pid } = this.process;
    await eventually(() => {
      if (this.process.exitCode !== null)
        throw new Error(`the stub did not start: ${readFileSync(join(this.root, "stub.log"), "utf8")}`);
      this.ready = readJson(join(this.state, "ready.json")) ?? this.ready;
      return this.ready?.pid === pid;
    }, START_MS);
  }

  /** Ends everything, runs included, and removes it. */
  async dispose(): Promise<void> {
    await this.kill();
    for (const { id } of readState(this.state)?.runs ?? []) {
      const node = new RunFiles(this.state, id).node();
      if (node?.alive) signalGroup(node.identity.pid, "SIGKILL");
    }
    // A container ends a moment after its node.
    rmSync(this.root, { recursive: true, force: true, maxRetries: 10 });
  }

  private get state(): string {
    return join(this.root, "state");
  }

  private get clientHome(): string {
    const home = join(this.root, "home");
    if (!existsSync(home)) {
      mkdirSync(join(home, ".vessl"), { recursive: true });
      writeFileSync(join(home, ".vessl", "tracing-agreement"), "");
      // `storage` commands take the organization from here and from nowhere else.
      writeFileSync(join(home, ".vessl", "config"), `[user]\ndefault_organization = "${this.organization}"\n`);
    }
    return home;
  }

  /** In the client's home: a `.env` in the current directory would change what it talks to. */
  private run(program: string, args: readonly string[]): Promise<Said> {
    return new Promise((resolve, reject) => {
      const child = spawn(program, args, { cwd: this.clientHome, env: this.clientEnv, timeout: CLIENT_MS });
      child.stdin.end();
      let stdout = "";
      let stderr = "";
      child.stdout.setEncoding("utf8").on("data", (text) => (stdout += text));
      child.stderr.setEncoding("utf8").on("data", (text) => (stderr += text));
      child.on("error", reject);
      child.on("close", (code) => resolve({ code, stdout: plain(stdout), stderr: plain(stderr) }));
    });
  }

  private async order(order: string, body?: unknown): Promise<unknown> {
    const [method, path] = order.split(" ") as [string, string];
    const response = await fetch(`http://127.0.0.1:${this.ready.ports.control}${path}`, {
      method,
      // A connection that was kept would be closed by the time a test that blocks comes back.
      headers: { connection: "close" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (!response.ok) throw new Error(`the stub cannot do ${order}: ${await response.text()}`);
    return response.json();
  }
}

let bin: string | undefined;
function clientBin(): string {
  bin ??= execFileSync(join(PROJECT, "tools", "vessl-client"), { encoding: "utf8" }).trim();
  return bin;
}

/** Without ANSI colours, which the client prints even into a pipe. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what colours are made of
const plain = (text: string) => text.replace(/\x1b\[[0-9;]*m/g, "");

function readJson<T>(file: string): T | undefined {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return undefined;
  }
}

function readLines<T>(file: string): T[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, "utf8").split("\n").slice(0, -1);
  return lines.map((line) => JSON.parse(line));
}

/** None of a directory that the server, which removes empty ones, has removed meanwhile. */
function entriesOf(directory: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/** versitygw keeps parts of unfinished uploads in a hidden directory of the bucket. */
function filesBelow(root: string): Record<string, string> {
  const files: Record<string, string> = {};
  const walk = (directory: string, prefix: string) => {
    for (const entry of entriesOf(directory)) {
      if (entry.name === ".sgwtmp") continue;
      const path = join(directory, entry.name);
      if (entry.isDirectory()) walk(path, `${prefix}${entry.name}/`);
      else files[prefix + entry.name] = readFileSync(path, "utf8");
    }
  };
  if (existsSync(root)) walk(root, "");
  return files;
}
