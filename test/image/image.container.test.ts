/** The trainer's image for real: built by a Docker engine, looked into, trained in. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { contextFiles } from "../../components/image-context.ts";
import { WORKDIR } from "../../components/workdir.ts";
import { docker, makeBases, mustRun, PROJECT, PYTHON, run } from "../support/docker-cli.ts";
import { eventually } from "../support/eventually.ts";

const IMAGE = "wmtp-test-trainer";
const SECRET = "planted-secret";
const PLANTED = {
  AWS_SECRET_ACCESS_KEY: `${SECRET}-aws`,
  HF_TOKEN: `${SECRET}-hub`,
  PULUMI_CONFIG_PASSPHRASE: `${SECRET}-passphrase`,
};
/** What Docker's own login file holds. */
const LOGIN = Buffer.from(`me:${SECRET}-registry-token`).toString("base64");
const MINITEST = join(PROJECT, "storage", "minitest");
const INPUTS = ["models", "datasets"].flatMap((kind) => ["--volume", `${MINITEST}/${kind}:${WORKDIR}/${kind}:ro`]);
const TINY = [
  "models.base=tiny-mtp",
  "models.reference=tiny-reference",
  "data.train=humaneval/processed/train.jsonl",
  "data.valid=humaneval/processed/valid.jsonl",
  "data.max_length=256",
  "training.batch_size=2",
  "training.gradient_accumulation_steps=1",
  "training.epochs=1000",
  "checkpoint.save_interval=5",
  "distributed.backend=gloo",
].flatMap((override) => ["--override", override]);
const CPU = ["--override", "distributed.compute_backend=cpu"];

jest.setTimeout(600_000);

let home: string;
let context: string;

beforeAll(() => {
  makeBases();
  mustRun([join(PROJECT, "tools", "prepare")]);
  home = mkdtempSync(join(tmpdir(), "wmtp-image-"));
  context = join(home, "trainer");
  cpSync(join(PROJECT, "trainer"), context, {
    recursive: true,
    filter: (path) => !["tests", "__pycache__", ".pytest_cache"].includes(basename(path)),
  });
  for (const file of [".env", "src/.env", "configs/.env.local", "configs/ntp/.credentials"]) {
    writeFileSync(join(context, file), `HF_TOKEN=${PLANTED.HF_TOKEN}\n`);
  }
  writeFileSync(join(home, "config.json"), JSON.stringify({ auths: { "registry.example.com": { auth: LOGIN } } }));
  build();
});
afterAll(() => {
  // What caches the dependencies stays: it has no name, and `docker image prune` takes it away.
  run(["docker", "image", "rm", "--no-prune", IMAGE]);
  rmSync(home, { recursive: true, force: true });
});

function build(): void {
  const args = { BASE_IMAGE: PYTHON, REVISION: "0123abcd", LOCK_SHA256: "f".repeat(64) };
  const options = Object.entries(args).flatMap(([name, value]) => ["--build-arg", `${name}=${value}`]);
  mustRun(["docker", "build", "--tag", IMAGE, ...options, context], { env: { ...PLANTED, DOCKER_CONFIG: home } });
}

/** A container that reaches nothing but itself, and ends with what it ran. */
const container = (options: readonly string[], args: readonly string[]) =>
  run(["docker", "run", "--rm", "--network", "none", ...options, IMAGE, ...args]);
const shell = (script: string, ...options: string[]) => container(["--entrypoint", "sh", ...options], ["-c", script]);
const train = (pipeline: string, ...args: string[]) => [
  ...["train", "--pipeline", pipeline, "--config", `configs/${pipeline}/${pipeline}.yaml`],
  ...TINY,
  ...args,
];
const events = (text: string) =>
  [...text.matchAll(/^\[wmtp\] (.*)$/gm)].map((line) => JSON.parse(line[1] as string) as Record<string, unknown>);

