import { Detached, ResourceIncomplete } from "../../launcher/errors.ts";
import { DEADLINE_PASSED } from "../../launcher/outcome.ts";
import type { Before } from "../../launcher/resources/allowance.ts";
import type { RunInputs, RunOutputs } from "../../launcher/resources/run.ts";
import { RunConductor } from "../../launcher/resources/run-conductor.ts";
import { Slots } from "../../launcher/slots.ts";
import { eventually } from "../support/eventually.ts";
import { BROKEN, FakeBackend, PREEMPTED, running } from "../support/fake-backend.ts";
import { callContext, runInputs, stopAll } from "../support/run-inputs.ts";

// The conductor looks twice a second; nobody needs to wait for that here.
jest.mock("node:timers/promises", () => {
  const real = jest.requireActual("node:timers/promises");
  return { ...real, setTimeout: (ms: number, ...rest: unknown[]) => real.setTimeout(ms / 100, ...rest) };
});

let backend: FakeBackend;
let conductor: RunConductor;
afterEach(stopAll);
beforeEach(() => {
  backend = new FakeBackend();
  conductor = new RunConductor(backend, new Slots());
});

async function bring(inputs: RunInputs) {
  const { context, log } = callContext();
  return { outputs: await conductor.bringToCompletion(inputs, context), log: log.lines };
}

async function failure(
  inputs: RunInputs,
  call = callContext(),
): Promise<ResourceIncomplete & { properties: RunOutputs }> {
  const error = await conductor.bringToCompletion(inputs, call.context).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ResourceIncomplete);
  return error as ResourceIncomplete & { properties: RunOutputs };
}

const baseline = runInputs();
const COMPLETED = {
  status: "completed",
  mlflowRunUrl: "http://tracker/#/experiments/7/runs/abc",
  firstLoss: 10,
  finalLoss: 1,
  steps: 10,
  startedAt: "2026-01-01T00:00:00Z",
  finishedAt: "2026-01-01T00:01:00Z",
  durationSeconds: 60,
  checkpoint: `${baseline.checkpointUri}/checkpoint_best`,
  metrics: { explained_variance: 0.5 },
  reason: null,
  allowance: null,
};

describe("adopt", () => {
  test("a run that completed before is taken as it is, without asking for a slot or for what it needs", async () => {
    backend.complete(baseline.checkpointUri, baseline.fingerprint);
    backend.runs.set("other", running({ name: "other", pipeline: "ntp" }));
    const needs = { critic: { fingerprint: "gone", checkpointUri: "fake://gone" } };
    const { outputs } = await bring({ ...baseline, needs });
    expect(outputs).toEqual({
      ...baseline,
      needs,
      ...COMPLETED,
      attempts: 0,
      usedSeconds: null,
      runId: "",
      runUrl: "",
    });
    expect(backend.submissions).toEqual([]);
  });

  test("a marker of another fingerprint is not this run's", async () => {
    backend.complete(baseline.checkpointUri, "another");
    await bring(baseline);
    expect(backend.submissions).toHaveLength(1);
  });

  test("a marker without its checkpoint is no completion", async () => {
    backend.complete(baseline.checkpointUri, baseline.fingerprint);
    backend.checkpoints.clear();
    await bring(baseline);
    expect(backend.submissions).toHaveLength(1);
  });
});

test("a machine that cannot train says so before anything is submitted, and adopts what is trained", async () => {
  backend.unusable = new Error("Linux only");
  await expect(bring(baseline)).rejects.toThrow("Linux only");
  expect(backend.submissions).toEqual([]);
  backend.complete(baseline.checkpointUri, baseline.fingerprint);
  expect((await bring(baseline)).outputs.status).toBe("completed");
});

