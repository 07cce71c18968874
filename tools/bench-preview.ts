/**
 * What a preview costs: prod with and without the policies, stacks of 100 to 500 runs, and experiments on a base one after the other.
 * The engine and the launcher are real, AWS is a stand-in, and nobody is logged in to the GPU cloud. A line of JSON each.
 *   node tools/bench-preview.ts          ten experiments of the hundred are measured
 *   node tools/bench-preview.ts --full   all of them
 */
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, loadavg } from "node:os";
import { join, resolve } from "node:path";
import { parse, stringify } from "yaml";
import { importOutputs } from "../test/support/cloud-stack.ts";
import { EngineStack } from "../test/support/engine-stack.ts";
import { stackFile } from "../test/support/stack-config.ts";

const PROJECT = resolve(import.meta.dirname, "..");
const REPEATS = 5;
const SIZES = [100, 200, 300, 400, 500] as const;
const EXPERIMENTS = 100;
const MEASURED = process.argv.includes("--full") ? EXPERIMENTS : 10;
const SAMPLE_MS = 50;

interface Measured {
  readonly seconds: number;
  /** Of the engine, the program, the launcher and the policies together, at its largest. */
  readonly megabytes: number;
}

/** One `pulumi preview`, in a process group of its own whose memory is looked at while it runs. */
async function preview(stack: string, folder: string, env: NodeJS.ProcessEnv): Promise<Measured> {
  const started = performance.now();
  const args = ["preview", "--stack", stack, "--non-interactive"];
  const child = spawn("pulumi", args, { cwd: folder, env, detached: true });
  let [output, megabytes] = ["", 0];
  child.stdout.on("data", (text) => (output += text));
  child.stderr.on("data", (text) => (output += text));
  const sampling = setInterval(() => {
    megabytes = Math.max(megabytes, memoryOf(child.pid as number));
  }, SAMPLE_MS);
  const code = await new Promise((resolved) => child.on("close", resolved));
  clearInterval(sampling);
  if (code !== 0) throw new Error(`the preview of ${stack} exited with ${code}:\n${output}`);
  return { seconds: (performance.now() - started) / 1000, megabytes };
}

/** Resident memory of a process and of all that it started, in MB; what they share counts for each. */
function memoryOf(pid: number): number {
  const parents = new Map<number, number>();
  const resident = new Map<number, number>();
  for (const name of readdirSync("/proc").filter((one) => /^\d+$/.test(one))) {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "latin1");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      parents.set(Number(name), Number(fields[1]));
      resident.set(Number(name), (Number(fields[21]) * 4096) / 1e6);
    } catch {} // it has ended meanwhile
  }
  const isOurs = (one: number): boolean => one === pid || (parents.has(one) && isOurs(parents.get(one) as number));
  return [...resident].reduce((sum, [one, size]) => (isOurs(one) ? sum + size : sum), 0);
}

const median = (numbers: readonly number[]) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1] as number;
const rounded = (number: number) => Math.round(number * 100) / 100;

/** @param peers the same without what is measured, by what that is called */
function print(
  bench: string,
  all: readonly Measured[],
  note: string,
  rest: { readonly peers?: Record<string, number> } = {},
): number {
  const ours = rounded(median(all.map(({ seconds }) => seconds)));
  const [best] = Object.values(rest.peers ?? {}).sort((a, b) => a - b);
  const line = {
    bench: `preview ${bench}`,
    unit: "s",
    better: "lower",
    ours,
    peers: rest.peers ?? {},
    ...(best === undefined ? {} : { ratio: rounded(ours / best) }),
    runs: all.length,
    memory_mb: Math.round(median(all.map(({ megabytes }) => megabytes))),
    cpus: availableParallelism(),
    load_before: rounded(loadavg()[0] as number),
    note,
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
  return ours;
}

/** With and without the policies in turn, so that what else the machine does counts for both. */
async function ofProd(stack: EngineStack): Promise<void> {
  const without = { ...stack.env, PULUMI_OPTION_POLICY_PACK: undefined };
  const [held, free]: [Measured[], Measured[]] = [[], []];
  for (let repeat = 0; repeat < REPEATS; repeat += 1) {
    free.push(await preview(stack.name, stack.project, without));
    held.push(await preview(stack.name, stack.project, stack.env));
  }
  const alone = print("of prod, without the policies", free, "86 resources to create");
  const together = print("of prod", held, "86 resources to create, held to the policies", {
    peers: { "without the policies": alone },
  });
  process.stderr.write(`the policies add ${rounded(together - alone)} s\n`);
}

/** A program of nothing but runs, which differ in their seed; in a copy, because its stack file is not to stay. */
async function ofManyRuns({ project, env: outer }: EngineStack): Promise<void> {
  const folder = join(project, "many");
  for (const name of ["Pulumi.yaml", "program.ts"]) {
    const text = readFileSync(join(PROJECT, "tools", "bench-preview", name), "utf8");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, name), text.replaceAll("../../", `${PROJECT}/`));
  }
  await init("many", folder, outer);
  const config = {
    "wmtp:launcher": { vessl: { organization: "my-org" } },
    "wmtp:cost": { perHour: { "gpu-a100-80g-large": 12 }, budget: 10_000 },
  };
  const file = join(folder, "Pulumi.many.yaml");
  writeFileSync(file, stringify({ ...parse(readFileSync(file, "utf8")), config }));
  for (const runs of SIZES) {
    const env = { ...outer, BENCH_RUNS: String(runs) };
    const all = [];
    for (let repeat = 0; repeat < 3; repeat += 1) all.push(await preview("many", folder, env));
    const free = await preview("many", folder, { ...env, PULUMI_OPTION_POLICY_PACK: undefined });
    const peers = { "without the policies": rounded(free.seconds) };
    print(`of ${runs} runs`, all, "a stack of nothing but runs, held to the policies", { peers });
  }
}

