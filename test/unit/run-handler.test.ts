import { fingerprintOf } from "../../launcher/identity.ts";
import { RunHandler, type RunInputs, type RunOutputs } from "../../launcher/resources/run.ts";
import { RunConductor } from "../../launcher/resources/run-conductor.ts";
import { Slots } from "../../launcher/slots.ts";
import { UNKNOWN } from "../../launcher/values.ts";
import { FakeBackend, running } from "../support/fake-backend.ts";
import { callContext, RecordedLog, runInputs, uncheckedInputs } from "../support/run-inputs.ts";

jest.mock("node:timers/promises", () => {
  const real = jest.requireActual("node:timers/promises");
  return { ...real, setTimeout: (ms: number, ...rest: unknown[]) => real.setTimeout(ms / 100, ...rest) };
});

let backend: FakeBackend;
let handler: RunHandler;
beforeEach(() => {
  backend = new FakeBackend();
  handler = new RunHandler(backend, new RunConductor(backend, new Slots()));
});

const inputs = runInputs();
const ID = inputs.name;

/** A completed run as the state has it. */
async function completed(): Promise<RunOutputs> {
  return (await handler.create(inputs, callContext().context)).outputs;
}

async function diff(before: RunOutputs, now: RunInputs) {
  const log = new RecordedLog();
  return { ...(await handler.diff(ID, before, now, { urn: "urn", log })), log: log.lines };
}

const check = (now: RunInputs, before?: RunInputs, log = new RecordedLog()) =>
  handler.check(now, before, { urn: "urn", log });

describe("check", () => {
  test("fills in fingerprint, name and checkpoint from the identity alone", async () => {
    const plain = uncheckedInputs({ pipeline: "critic" });
    const { inputs: filled, failures } = await check(plain);
    const { pipeline, trainerConfig, models, datasets, gpus, resultsVersion } = plain;
    const fingerprint = fingerprintOf({ pipeline, trainerConfig, models, datasets, gpus, needs: {}, resultsVersion });
    expect(failures).toEqual([]);
    expect(filled).toEqual({
      ...plain,
      fingerprint,
      name: `wmtp-dev-critic-${fingerprint.slice(0, 8)}`,
      checkpointUri: `fake://dev/critic/${fingerprint}`,
      trains: "first time",
    });
  });

  const fingerprint = async (change: Partial<RunInputs>) => (await check(uncheckedInputs(change))).inputs.fingerprint;

  test.each<[keyof RunInputs, Partial<RunInputs>]>([
    ["volumes", { volumes: { models: { storage: "x", name: "x" }, datasets: { storage: "x", name: "y" } } }],
    ["trackerUrl", { trackerUrl: "http://moved" }],
    ["experiment", { experiment: "other" }],
    ["tags", { tags: [] }],
    ["effectiveBatch", { effectiveBatch: 1 }],
    ["maxDurationSeconds", { maxDurationSeconds: 1 }],
    ["maxParallel", { maxParallel: 9 }],
    ["retries", { retries: 0 }],
    ["waitSeconds", { waitSeconds: 1 }],
    ["stack", { stack: "other" }],
  ])("%s is no part of what is trained", async (_, change) => {
    expect(await fingerprint(change)).toBe(await fingerprint({}));
  });

  test("where a needed checkpoint lies is no part of what is trained; what is in it is", async () => {
    const needs = (fingerprint: string, checkpointUri: string) => ({
      needs: { critic: { fingerprint, checkpointUri } },
    });
    expect(await fingerprint(needs("a", "here"))).toBe(await fingerprint(needs("a", "there")));
    expect(await fingerprint(needs("a", "here"))).not.toBe(await fingerprint(needs("b", "here")));
  });

  test.each<[string, Partial<RunInputs>]>([
    ["models", { models: UNKNOWN as never }],
    ["one hash", { datasets: { data: UNKNOWN } }],
    ["a needed run", { needs: { critic: { fingerprint: UNKNOWN, checkpointUri: UNKNOWN } } }],
  ])("while %s is unknown, so is what follows from it: the sentinel is never hashed", async (_, change) => {
    const plain = uncheckedInputs(change);
    expect(await check(plain)).toEqual({
      inputs: {
        ...plain,
        fingerprint: UNKNOWN,
        name: UNKNOWN,
        checkpointUri: UNKNOWN,
        trains: "first time, unless it was trained before",
      },
      failures: [],
    });
  });

  test("an unknown that is no part of the identity hides nothing", async () => {
    const { inputs: filled } = await check(uncheckedInputs({ trackerUrl: UNKNOWN }));
    expect(filled.fingerprint).toMatch(/^[0-9a-f]{64}$/);
    expect(filled.trackerUrl).toBe(UNKNOWN);
  });

  test("each model and data set that its volume does not hold is a failure by name", async () => {
    const { failures } = await check(uncheckedInputs({ models: { base: "", ok: "x" }, datasets: { data: "" } }));
    expect(failures).toEqual([
      {
        property: "",
        reason:
          "base is not in the source of the models volume (wmtp:volumes.sources.models): put it there, or name another in the stack file",
      },
      {
        property: "",
        reason:
          "data is not in the source of the datasets volume (wmtp:volumes.sources.datasets): put it there, or name another in the stack file",
      },
    ]);
  });
});