describe("submit", () => {
  test("a new run is submitted once, with all of its specification", async () => {
    const { outputs, log } = await bring(baseline);
    expect(backend.submissions).toEqual([
      {
        name: baseline.name,
        stack: "dev",
        pipeline: "baseline",
        fingerprint: "fingerprint-baseline",
        gpus: 1,
        trainerConfig: baseline.trainerConfig,
        checkpointUri: baseline.checkpointUri,
        models: { base: "hash of base" },
        volumes: { models: { storage: "disk", name: "models" }, datasets: { storage: "disk", name: "datasets" } },
        maxDurationSeconds: 60,
        trackerUrl: "http://tracker",
        experiment: "weighted-mtp/dev/x",
        tags: ["a", "b"],
      },
    ]);
    expect(outputs).toEqual({
      ...baseline,
      ...COMPLETED,
      attempts: 1,
      usedSeconds: 10,
      runId: "id-1",
      runUrl: `fake://runs/${baseline.name}`,
    });
    expect(log).toEqual(["status: baseline: starting", "status: baseline: 10 steps, loss 10.0000 -> 1.0000"]);
  });

  test("the latest progress is on the resource's line", async () => {
    backend.logs.set(baseline.name, [
      '[wmtp] {"event":"progress","step":3,"steps":10,"loss":2.5,"tokens_per_second":100,"eta_seconds":7}',
    ]);
    const { log } = await bring(baseline);
    expect(log[0]).toBe("status: baseline 3/10, loss 2.5000, 100 tokens/s, ETA 7s");
  });

  test("a run that ended well and left no marker is a failure that says where to look", async () => {
    backend.ends.baseline = ["completes without a marker"];
    const error = await failure(baseline);
    expect(error.message).toBe(
      `${baseline.name} ended well but left no completion marker at ${baseline.checkpointUri}: see fake://runs/${baseline.name}`,
    );
    expect(backend.submissions).toHaveLength(1);
  });
});

test("attach: a run that is active is waited for, not submitted again", async () => {
  const first = conductor.bringToCompletion(baseline, callContext().context);
  await eventually(() => backend.submissions.length > 0);
  const { outputs, log } = await bring(baseline);
  expect(log[0]).toBe("info: baseline: attached to attempt 1, which was still running");
  expect(outputs.status).toBe("completed");
  expect((await first).status).toBe("completed");
  expect(backend.submissions).toHaveLength(1);
});

describe("resume", () => {
  test("what the infrastructure broke is submitted again, at most `retries` times", async () => {
    backend.ends.baseline = [PREEMPTED, PREEMPTED, "completes"];
    const { outputs, log } = await bring(baseline);
    expect(backend.submissions).toHaveLength(3);
    expect(outputs).toMatchObject({ status: "completed", attempts: 3, runId: "id-3" });
    expect(log.filter((line) => line.startsWith("warn"))).toEqual([
      "warn: baseline: preempted; resuming (1 of 2)",
      "warn: baseline: preempted; resuming (2 of 2)",
    ]);
  });

  test("then it fails, and says after how many attempts", async () => {
    backend.ends.baseline = [PREEMPTED];
    backend.logs.set(baseline.name, ["one", "two"]);
    const error = await failure(baseline);
    expect(backend.submissions).toHaveLength(3);
    expect(error.message).toBe(
      `baseline failed after 3 attempts: preempted\nlast lines of fake://runs/${baseline.name}:\n  one\n  two`,
    );
    expect(error.properties).toMatchObject({ status: "failed", attempts: 3, reason: "preempted" });
  });

  test("`retries: 0` resumes nothing", async () => {
    backend.ends.baseline = [PREEMPTED];
    await failure({ ...baseline, retries: 0 });
    expect(backend.submissions).toHaveLength(1);
  });

  test("a program error is not tried again by itself", async () => {
    backend.ends.baseline = [BROKEN, "completes"];
    const error = await failure(baseline);
    expect(backend.submissions).toHaveLength(1);
    expect(error.message).toBe(`baseline failed: exit code 1\nlast lines of fake://runs/${baseline.name}:\n`);
    expect({ id: error.id, reasons: error.reasons }).toEqual({ id: baseline.name, reasons: [error.message] });
    expect(error.properties).toEqual({
      ...baseline,
      status: "failed",
      attempts: 1,
      usedSeconds: 10,
      runId: "id-1",
      runUrl: `fake://runs/${baseline.name}`,
      mlflowRunUrl: null,
      firstLoss: null,
      finalLoss: null,
      steps: null,
      startedAt: null,
      finishedAt: null,
      durationSeconds: null,
      checkpoint: null,
      metrics: {},
      reason: "exit code 1",
      allowance: null,
    });
  });

  test("but by the next up it is", async () => {
    backend.ends.baseline = [BROKEN, "completes"];
    await failure(baseline);
    const { outputs } = await bring(baseline);
    expect(outputs).toMatchObject({ status: "completed", attempts: 2 });
  });

  test("a run whose record vanished while it was watched is submitted again", async () => {
    backend.ends.baseline = ["hangs"];
    const { context, log } = callContext();
    const work = conductor.bringToCompletion(baseline, context);
    await eventually(() => backend.submissions.length > 0);
    backend.ends.baseline = ["completes"];
    backend.runs.delete(baseline.name);
    expect((await work).status).toBe("completed");
    expect(backend.submissions).toHaveLength(2);
    expect(log.lines).toContain("warn: baseline: its record is gone; resuming (1 of 2)");
  });
});