test("/app: the working directory, its folders and what is in them", () => {
  expect(shell("pwd").text).toBe(`${WORKDIR}\n`);
  const { text } = shell("stat --format '%n %a %F' *");
  const folders = ["checkpoints", "configs", "datasets", "logs", "mlruns", "models", "src"];
  expect(text.trim().split("\n")).toEqual(folders.map((folder) => `${folder} 755 directory`));
  const files = shell("find configs src -type f").text.trim().split("\n").sort();
  expect(files).toEqual(contextFiles(context).filter((path) => /^(configs|src)\//.test(path)));
});

test("says which commit and which lock it was made from, and starts the trainer under tini", () => {
  const { Config } = JSON.parse(docker("image", "inspect", IMAGE))[0];
  expect(Config.Labels).toMatchObject({
    "org.opencontainers.image.revision": "0123abcd",
    "wmtp.requirements-lock.sha256": "f".repeat(64),
  });
  expect(Config.Entrypoint).toEqual(["tini", "--", "python", "-m", "weighted_mtp"]);
  expect(Config.Env).toEqual(
    expect.arrayContaining(["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"]),
  );
});

test("everything installed is in the lock, in that version", () => {
  const script = "import importlib.metadata as m; [print(d.name, d.version) for d in m.distributions()]";
  const installed = container(["--entrypoint", "python"], ["-c", script]).text.trim().split("\n");
  const lock = readFileSync(join(PROJECT, "trainer", "requirements.lock"), "utf8");
  const locked = new Set(
    [...lock.matchAll(/^([\w.-]+)==([^\s;\\]+)/gm)].map(([, name, version]) => `${name} ${version}`),
  );
  const normal = (line: string) => line.toLowerCase().replaceAll(/[-_.]+(?=.* )/g, "-");
  expect(installed.map(normal).filter((one) => !locked.has(one))).toEqual([]);
  expect(installed.length).toBeGreaterThan(50);
});

test("a dry run finds everything below /app", () => {
  const { code, text } = container(INPUTS, train("rho1", "--dry-run"));
  expect(text).toContain("dry run: everything that this run reads is there");
  expect(code).toBe(0);
});

test("ten steps on two processes by torchrun, as a user who is not root", () => {
  // Docker tells a container its own name only with a network; torchrun looks it up.
  const torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"];
  const args = train("baseline", ...CPU, "--override", "training.max_steps=10").slice(3);
  const { code, text } = container(
    ["--user", "wmtp", "--entrypoint", "python", "--hostname", "localhost", ...INPUTS],
    [...torchrun, "weighted_mtp.pipelines.run_baseline", ...args],
  );
  expect(text).toContain('"event": "completed"');
  expect(code).toBe(0);
  const completed = events(text).find(({ event }) => event === "completed");
  expect(completed).toMatchObject({ steps: 10 });
});

test("SIGTERM reaches the trainer: it saves and says so", async () => {
  const id = docker("run", "--detach", "--network", "none", ...INPUTS, IMAGE, ...train("ntp", ...CPU));
  try {
    await eventually(async () => {
      await sleep(500); // asking takes time from the training
      return events(docker("logs", id)).some(({ event }) => event === "checkpoint");
    }, 60_000);
    docker("stop", "--time", "30", id);
    expect(docker("inspect", "--format", "{{.State.ExitCode}}", id)).toBe("75");
    expect(docker("logs", id)).toContain("checkpoint saved");
  } finally {
    docker("rm", "--force", id);
  }
});

test("SIGTERM ends it at once while Python is still starting", async () => {
  const id = docker("run", "--detach", "--network", "none", "--entrypoint", "tini", IMAGE, "--", "sleep", "60");
  const started = Date.now();
  docker("stop", "--time", "30", id);
  expect(Date.now() - started).toBeLessThan(10_000);
  docker("rm", "--force", id);
});

test("a run that wants CUDA is refused by name on a machine without a driver", () => {
  const { code, text } = container(INPUTS, train("ntp", "--override", "distributed.compute_backend=cuda"));
  expect(text).toMatch(/error: torch needs NVIDIA driver \d+ or newer \(CUDA [\d.]+\), and there is no driver here/);
  expect(code).toBe(2);
});

test("a change of the source is built in less than ten seconds", () => {
  writeFileSync(join(context, "src", "weighted_mtp", "changed.py"), "ANSWER = 42\n");
  const started = performance.now();
  build();
  const seconds = (performance.now() - started) / 1000;
  console.info(`rebuilt after a change of the source in ${seconds.toFixed(1)} s`);
  expect(shell("python -c 'from weighted_mtp.changed import ANSWER; print(ANSWER)'").text).toBe("42\n");
  expect(seconds).toBeLessThan(10);
});

describe("layers", () => {
  const CACHES = String.raw`(^|/)\.cache/|^var/lib/apt/lists/.|^var/cache/apt/.|^tmp/.`;
  interface Layers {
    readonly layers: readonly { readonly files: number; readonly secrets: string[]; readonly matching: string[] }[];
    readonly outside: string[];
  }
  const python = join(PROJECT, ".tools", "trainer", "bin", "python");
  const look = (image: string): Layers => {
    const script = `docker save "$1" | "$2" "$3" "$4" "$5" "$6"`;
    const args = [image, python, join(import.meta.dirname, "layers.py"), SECRET, LOGIN, CACHES];
    return JSON.parse(mustRun(["bash", "-o", "pipefail", "-c", script, "-", ...args]));
  };

  test("no secret and no cache in any of them, nor in the history or the configuration", () => {
    const { layers, outside } = look(IMAGE);
    const ofBase = JSON.parse(docker("image", "inspect", PYTHON))[0].RootFS.Layers.length;
    const own = layers.slice(ofBase);
    expect(own.length).toBeGreaterThanOrEqual(6);
    expect(Math.max(...own.map(({ files }) => files))).toBeGreaterThan(10_000);
    expect(own.flatMap(({ matching }) => matching)).toEqual([]);
    expect([...outside, ...layers.flatMap(({ secrets }) => secrets)]).toEqual([]);
    const told = docker("history", "--no-trunc", IMAGE) + docker("image", "inspect", IMAGE);
    expect([SECRET, LOGIN].filter((word) => told.includes(word))).toEqual([]);
  });

  test("the same look finds them where they are", () => {
    const bad = `${IMAGE}-bad`;
    const dockerfile = `FROM ${PYTHON}\nARG TOKEN\nRUN mkdir -p /root/.cache/pip && echo "$TOKEN" >/root/.cache/pip/token\n`;
    mustRun(["docker", "build", "--tag", bad, "--build-arg", `TOKEN=${PLANTED.HF_TOKEN}`, "-"], { stdin: dockerfile });
    const { layers, outside } = look(bad);
    docker("image", "rm", bad);
    expect(layers.at(-1)).toMatchObject({ secrets: ["root/.cache/pip/token"], matching: ["root/.cache/pip/token"] });
    expect(outside).not.toEqual([]);
  });
});