async function init(stack: string, folder: string, env: NodeJS.ProcessEnv): Promise<void> {
  const args = ["stack", "init", stack, "--non-interactive"];
  const child = spawn("pulumi", args, { cwd: folder, env, stdio: "ignore" });
  const code = await new Promise((resolved) => child.on("close", resolved));
  if (code !== 0) throw new Error(`pulumi stack init ${stack} exited with ${code}`);
}

/** A base as an `up` would leave it, and experiments on it with five runs each. */
async function ofExperiments(stack: EngineStack): Promise<void> {
  writeFileSync(join(stack.project, "Pulumi.prod.yaml"), stringify(stackFile("prod")));
  importOutputs(stack, "prod", {
    region: "eu-north-1",
    bucket: "wmtp",
    trackerUrl: "https://203.0.113.10",
    trackerCaCertificate: "",
    image: `ghcr.io/my-org/wmtp@sha256:${"a".repeat(64)}`,
    runSecrets: ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
    models: { "llama-7b-mtp": "hash of the base", "sheared-llama-2.7b": "hash of the reference" },
    datasets: { codecontests: "hash of the data" },
    modelsVolume: { storage: "s3://wmtp", name: "models" },
    datasetsVolume: { storage: "vessl-storage", name: "weighted-mtp-datasets" },
    modelsDelivery: "s3",
  });
  const overrides = (index: number) => ({ overrides: { "training.seed": 1000 + index } });
  const all = [];
  for (let index = 0; index < MEASURED; index += 1) {
    const name = `seed-${index}`;
    const pipelines = Object.fromEntries(
      ["critic", "verifiable", "baseline", "rho1", "ntp"].map((one) => [one, overrides(index)]),
    );
    writeFileSync(
      join(stack.project, `Pulumi.${name}.yaml`),
      stringify({ config: { "wmtp:base": "prod", "wmtp:pipelines": pipelines } }),
    );
    await init(name, stack.project, stack.env);
    all.push(await preview(name, stack.project, stack.env));
  }
  const one = print("of an experiment", all, "five runs on a base, held to the policies; its table included");
  const sum = all.reduce((total, { seconds }) => total + seconds, 0);
  const hundred = {
    seconds: (sum / MEASURED) * EXPERIMENTS,
    megabytes: Math.max(...all.map(({ megabytes }) => megabytes)),
  };
  const said =
    MEASURED === EXPERIMENTS ? "all measured" : `${MEASURED} measured, ${one} s each in the middle, and multiplied`;
  print(`of ${EXPERIMENTS} experiments, one after the other`, [hundred], `five runs each; ${said}`);
}

const stack = new EngineStack("prod", { from: "prod", policies: true });
try {
  mkdirSync(join(stack.root, "empty"));
  const env = stack.env as Record<string, string | undefined>;
  env.VESSL_CONFIG_PATH = join(stack.root, "empty", "config"); // nobody is logged in
  await ofProd(stack);
  await ofManyRuns(stack);
  await ofExperiments(stack);
} finally {
  rmSync(stack.root, { recursive: true, force: true });
}