describe("maxDuration bounds all attempts of one update together", () => {
  const limits = () => backend.submissions.map(({ maxDurationSeconds }) => maxDurationSeconds);

  test("a resumption gets what is left", async () => {
    backend.ends.baseline = [PREEMPTED, PREEMPTED, "completes"];
    backend.secondsPerAttempt = 25;
    const { outputs } = await bring(baseline);
    expect(limits()).toEqual([60, 35, 10]);
    expect(outputs).toMatchObject({ status: "completed", usedSeconds: 75 });
  });

  test("with nothing left it is not resumed, and the deadline is the cause", async () => {
    backend.ends.baseline = [PREEMPTED, "completes"];
    backend.secondsPerAttempt = 60;
    const error = await failure(baseline);
    expect(limits()).toEqual([60]);
    expect(error.message.split("\n")[0]).toBe(`baseline failed: ${DEADLINE_PASSED}`);
    expect(error.properties).toMatchObject({ status: "failed", reason: DEADLINE_PASSED, usedSeconds: 60 });
  });

  test("the next update counts anew", async () => {
    backend.ends.baseline = [BROKEN, PREEMPTED, "completes"];
    backend.secondsPerAttempt = 40;
    await failure(baseline);
    expect((await bring(baseline)).outputs).toMatchObject({ status: "completed", usedSeconds: 120 });
    expect(limits()).toEqual([60, 60, 20]);
  });

  test("an attempt that it attaches to counts whole, those before it do not", async () => {
    const attached = { ...running(baseline, 3), usedSeconds: 1000, runningSeconds: 45 };
    backend.runs.set(baseline.name, attached);
    const { context, log } = callContext();
    const work = conductor.bringToCompletion(baseline, context);
    await eventually(() => log.lines.length > 0);
    backend.runs.set(baseline.name, { ...attached, status: "failed", retryable: true, reason: "x", usedSeconds: 1005 });
    await work;
    expect(limits()).toEqual([10]);
  });

  test("a record that vanished gives nothing back", async () => {
    backend.ends.baseline = ["hangs"];
    const work = bring(baseline);
    await eventually(() => backend.submissions.length === 1);
    const state = running(baseline);
    backend.runs.set(baseline.name, { ...state, status: "failed", retryable: true, reason: "x", usedSeconds: 25 });
    await eventually(() => backend.submissions.length === 2);
    backend.runs.delete(baseline.name);
    backend.ends.baseline = ["completes"];
    await work;
    expect(limits()).toEqual([60, 35, 35]);
  });
});