describe("why it trains", () => {
  const URN = "urn";

  test("is on the run's own line too, and asks whether it was trained before", async () => {
    const log = new RecordedLog();
    expect((await check(uncheckedInputs(), undefined, log)).inputs.trains).toBe("first time");
    expect(log.lines).toEqual(["status: effective batch 8, first time"]);
    const { fingerprint, checkpointUri } = (await check(uncheckedInputs())).inputs;
    backend.complete(checkpointUri as string, fingerprint as string);
    expect((await check(uncheckedInputs(), undefined, log)).inputs.trains).toBe("adopted: trained before");
  });

  test("where nobody can look, the line says why", async () => {
    const log = new RecordedLog();
    backend.readCompletion = () => Promise.reject(new Error("no login"));
    const { inputs: filled } = await check(uncheckedInputs(), undefined, log);
    expect(filled.trains).toBe("first time, unless it was trained before");
    expect(log.lines).toEqual([
      "status: effective batch 8, first time, unless it was trained before (cannot be looked at: no login)",
    ]);
  });

  test("of a replacement is the same when the engine checks it again without its old inputs", async () => {
    const { inputs: before } = await check(uncheckedInputs());
    const now = uncheckedInputs({ gpus: 2 });
    handler = new RunHandler(backend, new RunConductor(backend, new Slots()));
    const first = await check(now, before);
    expect(first.inputs.trains).toBe("re-trains because gpus 1 -> 2");
    expect(await check(now)).toEqual(first);
    const other = await handler.check(now, undefined, { urn: `${URN} of another`, log: new RecordedLog() });
    expect(other.inputs.trains).toBe("first time");
  });

  test("of one of which nothing differs is not on its line: whether it completed, `diff` sees", async () => {
    const { inputs: before } = await check(uncheckedInputs());
    const log = new RecordedLog();
    expect((await check(uncheckedInputs(), before, log)).inputs.trains).toBe(
      "goes on or is resumed, unless it completed meanwhile",
    );
    expect(log.lines).toEqual([]);
  });

  test("is in no outputs, so that a run that stays has none", async () => {
    const told = { ...inputs, trains: "first time" };
    const { outputs } = await handler.create(told, callContext().context);
    expect(outputs).not.toHaveProperty("trains");
    expect(await handler.update(ID, outputs, told, callContext().context)).not.toHaveProperty("trains");
  });
});

describe("diff", () => {
  test("the same is no change", async () => {
    expect(await diff(await completed(), inputs)).toEqual({ changes: false, log: [] });
  });

  test("another fingerprint replaces; the old run goes first only while it is active", async () => {
    const before = await completed();
    const other = runInputs({ fingerprint: "other" });
    expect(await diff(before, other)).toEqual({
      changes: true,
      replaces: ["fingerprint"],
      deleteBeforeReplace: false,
      log: [],
    });
    backend.ends.baseline = ["hangs"];
    backend.runs.set(ID, running(inputs));
    expect(await diff(before, other)).toMatchObject({ replaces: ["fingerprint"], deleteBeforeReplace: true });
  });

  test("a fingerprint that is not known yet replaces", async () => {
    const unknown = { ...inputs, fingerprint: UNKNOWN, name: UNKNOWN, checkpointUri: UNKNOWN };
    expect(await diff(await completed(), unknown)).toMatchObject({ changes: true, replaces: ["fingerprint"] });
  });

  test.each<[keyof RunInputs, Partial<RunInputs>]>([
    ["tags", { tags: ["b", "a"] }],
    ["experiment", { experiment: "other" }],
    ["trackerUrl", { trackerUrl: "http://moved" }],
    ["effectiveBatch", { effectiveBatch: 1 }],
    ["maxDurationSeconds", { maxDurationSeconds: 1 }],
  ])("%s is an update, without replacement", async (_, change) => {
    expect(await diff(await completed(), runInputs(change))).toEqual({ changes: true, log: [] });
  });

  test.each<[keyof RunInputs, Partial<RunInputs>]>([
    ["maxParallel", { maxParallel: 9 }],
    ["retries", { retries: 0 }],
    ["waitSeconds", { waitSeconds: 1 }],
  ])("%s says how to run, not what: no change", async (_, change) => {
    expect(await diff(await completed(), runInputs(change))).toEqual({ changes: false, log: [] });
  });

  test.each([
    ["running", null, "info: attempt 1 was going on: the update attaches to it, adopts what it trained or resumes it"],
    ["failed", "out of memory", "info: attempt 2; last: out of memory"],
    ["lost", "its checkpoint is gone", "info: attempt 2; last: its checkpoint is gone"],
    ["terminated", "wmtp cancel", "info: attempt 2; last: wmtp cancel"],
    ["pending", null, "info: attempt 1 was going on: the update attaches to it, adopts what it trained or resumes it"],
  ] as const)("a recorded status of %s is a change that says what comes", async (status, reason, line) => {
    const before = { ...(await completed()), status, reason };
    expect(await diff(before, inputs)).toEqual({ changes: true, log: [line] });
  });
});

