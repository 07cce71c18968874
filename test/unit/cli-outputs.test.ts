/** `wmtp outputs`, from a canned state: a stand-in `pulumi` on PATH prints it. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { outputs } from "../../cli/outputs.ts";

// Jest gives a test an environment of its own; processes that are started see it only when they are told.
jest.mock("node:child_process", () => {
  const real = jest.requireActual("node:child_process");
  const execFile = () => undefined;
  const promised = (file: string, args: string[], options: object) =>
    promisify(real.execFile)(file, args, { ...options, env: process.env });
  return { ...real, execFile: Object.assign(execFile, { [promisify.custom]: promised }) };
});

const RUN = "launcher:index:Run";
let bin: string;
const path = process.env.PATH;
beforeEach(() => {
  bin = mkdtempSync(join(tmpdir(), "wmtp-cli-"));
  process.env.PATH = `${bin}${delimiter}${path}`;
});
afterEach(() => {
  process.env.PATH = path;
  rmSync(bin, { recursive: true, force: true });
});

/** A `pulumi` that prints `state` for `stack export --stack dev`, and fails for anything else. */
function pulumiWith(state: object): void {
  writeFileSync(join(bin, "state.json"), JSON.stringify(state));
  script(
    `[ "$*" = "stack export --stack dev --non-interactive" ] || { echo "unexpected: $*" >&2; exit 1; }\ncat "${bin}/state.json"`,
  );
}

function script(body: string): void {
  writeFileSync(join(bin, "pulumi"), `#!/bin/sh\n${body}\n`);
  chmodSync(join(bin, "pulumi"), 0o755);
}

const run = (pipeline: string, change: Record<string, unknown> = {}) => ({
  urn: `urn:pulumi:dev::wmtp::wmtp:index:TrainingRun$launcher:index:Run::${pipeline}`,
  type: RUN,
  id: `wmtp-dev-${pipeline}-01234567`,
  inputs: {},
  outputs: {
    stack: "dev",
    pipeline,
    name: `wmtp-dev-${pipeline}-01234567`,
    fingerprint: `fingerprint of ${pipeline}`,
    needs: {},
    trainerConfig: { training: { seed: 1 } },
    volumes: { storage: "not-to-be-shown" },
    effectiveBatch: 8,
    status: "completed",
    attempts: 1,
    runId: "42",
    runUrl: "file:///log.txt",
    mlflowRunUrl: "http://tracker/run",
    firstLoss: 10.123456,
    finalLoss: 1,
    steps: 40,
    startedAt: "2026-01-01T00:00:00Z",
    finishedAt: "2026-01-01T00:01:30Z",
    durationSeconds: 90,
    checkpoint: "local://checkpoints/dev/x/checkpoint_best",
    metrics: { explained_variance: 0.5 },
    reason: null,
    planted: "planted-secret",
    ...change,
  },
});
const tracker = {
  urn: "t",
  type: "launcher:index:TrackingServer",
  id: "t",
  outputs: { url: "http://127.0.0.1:15000" },
};
const failed = {
  status: "failed",
  reason: "out of memory",
  firstLoss: null,
  finalLoss: null,
  steps: null,
  durationSeconds: null,
};
const readsCritic = (fingerprint: string) => ({ needs: { critic: { fingerprint, checkpointUri: "x" } } });
const state = (...resources: object[]) => pulumiWith({ version: 3, deployment: { resources } });
const table = () => outputs("dev", true);
/** Cells of the table, trimmed. */
const rows = (text: string) =>
  text
    .split("\n")
    .filter((line) => line.startsWith("│"))
    .map((line) =>
      line
        .split("│")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );

describe("as JSON", () => {
  test("the tracker and the facts of each run, and nothing else of the state", async () => {
    state(tracker, run("critic"));
    expect(JSON.parse(await outputs("dev", false))).toEqual({
      trackerUrl: "http://127.0.0.1:15000",
      runs: {
        critic: {
          runId: "42",
          status: "completed",
          firstLoss: 10.123456,
          finalLoss: 1,
          steps: 40,
          startedAt: "2026-01-01T00:00:00Z",
          finishedAt: "2026-01-01T00:01:30Z",
          durationSeconds: 90,
          effectiveBatch: 8,
          checkpoint: "local://checkpoints/dev/x/checkpoint_best",
          mlflowRunUrl: "http://tracker/run",
          runUrl: "file:///log.txt",
          attempts: 1,
          metrics: { explained_variance: 0.5 },
          fingerprint: "fingerprint of critic",
          reason: null,
        },
      },
    });
  });

  test("nothing secret, whatever else the state holds", async () => {
    const other = { urn: "x", type: "aws:s3:Bucket", outputs: { password: "planted-secret" } };
    state(tracker, other, run("critic"), run("ntp", failed));
    expect(await outputs("dev", false)).not.toMatch(/planted-secret|not-to-be-shown|trainerConfig/);
    expect(await table()).not.toMatch(/planted-secret|not-to-be-shown|trainerConfig/);
  });

  test("a fact that is not there is null, so that every run has the same keys", async () => {
    state(run("critic", { runId: undefined, metrics: undefined }));
    const { trackerUrl, runs } = JSON.parse(await outputs("dev", false));
    expect(trackerUrl).toBeNull();
    expect(runs.critic).toMatchObject({ runId: null, metrics: null });
    expect(Object.keys(runs.critic)).toHaveLength(16);
  });

  test("a replaced run that only waits to be deleted is not the stack's", async () => {
    const now = run("critic", { fingerprint: "new" });
    const old = { ...run("critic", { fingerprint: "old" }), delete: true };
    for (const order of [
      [now, old],
      [old, now],
    ]) {
      state(...order);
      expect(JSON.parse(await outputs("dev", false)).runs.critic.fingerprint).toBe("new");
    }
  });

  test("an empty stack", async () => {
    pulumiWith({ version: 3, deployment: {} });
    expect(JSON.parse(await outputs("dev", false))).toEqual({ trackerUrl: null, runs: {} });
  });
});

describe("as a table", () => {
  test("a row per run in the order of the pipelines, then what to do next", async () => {
    state(tracker, run("ntp", { attempts: 2 }), run("critic"));
    const text = await table();
    expect(rows(text)).toEqual([
      ["pipeline", "status", "loss", "-> final", "steps", "batch", "took", "tries"],
      ["critic", "completed", "10.1235", "1.0000", "40", "8", "1m 30s", "1"],
      ["ntp", "completed", "10.1235", "1.0000", "40", "8", "1m 30s", "2"],
    ]);
    expect(text.split("\n").slice(-5)).toEqual([
      "Next:",
      "  see the curves:   http://127.0.0.1:15000",
      "  try a setting:    edit Pulumi.dev.yaml, make preview STACK=dev",
      "  use the numbers:  make outputs STACK=dev",
      "  stop, remove:     make down STACK=dev (checkpoints and experiments stay)",
    ]);
  });

  test("a failed run says why, in place of what to do next", async () => {
    state(tracker, run("baseline", failed), run("ntp"));
    const text = await table();
    expect(rows(text)[1]).toEqual(["baseline", "failed", "-", "-", "-", "8", "-", "1"]);
    expect(text.split("\n").slice(-2)).toEqual(["Not completed:", "  baseline: out of memory"]);
  });

  test("a run that never started because the one it needs failed is there, with the cause", async () => {
    state(tracker, run("critic", failed));
    const text = await table();
    expect(
      rows(text)
        .slice(1)
        .map(([name, status]) => [name, status]),
    ).toEqual([
      ["critic", "failed"],
      ["verifiable", "not started"],
    ]);
    expect(text.split("\n").slice(-3)).toEqual([
      "Not completed:",
      "  critic: out of memory",
      "  verifiable: waits for critic, which did not complete",
    ]);
  });

  test("a run of an earlier critic is outdated while the new critic has not completed", async () => {
    state(tracker, run("critic", { ...failed, fingerprint: "new" }), run("verifiable", readsCritic("old")));
    expect(rows(await table())[2]?.slice(0, 2)).toEqual(["verifiable", "outdated"]);
  });

  test("a run of this very critic is not, although the critic was lost since", async () => {
    state(tracker, run("critic", { ...failed, fingerprint: "same" }), run("verifiable", readsCritic("same")));
    expect(rows(await table())[2]?.slice(0, 2)).toEqual(["verifiable", "completed"]);
  });

  test("infrastructure alone names its tracker", async () => {
    state({ urn: "u", type: "wmtp:index:MlflowHost", outputs: { url: "https://203.0.113.10" } });
    expect(await table()).toBe("Stack dev has no runs; its tracker is https://203.0.113.10");
  });

  test("an empty stack says what to do", async () => {
    state();
    expect(await table()).toBe("Stack dev has no runs yet: make up STACK=dev");
  });
});

describe("without a state", () => {
  test("what pulumi says on stderr is the error, alone", async () => {
    script('echo "half a state"; echo "error: no stack named dev found" >&2; exit 1');
    await expect(outputs("dev", false)).rejects.toThrow(/^no stack named dev found$/);
  });

  test("no pulumi on PATH: the remedy", async () => {
    process.env.PATH = bin;
    await expect(outputs("dev", false)).rejects.toThrow(
      'pulumi is not on PATH: run make setup, then eval "$(make env)"',
    );
  });
});