describe("maxDuration and retries bound what several updates wait for together", () => {
  const limits = () => backend.submissions.map(({ maxDurationSeconds }) => maxDurationSeconds);
  const PREEMPTED_NOW = { status: "failed", retryable: true, reason: "preempted" } as const;

  /** What the state has of a run that an update left behind. */
  async function detached(inputs: RunInputs = baseline): Promise<RunOutputs> {
    backend.ends.baseline = ["hangs"];
    const { properties } = await failure({ ...inputs, waitSeconds: 5 });
    expect(properties).toMatchObject({ status: "running", reason: null });
    return properties;
  }
  const now = (change: Partial<ReturnType<typeof running>>) => {
    const state = backend.runs.get(baseline.name) ?? running(baseline);
    backend.runs.set(baseline.name, { ...state, ...change });
  };
  const again = (before: Before, inputs: RunInputs = baseline) => {
    const call = callContext();
    const work = conductor.bringToCompletion(inputs, call.context, before);
    return { ...call, outcome: work.catch((error: ResourceIncomplete & { properties: RunOutputs }) => error) };
  };

  test("what was preempted while nobody waited gets what is left", async () => {
    const before = await detached();
    now({ ...PREEMPTED_NOW, usedSeconds: 25 });
    backend.ends.baseline = ["completes"];
    const { outcome, log } = again(before);
    expect(await outcome).toMatchObject({ status: "completed", allowance: null });
    expect(limits()).toEqual([60, 35]);
    expect(log.lines[0]).toBe("warn: baseline: preempted; resuming (1 of 2)");
  });

  test("an attempt that is attached to again counts from its own start", async () => {
    backend.runs.set(baseline.name, { ...PREEMPTED_NOW, ...running(baseline), status: "failed", usedSeconds: 1000 });
    const before = await detached();
    now({ usedSeconds: 1030, runningSeconds: 30 });
    const { outcome, log } = again(before);
    await eventually(() => log.lines.length > 0);
    backend.ends.baseline = ["completes"];
    now({ ...PREEMPTED_NOW, usedSeconds: 1040 });
    await outcome;
    expect(limits()).toEqual([60, 20]);
  });

  test("over many updates, until nothing is left; the one after that begins anew", async () => {
    let before = await detached();
    for (const usedSeconds of [20, 40]) {
      now({ ...PREEMPTED_NOW, usedSeconds });
      const { outcome } = again(before, { ...baseline, waitSeconds: 5 });
      before = ((await outcome) as ResourceIncomplete & { properties: RunOutputs }).properties;
    }
    expect(before.allowance).toEqual({ usedAtStart: 0, resumes: 2 });
    now({ ...PREEMPTED_NOW, usedSeconds: 60 });
    const { properties } = (await again(before, { ...baseline, retries: 9 }).outcome) as { properties: RunOutputs };
    expect(properties).toMatchObject({ status: "failed", reason: DEADLINE_PASSED, allowance: null });
    expect(limits()).toEqual([60, 40, 20]);
    backend.ends.baseline = ["completes"];
    expect(await again(properties).outcome).toMatchObject({ status: "completed" });
    expect(limits()).toEqual([60, 40, 20, 60]);
  });

  test("resumptions are counted over them, too", async () => {
    const before = await detached();
    now(PREEMPTED_NOW);
    const outcome = (await again(before, { ...baseline, retries: 0 }).outcome) as Error;
    expect(outcome.message.split("\n")[0]).toBe("baseline failed: preempted");
    expect(backend.submissions).toHaveLength(1);
  });

  test("an update that waits for its turn, or whose cloud does not answer, hands on what it was given", async () => {
    const before = await detached();
    now({ ...PREEMPTED_NOW, usedSeconds: 25 });
    backend.runs.set("other", running({ name: "other", pipeline: "ntp" }));
    const waited = (await again(before, { ...baseline, waitSeconds: 5 }).outcome) as { properties: RunOutputs };
    expect(waited.properties).toMatchObject({ status: "failed", reason: null, allowance: before.allowance });
    const findRun = backend.findRun.bind(backend);
    backend.findRun = () => Promise.reject(new Error("no answer"));
    backend.runs.delete("other");
    conductor = new RunConductor(backend, new Slots());
    const silent = (await again(waited.properties).outcome) as { properties: RunOutputs };
    expect(silent.properties).toMatchObject({ status: "pending", reason: "no answer", allowance: before.allowance });
    backend.findRun = findRun;
    backend.ends.baseline = ["completes"];
    await again(silent.properties).outcome;
    expect(limits()).toEqual([60, 35]);
  });

  test("a longer maxDuration counts at once", async () => {
    const before = await detached();
    now({ ...PREEMPTED_NOW, usedSeconds: 60 });
    backend.ends.baseline = ["completes"];
    await again(before, { ...baseline, maxDurationSeconds: 100 }).outcome;
    expect(limits()).toEqual([60, 40]);
  });

  test("a record that vanished gives nothing back later either", async () => {
    backend.ends.baseline = ["hangs"];
    const { outcome, log } = again({ usedSeconds: 0 }, { ...baseline, waitSeconds: 30 });
    await eventually(() => log.lines.length > 0);
    now({ ...PREEMPTED_NOW, usedSeconds: 25 });
    await eventually(() => backend.submissions.length === 2);
    now({ usedSeconds: 0 });
    const { properties } = (await outcome) as { properties: RunOutputs };
    expect(properties.allowance).toEqual({ usedAtStart: -25, resumes: 1 });
    now({ ...PREEMPTED_NOW, usedSeconds: 5 });
    backend.ends.baseline = ["completes"];
    await again(properties).outcome;
    expect(limits()).toEqual([60, 35, 30]);
  });

  test.each<[string, (before: RunOutputs) => RunOutputs]>([
    ["a state of an older version", ({ allowance: _, ...old }) => old],
    ["a run that ended badly", (before) => ({ ...before, status: "failed", reason: "x", allowance: null })],
  ])("%s begins anew", async (_, change) => {
    const before = change(await detached());
    now({ ...PREEMPTED_NOW, usedSeconds: 25 });
    backend.ends.baseline = ["completes"];
    await again(before).outcome;
    expect(limits()).toEqual([60, 60]);
  });

  test("so does one whose record somebody deleted meanwhile", async () => {
    const before = await detached();
    backend.runs.delete(baseline.name);
    backend.ends.baseline = ["completes"];
    await again(before).outcome;
    expect(limits()).toEqual([60, 60]);
  });
});