describe("create and update", () => {
  test("the id is the deterministic name", async () => {
    const { id, outputs } = await handler.create(inputs, callContext().context);
    expect(id).toBe(ID);
    expect(outputs).toMatchObject({ ...inputs, status: "completed" });
  });

  test("an update of a completed run records the new description and trains nothing", async () => {
    const before = await completed();
    const now = runInputs({ tags: ["new"] });
    expect(await handler.update(ID, before, now, callContext().context)).toEqual({ ...before, tags: ["new"] });
    expect(backend.submissions).toHaveLength(1);
  });

  test("an update of a failed run resumes it", async () => {
    backend.ends.baseline = [{ reason: "exit code 1", retryable: false }, "completes"];
    await expect(handler.create(inputs, callContext().context)).rejects.toThrow("baseline failed: exit code 1");
    const before = { ...inputs, status: "failed" } as RunOutputs;
    expect(await handler.update(ID, before, inputs, callContext().context)).toMatchObject({
      status: "completed",
      attempts: 2,
    });
  });
});

test("an update carries on with what is left of maxDuration", async () => {
  backend.runs.set(ID, { ...running(inputs), status: "failed", retryable: true, reason: "x", usedSeconds: 125 });
  const before = { ...inputs, status: "running", allowance: { usedAtStart: 100, resumes: 0 } } as RunOutputs;
  await handler.update(ID, before, inputs, callContext().context);
  expect(backend.submissions.map(({ maxDurationSeconds }) => maxDurationSeconds)).toEqual([35]);
});

describe("read", () => {
  test.each([
    ["still runs", {}, true],
    ["was preempted", { status: "failed", retryable: true, reason: "preempted" }, true],
    ["failed", { status: "failed", reason: "exit code 1" }, false],
    ["completed and lost its checkpoint", { status: "completed" }, false],
  ] as const)("of a run that was left and %s", async (_, change, carriesOn) => {
    const allowance = { usedAtStart: 100, resumes: 1 };
    backend.runs.set(ID, { ...running(inputs), ...change });
    const before = { ...inputs, status: "running", allowance } as RunOutputs;
    expect((await handler.read(ID, before)).allowance).toEqual(carriesOn ? allowance : null);
  });

  test("a completed run stays what it is", async () => {
    const before = await completed();
    expect(await handler.read(ID, before)).toEqual(before);
  });

  test("a run that was left running and has completed since", async () => {
    const after = await completed();
    const before = { ...after, status: "running", steps: null, finalLoss: null } as RunOutputs;
    expect(await handler.read(ID, before)).toEqual(after);
  });

  test("a completed run whose marker is gone is lost, and so trains again", async () => {
    const before = await completed();
    backend.completions.clear();
    const now = await handler.read(ID, before);
    expect(now).toMatchObject({ status: "lost", reason: "its checkpoint is gone" });
    expect((await diff(now, inputs)).changes).toBe(true);
  });

  test("a run that failed since is told with its cause", async () => {
    const before = await completed();
    backend.completions.clear();
    backend.runs.set(ID, { ...running(inputs, 3), status: "failed", reason: "disk full" });
    expect(await handler.read(ID, before)).toMatchObject({
      status: "failed",
      reason: "disk full",
      attempts: 3,
      steps: null,
      checkpoint: null,
    });
  });

  test("a run without any record is lost", async () => {
    const before = { ...(await completed()), status: "running" } as RunOutputs;
    backend.completions.clear();
    backend.runs.clear();
    expect(await handler.read(ID, before)).toMatchObject({ status: "lost" });
  });

  test("a completed run whose checkpoint is gone is lost, although its marker is left", async () => {
    const before = await completed();
    backend.checkpoints.clear();
    expect((await handler.read(ID, before)).status).toBe("lost");
  });
  test("a marker of another fingerprint says nothing about this run", async () => {
    const before = { ...(await completed()), status: "failed" } as RunOutputs;
    backend.complete(inputs.checkpointUri, "another");
    expect((await handler.read(ID, before)).status).not.toBe("completed");
  });
});

describe("delete", () => {
  test("stops an active run and removes nothing", async () => {
    backend.runs.set(ID, running(inputs));
    backend.complete(inputs.checkpointUri, inputs.fingerprint);
    await handler.delete(ID, inputs as RunOutputs);
    expect(backend.terminated).toEqual([{ name: ID, reason: "its resource was deleted or replaced", byHand: false }]);
    expect(backend.checkpoints).toEqual(new Set([`${inputs.checkpointUri}/checkpoint_best`]));
    expect(backend.completions.size).toBe(1);
  });

  test("of a run that is over does nothing", async () => {
    const before = await completed();
    await handler.delete(ID, before);
    expect(backend.terminated).toEqual([]);
  });
});
