/** The local target: the contract, and what only processes of this machine can do wrong. The trainer is the stand-in. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parse } from "yaml";
import type { RunSpec, RunState } from "../../launcher/backend.ts";
import { LocalBackend } from "../../launcher/local/backend.ts";
import { Layout } from "../../launcher/local/layout.ts";
import { signalProcess } from "../../launcher/local/process.ts";
import type { Supervision } from "../../launcher/local/run-files.ts";
import { type BackendUnderTest, describeBackend, ended, specOf, started, until } from "./backend-contract.ts";

const STAND_IN = resolve(import.meta.dirname, "..", "support", "stand-in-python");

interface Local extends BackendUnderTest {
  readonly backend: LocalBackend;
  readonly layout: Layout;
}

async function makeLocal(): Promise<Local> {
  const layout = new Layout(mkdtempSync(join(tmpdir(), "wmtp-local-")));
  const backend = new LocalBackend(layout, STAND_IN);
  return {
    backend,
    layout,
    async files(volume) {
      const root = layout.volume(volume);
      const paths = readdirSync(root, { recursive: true, encoding: "utf8" });
      const files = paths.filter((path) => statSync(join(root, path)).isFile());
      return Object.fromEntries(files.map((path) => [path, readFileSync(join(root, path), "utf8")]));
    },
    takes: (spec, seconds) => ({
      ...spec,
      trainerConfig: { ...spec.trainerConfig, training: { seed: seconds * 10 } },
    }),
    async failWith(stack, pipeline, text) {
      const file = join(layout.stack(stack), `${pipeline}.fail`);
      mkdirSync(dirname(file), { recursive: true });
      if (text === undefined) rmSync(file);
      else writeFileSync(file, text);
    },
    async dispose() {
      for (const pid of processesOf(layout)) signalProcess(pid, "SIGKILL");
      rmSync(layout.home, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** Live processes whose command line names this home. */
function processesOf(layout: Layout): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => isLive(pid) && read(`/proc/${pid}/cmdline`).includes(layout.home));
}

function isLive(pid: number): boolean {
  const stat = read(`/proc/${pid}/stat`);
  return stat !== "" && !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
}

function read(file: string): string {
  try {
    return readFileSync(file, "latin1");
  } catch {
    return "";
  }
}

describeBackend("local", makeLocal);