describe("supersede", () => {
  const old = { name: "wmtp-dev-baseline-old", pipeline: "baseline", fingerprint: "old" };

  test("an active run of the pipeline with other content is terminated and named, before the new one starts", async () => {
    backend.runs.set(old.name, running(old));
    const { outputs, log } = await bring(baseline);
    expect(backend.terminated).toEqual([{ name: old.name, reason: `superseded by ${baseline.name}`, byHand: false }]);
    expect(log[0]).toBe(`warn: ${old.name} was still running with an older configuration: terminating it`);
    expect(outputs.status).toBe("completed");
    expect(backend.peak).toBe(1);
  });

  test("runs of other pipelines are left alone", async () => {
    backend.runs.set("other", running({ ...old, name: "other", pipeline: "ntp" }));
    await bring({ ...baseline, maxParallel: 2 });
    expect(backend.terminated).toEqual([]);
  });
});

describe("detach", () => {
  test("when launcher.wait runs out: the run goes on, and the engine keeps its id and facts", async () => {
    backend.ends.baseline = ["hangs"];
    const error = await failure({ ...baseline, waitSeconds: 5 });
    expect(error.message).toBe("launcher.wait (5s) is over: baseline is still running; run pulumi up again to attach");
    expect(error.id).toBe(baseline.name);
    expect(error.properties).toMatchObject({
      name: baseline.name,
      fingerprint: baseline.fingerprint,
      status: "running",
      attempts: 1,
      reason: null,
    });
    expect(backend.terminated).toEqual([]);
  });

  test("when the engine cancels", async () => {
    backend.ends.baseline = ["hangs"];
    const call = callContext();
    const failed = failure(baseline, call);
    await eventually(() => backend.submissions.length > 0);
    call.stop(new Detached("cancelled"));
    const error = await failed;
    expect(error.message).toBe("cancelled: baseline is still running; run pulumi up again to attach");
    expect(error.properties.status).toBe("running");
    expect(backend.terminated).toEqual([]);
  });

  test("a stray failure of the launcher ends the wait as well, and is told", async () => {
    backend.ends.baseline = ["hangs"];
    const call = callContext();
    const failed = failure(baseline, call);
    await eventually(() => backend.submissions.length > 0);
    call.stop(new Error("a bug"));
    const error = await failed;
    expect({ message: error.message, status: error.properties.status }).toEqual({
      message: "a bug",
      status: "running",
    });
  });

  test("not before launcher.wait has run out", async () => {
    const { outputs } = await bring({ ...baseline, waitSeconds: 3600 });
    expect(outputs.status).toBe("completed");
  });
});

