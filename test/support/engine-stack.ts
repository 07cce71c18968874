/** A stack of its own for one test file: temporary project, state, data and passphrase; the real engine, launcher and MLflow. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parse, stringify } from "yaml";
import type { RunOutputs } from "../../launcher/resources/run.ts";
import { installPolicyPack } from "./policy-pack.ts";
import { PulumiStack, type Result } from "./pulumi-stack.ts";

const PROJECT = resolve(import.meta.dirname, "..", "..");
const LINKED = ["main.js", "launcher", "node_modules", "package.json", "tools", "trainer"];
const STAND_INS = join(PROJECT, "tools", "stand-ins", "bin");
/** Nothing here waits for a person; what takes longer than this hangs. */
const UP_MS = 420_000;

export interface EngineStackOptions {
  /** The committed stack file it starts from; "prod" comes with stand-ins for AWS. @default "minitest" */
  readonly from?: "minitest" | "minitest-vessl" | "prod";
  /** Sets values of that file: `"wmtp:pipelines.critic.gpus": 1`; undefined removes the key. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** The real trainer instead of the stand-in. */
  readonly realTrainer?: boolean;
  /** Holds every preview and update to the policies. @default false, because the pack takes about a second each time */
  readonly policies?: boolean;
  readonly env?: Readonly<Record<string, string>>;
}

export class EngineStack extends PulumiStack {
  readonly root = mkdtempSync(join(tmpdir(), "wmtp-engine-"));
  readonly name: string;
  readonly project = join(this.root, "project");
  readonly home = join(this.root, "home");
  /** Folder of the stack's local data. */
  readonly data: string;
  readonly env: NodeJS.ProcessEnv;
  protected readonly longestMs = UP_MS;
  private readonly configFile: string;