describe("local: processes", () => {
  let given: Local;
  let backend: LocalBackend;
  let spec: RunSpec;
  beforeEach(async () => {
    given = await makeLocal();
    backend = given.backend;
    spec = given.takes(specOf(backend), 600);
  });
  afterEach(() => given.dispose());

  const file = (name: string) => join(given.layout.runDirectory(spec.stack, spec.name), name);
  const supervision = (): Supervision => JSON.parse(readFileSync(file("supervision.json"), "utf8"));
  const gone = async () => {
    for (let waited = 0; processesOf(given.layout).length > 0; waited += 50) {
      if (waited > 5_000) throw new Error(`still there: ${processesOf(given.layout).join(", ")}`);
      await sleep(50);
    }
  };

  test("a supervisor and its trainer, each leading a session of its own, away from ours", async () => {
    const state = await backend.submit(spec);
    await started(backend, spec);
    const { supervisor, trainer } = supervision();
    expect(processesOf(given.layout).sort()).toEqual([supervisor.pid, trainer.pid].sort());
    expect(state.runId).toBe(String(trainer.pid));
    for (const { pid } of [supervisor, trainer]) {
      const stat = read(`/proc/${pid}/stat`);
      const [, , group, session] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      expect({ group, session }).toEqual({ group: String(pid), session: String(pid) });
    }
  });

  test("terminate leaves no process", async () => {
    await backend.submit(spec);
    await started(backend, spec);
    await backend.terminate(spec.stack, spec.name, "enough");
    expect(processesOf(given.layout)).toEqual([]);
  });

  test("terminate right after submit leaves none either", async () => {
    await backend.submit(spec);
    await backend.terminate(spec.stack, spec.name, "enough");
    await gone();
    expect(await backend.findRun(spec.stack, spec.name)).toMatchObject({ status: "terminated", reason: "enough" });
  });

  test("kill -9 of the supervisor takes the trainer along; the run is lost and can be resumed", async () => {
    await backend.submit(spec);
    await started(backend, spec);
    process.kill(supervision().supervisor.pid, "SIGKILL");
    expect(await ended(backend, spec)).toMatchObject({
      status: "lost",
      retryable: true,
      cancelled: false,
      reason: "its processes are gone without a word (killed, or the machine went down)",
    });
    await gone();
    const { usedSeconds } = (await backend.findRun(spec.stack, spec.name)) as RunState;
    await sleep(100);
    expect((await backend.findRun(spec.stack, spec.name))?.usedSeconds).toBe(usedSeconds); // until its last sign of life
    await backend.submit(given.takes(spec, 0.1));
    const completed = await ended(backend, spec);
    expect(completed).toMatchObject({ status: "completed", attempts: 2 });
    expect(completed.usedSeconds).toBeGreaterThan(usedSeconds);
    expect(completed.usedSeconds).toBeLessThan(usedSeconds + 10);
  });

  test("kill -9 of the trainer is preemption: recorded by the supervisor, which ends too", async () => {
    await backend.submit(spec);
    await started(backend, spec);
    process.kill(supervision().trainer.pid, "SIGKILL");
    expect(await ended(backend, spec)).toMatchObject({
      status: "failed",
      retryable: true,
      reason: "preempted: it was stopped from outside",
    });
    await gone();
  });

  test("the end of the process that submitted does not reach the run; another backend finds it", async () => {
    await backend.submit(spec);
    await started(backend, spec);
    const other = new LocalBackend(new Layout(given.layout.home), STAND_IN);
    expect(await other.findRun(spec.stack, spec.name)).toEqual(await backend.findRun(spec.stack, spec.name));
    await other.terminate(spec.stack, spec.name, "by another");
    expect(processesOf(given.layout)).toEqual([]);
  });

  test("a process id that was given to another process since is not mistaken for the run's", async () => {
    await backend.submit(spec);
    await started(backend, spec);
    const real = supervision();
    await backend.terminate(spec.stack, spec.name, "enough");
    rmSync(file("outcome.json"));
    rmSync(file("stop.json"));
    // This very process has the supervisor's id now, as far as the record says.
    const reused = { ...real.supervisor, pid: process.pid };
    writeFileSync(file("supervision.json"), JSON.stringify({ ...real, supervisor: reused }));
    expect(await backend.findRun(spec.stack, spec.name)).toMatchObject({ status: "lost" });
    await backend.terminate(spec.stack, spec.name, "must not kill us");
  });

  test("a missing Python is a failure that the log explains, not a hang", async () => {
    const without = new LocalBackend(given.layout, join(given.layout.home, "no-such-python"));
    await without.submit(spec);
    expect(await ended(without, spec)).toMatchObject({ status: "failed", reason: "exit code 127", retryable: false });
    expect((await without.logTail(spec.stack, spec.name, 5)).join("\n")).toMatch(/No such file or directory/);
    await expect(without.assertUsable()).rejects.toThrow("the trainer's Python environment is missing: run make setup");
  });

  test("records torn by a crash are as good as absent", async () => {
    await backend.submit(given.takes(spec, 0.1));
    await ended(backend, spec);
    writeFileSync(file("launch.json"), '{"attempt":');
    expect(await backend.findRun(spec.stack, spec.name)).toBeUndefined();
    expect(await backend.activeRuns(spec.stack)).toEqual([]);
    const marker = join(given.layout.checkpoint(spec.checkpointUri), "COMPLETED.json");
    writeFileSync(marker, '{"fingerprint":');
    expect(await backend.readCompletion(spec.checkpointUri)).toBeUndefined();
  });

  test("several workers go through torchrun, on a port of its own choice", async () => {
    await backend.submit({ ...spec, gpus: 2, criticCheckpointUri: "local://checkpoints/dev/critic/f/checkpoint_best" });
    const { command } = JSON.parse(readFileSync(file("launch.json"), "utf8"));
    expect(command).toEqual([
      ...[STAND_IN, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"],
      ...["-m", "weighted_mtp.pipelines.run_baseline"],
      ...["--config", file("config.yaml"), "--run-name", spec.name, "--tags", "a,b"],
      ...["--critic-checkpoint", join(given.layout.home, "local/dev/checkpoints/critic/f/checkpoint_best")],
    ]);
  });

  test("the trainer reads the config that was hashed, with this machine's places added", async () => {
    await backend.submit(spec);
    expect(parse(readFileSync(file("config.yaml"), "utf8"))).toEqual({
      ...spec.trainerConfig,
      paths: {
        models: join(given.layout.home, "local/volumes/disk/models"),
        datasets: join(given.layout.home, "local/volumes/disk/datasets"),
        output: join(given.layout.home, "local/dev/checkpoints/baseline", spec.fingerprint),
        scores: join(given.layout.home, "local/dev/scores"),
      },
    });
  });

  describe("environment", () => {
    const planted = {
      PULUMI_CONFIG: '{"wmtp:hfToken":"planted-secret"}',
      PULUMI_CONFIG_PASSPHRASE: "planted-secret",
      AWS_SECRET_ACCESS_KEY: "planted-secret",
      MLFLOW_TRACKING_PASSWORD: "planted-secret",
    };
    beforeEach(() => Object.assign(process.env, planted));
    afterEach(() => {
      for (const name of Object.keys(planted)) delete process.env[name];
    });

    test("of supervisor and trainer: what was allowed, and nothing else that the caller has", async () => {
      await backend.submit(spec);
      await started(backend, spec);
      const { supervisor, trainer } = supervision();
      const environment = (pid: number) =>
        Object.fromEntries(
          read(`/proc/${pid}/environ`)
            .split("\0")
            .filter(Boolean)
            .map((entry) => [entry.slice(0, entry.indexOf("=")), entry.slice(entry.indexOf("=") + 1)]),
        );
      const inherited = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "OMP_NUM_THREADS"];
      const ofShell = ["PWD", "OLDPWD", "SHLVL", "_"]; // the stand-in is started by a shell script
      const told = {
        MLFLOW_TRACKING_URI: spec.trackerUrl,
        MLFLOW_EXPERIMENT_NAME: spec.experiment,
        MLFLOW_DISABLE_TELEMETRY: "true",
        WMTP_FINGERPRINT: spec.fingerprint,
        WMTP_PROVENANCE: expect.stringMatching(
          /^\{"stack":"dev","sourceSha256":"[0-9a-f]{64}","lockSha256":"[0-9a-f]{64}"\}$/,
        ),
        PYTHONUNBUFFERED: "1",
      };
      const ofTrainer = environment(trainer.pid);
      expect(ofTrainer).toMatchObject({ ...told, PATH: process.env.PATH });
      const allowed = [...inherited, ...ofShell, ...Object.keys(told)];
      expect(Object.keys(ofTrainer).filter((name) => !allowed.includes(name))).toEqual([]);
      expect(Object.keys(environment(supervisor.pid)).filter((name) => !inherited.includes(name))).toEqual([]);
    });

    test("and no file that a run leaves holds a secret of the caller", async () => {
      await backend.submit(given.takes(spec, 0.1));
      await ended(backend, spec);
      const files = readdirSync(given.layout.home, { recursive: true, encoding: "utf8" })
        .map((path) => join(given.layout.home, path))
        .filter((path) => statSync(path).isFile());
      expect(files.length).toBeGreaterThan(5);
      expect(files.filter((path) => readFileSync(path, "utf8").includes("planted-secret"))).toEqual([]);
    });
  });

  test("a second submission of a run that is active attaches to it", async () => {
    await backend.submit(spec);
    await started(backend, spec);
    const second = backend.submit(spec).catch(() => undefined);
    try {
      await sleep(200);
      expect(await backend.findRun(spec.stack, spec.name)).toMatchObject({ status: "running", attempts: 1 });
    } finally {
      // Ends the 15 s of waiting for a second supervisor, which does not come.
      writeFileSync(file("outcome.json"), JSON.stringify({ attempt: 2, exitCode: 0 }));
      await second;
    }
  });
  test("an upload that was killed leaves no drafts in the volume", async () => {
    const volume = { storage: "disk", name: "models" };
    await backend.ensureVolume({ ...volume, tags: [] });
    const draft = join(given.layout.volume(volume), ".draft-of-a-killed-upload");
    writeFileSync(draft, "half a model");
    await backend.upload(volume, given.layout.home, [], () => undefined);
    expect(existsSync(draft)).toBe(false);
  });

  test("the log of a run is its owner's alone", async () => {
    await backend.submit(spec);
    await until(backend, spec, () => existsSync(file("log.txt")));
    expect(statSync(file("log.txt")).mode & 0o077).toBe(0);
  });
});