describe("cancelled by hand", () => {
  test("it is not started again, and the error says what is to be done", async () => {
    backend.runs.set(baseline.name, {
      ...running(baseline),
      status: "terminated",
      cancelled: true,
      reason: "wmtp cancel",
    });
    const error = await failure(baseline);
    expect(error.message).toBe(
      `${baseline.name} was cancelled by hand (wmtp cancel): run wmtp retry baseline, then pulumi up`,
    );
    expect(error.properties).toMatchObject({ status: "terminated", reason: "wmtp cancel" });
    expect(backend.submissions).toEqual([]);
  });

  test("while it is waited for: no resume, although retries are left", async () => {
    backend.ends.baseline = ["hangs"];
    const failed = failure(baseline);
    await eventually(() => backend.submissions.length > 0);
    await backend.terminate("dev", baseline.name, "wmtp cancel", true);
    expect((await failed).message).toBe(
      `${baseline.name} was cancelled by hand (wmtp cancel): run wmtp retry baseline, then pulumi up`,
    );
    expect(backend.submissions).toHaveLength(1);
  });

  test("after wmtp retry it starts", async () => {
    backend.runs.set(baseline.name, { ...running(baseline), status: "terminated", cancelled: true });
    await backend.clearCancellation("dev", baseline.name);
    expect((await bring(baseline)).outputs).toMatchObject({ status: "completed", attempts: 2 });
  });
});

describe("what a run needs", () => {
  const critic = runInputs({ pipeline: "critic" });
  const verifiable = runInputs({
    pipeline: "verifiable",
    needs: { critic: { fingerprint: critic.fingerprint, checkpointUri: critic.checkpointUri } },
  });
  const MISSING = `verifiable needs the checkpoint of critic, which is not at ${critic.checkpointUri}: run pulumi refresh, then pulumi up, to train critic again`;

  test.each([
    ["no marker", () => undefined],
    ["the marker of another run", () => backend.complete(critic.checkpointUri, "another")],
    [
      "a marker and no checkpoint",
      () => {
        backend.complete(critic.checkpointUri, critic.fingerprint);
        backend.checkpoints.clear();
      },
    ],
  ])("%s: it does not start, and says why", async (_, prepare) => {
    prepare();
    const error = await failure(verifiable);
    expect(error.message).toBe(MISSING);
    expect(error.properties).toMatchObject({ status: "pending", reason: MISSING, attempts: 0 });
    expect(backend.submissions).toEqual([]);
  });

  test("its best checkpoint is handed over", async () => {
    backend.complete(critic.checkpointUri, critic.fingerprint);
    await bring(verifiable);
    expect(backend.submissions.map((spec) => spec.criticCheckpointUri)).toEqual([
      `${critic.checkpointUri}/checkpoint_best`,
    ]);
  });

  test("a checkpoint from elsewhere is handed over as it was named", async () => {
    await bring(runInputs({ pipeline: "verifiable", criticCheckpoint: "elsewhere/critic" }));
    expect(backend.submissions.map((spec) => spec.criticCheckpointUri)).toEqual(["elsewhere/critic"]);
  });
});

test("launcher.wait may be longer than a timer of Node can wait", async () => {
  // Scaled down a hundred times here, as all time is.
  const { outputs } = await bring({ ...baseline, waitSeconds: 100 * 30 * 86_400 });
  expect(outputs.status).toBe("completed");
});