  constructor(name: string, options: EngineStackOptions = {}) {
    super();
    this.name = name;
    this.data = join(this.home, "local", name);
    this.configFile = join(this.project, `Pulumi.${name}.yaml`);
    for (const folder of ["project", "state", "home"]) mkdirSync(join(this.root, folder));
    copyFileSync(join(PROJECT, "Pulumi.yaml"), join(this.project, "Pulumi.yaml"));
    for (const name of LINKED) symlinkSync(join(PROJECT, name), join(this.project, name));
    const from = options.from ?? "minitest";
    this.env = {
      PATH: `${from === "prod" ? `${STAND_INS}:` : ""}${join(PROJECT, ".tools", "bin")}:${process.env.PATH}`,
      ...(from === "prod" ? { PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true" } : {}),
      HOME: process.env.HOME,
      PULUMI_HOME: join(PROJECT, ".tools", "pulumi-home"),
      PULUMI_BACKEND_URL: `file://${join(this.root, "state")}`,
      PULUMI_CONFIG_PASSPHRASE: "passphrase-of-a-test",
      PULUMI_SKIP_UPDATE_CHECK: "1",
      PULUMI_CONTINUE_ON_ERROR: "true",
      PULUMI_PARALLEL: "64",
      WMTP_HOME: this.home,
      ...(options.realTrainer ? {} : { WMTP_PYTHON: join(PROJECT, "test", "support", "stand-in-python") }),
      ...(options.policies ? installPolicyPack(this.project) : {}),
      ...options.env,
    };
    const config = parse(readFileSync(join(PROJECT, `Pulumi.${from}.yaml`), "utf8"));
    delete config.encryptionsalt;
    writeFileSync(this.configFile, stringify(config));
    if (from !== "prod") {
      const sources = options.realTrainer ? join(PROJECT, "storage", "minitest") : this.makeSources();
      this.configure({
        "wmtp:volumes.sources": {
          models: join(sources, "models"),
          datasets: join(sources, "datasets"),
          ...(from === "minitest" ? {} : { checkpoints: join(sources, "checkpoints") }),
        },
        ...(options.realTrainer ? {} : { "wmtp:overrides.training\\.seed": 10 }),
      });
    }
    this.configure(options.config ?? {});
    this.mustRun("stack", "select", "--create");
  }

  /** Sets keys of the stack file; a dot in a key is written `\\.`. */
  configure(values: Readonly<Record<string, unknown>>): void {
    const file = parse(readFileSync(this.configFile, "utf8"));
    for (const [path, value] of Object.entries(values)) {
      const keys = path.split(/(?<!\\)\./).map((key) => key.replaceAll("\\.", "."));
      const leaf = keys.pop() as string;
      const parent = keys.reduce((node, key) => (node[key] ??= {}), file.config);
      if (value === undefined) delete parent[leaf];
      else parent[leaf] = value;
    }
    writeFileSync(this.configFile, stringify(file));
  }

  /** Runs `pulumi` on another stack of the same state. */
  onStack(stack: string, ...args: string[]): string {
    const { status, stdout, stderr } = spawnSync("pulumi", [...args, "--stack", stack, "--non-interactive"], {
      cwd: this.project,
      env: this.env,
      encoding: "utf8",
    });
    if (status !== 0)
      throw new Error(`pulumi ${args.join(" ")} on ${stack} exited with ${status}:\n${stdout}${stderr}`);
    return stdout;
  }

  /** The stack file as it is, to be put back by `restore`. */
  configuration(): string {
    return readFileSync(this.configFile, "utf8");
  }

  restore(configuration: string): void {
    writeFileSync(this.configFile, configuration);
  }

  /** Starts `pulumi up` in a group of its own, to be killed in the middle. */
  startUp(): ChildProcess {
    return spawn("pulumi", ["up", "--yes", "--skip-preview", "--stack", this.name, "--non-interactive"], {
      cwd: this.project,
      env: this.env,
      stdio: "pipe",
      detached: true,
    });
  }

  wmtp(...args: string[]): Result {
    const { status, stdout, stderr } = spawnSync(
      "node",
      [join(PROJECT, "cli", "wmtp.ts"), ...args, "--stack", this.name],
      { cwd: this.project, env: this.env, encoding: "utf8" },
    );
    return { code: status, text: stdout + stderr };
  }

  state(): {
    deployment: {
      resources: {
        type: string;
        delete?: boolean;
        urn: string;
        id?: string;
        outputs: Record<string, unknown>;
        inputs: Record<string, unknown>;
      }[];
    };
  } {
    return JSON.parse(this.mustRun("stack", "export"));
  }

  /** Runs in the state, by pipeline. */
  runs(): Record<string, RunOutputs> {
    const runs =
      this.state().deployment.resources?.filter(
        (resource) => resource.type === "launcher:index:Run" && !resource.delete,
      ) ?? [];
    return Object.fromEntries(runs.map(({ outputs }) => [outputs.pipeline, outputs as unknown as RunOutputs]));
  }

  /** `pipeline fingerprint` of every start of a trainer, in order (stand-in only). */
  trained(): string[] {
    const file = join(this.data, "trained.log");
    if (!existsSync(file)) return [];
    return readFileSync(file, "utf8")
      .trim()
      .split("\n")
      .map((line) => line.split(" ").slice(0, 2).join(" "));
  }

  /** Pipelines whose trainer was started since `before`, a former answer of `trained()`. */
  trainedSince(before: readonly string[]): string[] {
    return this.trained()
      .slice(before.length)
      .map((line) => line.split(" ")[0] as string)
      .sort();
  }

  /** Makes the stand-in fail in the middle of `pipeline` with this text; undefined: no more. */
  fail(pipeline: string, text: string | undefined): void {
    const file = join(this.data, `${pipeline}.fail`);
    mkdirSync(this.data, { recursive: true });
    if (text === undefined) rmSync(file, { force: true });
    else writeFileSync(file, text);
  }

  /** Process ids, with command lines, that belong to this stack: their environment or arguments name its home. */
  processes(): { pid: number; command: string }[] {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .flatMap((name) => {
        try {
          const command = readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ");
          const stat = readFileSync(`/proc/${name}/stat`, "latin1");
          const zombie = stat.slice(stat.lastIndexOf(")") + 2).startsWith("Z");
          return !zombie && command.includes(this.root) ? [{ pid: Number(name), command }] : [];
        } catch {
          return [];
        }
      });
  }

  /** Waits until `condition` holds; says `what` when it does not come. */
  async until(what: string, condition: () => boolean, milliseconds = 60_000): Promise<void> {
    const deadline = Date.now() + milliseconds;
    while (!condition()) {
      if (Date.now() > deadline) throw new Error(`waited ${milliseconds} ms in vain: ${what}`);
      await sleep(50);
    }
  }

  /** Destroys the stack and removes everything; kills what a failed test left behind. */
  dispose(): void {
    this.pulumi("cancel", "--yes");
    this.pulumi("destroy", "--yes", "--skip-preview");
    for (const { pid } of this.processes()) process.kill(pid, "SIGKILL");
    rmSync(this.root, { recursive: true, force: true });
  }

  private makeSources(): string {
    const sources = join(this.root, "sources");
    for (const [file, text] of Object.entries({
      "models/tiny-mtp/model.safetensors": "weights of the base",
      "models/tiny-reference/model.safetensors": "weights of the reference",
      "datasets/humaneval/processed/train.jsonl": "{}\n",
    })) {
      mkdirSync(join(sources, file, ".."), { recursive: true });
      writeFileSync(join(sources, file), text);
    }
    return sources;
  }
}

/** Whether the pid is a live process. */
export function isLive(pid: number): boolean {
  try {
    return !readFileSync(`/proc/${pid}/stat`, "latin1").includes(") Z ");
  } catch {
    return false;
  }
}

/** Children of `pid`, and theirs. */
export function descendants(pid: number): number[] {
  const children = spawnSync("ps", ["-o", "pid=", "--ppid", String(pid)], { encoding: "utf8" }).stdout.trim();
  return children === ""
    ? []
    : children
        .split(/\s+/)
        .map(Number)
        .flatMap((child) => [child, ...descendants(child)]);
}
