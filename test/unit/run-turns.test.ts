/** How many runs the conductor keeps active at a time, and whose turn it is. */
import { Detached } from "../../launcher/errors.ts";
import type { RunInputs } from "../../launcher/resources/run.ts";
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
const baseline = runInputs();
afterEach(stopAll);
beforeEach(() => {
  backend = new FakeBackend();
  conductor = new RunConductor(backend, new Slots());
});

const bring = (inputs: RunInputs) => conductor.bringToCompletion(inputs, callContext().context);

const inputs = (maxParallel: number) =>
  ["critic", "baseline", "rho1", "ntp", "verifiable"].map((pipeline) => runInputs({ pipeline, maxParallel }));

test.each([1, 2])("never more than maxParallel %d are active, and each runs once", async (maxParallel) => {
  const done = await Promise.all(inputs(maxParallel).map(bring));
  expect(done.map(({ status }) => status)).toEqual(Array(5).fill("completed"));
  expect(backend.peak).toBe(maxParallel);
  expect(backend.submissions).toHaveLength(5);
});

test("first come, first served", async () => {
  await Promise.all(inputs(1).map(bring));
  expect(backend.submissions.map(({ pipeline }) => pipeline)).toEqual([
    "critic",
    "baseline",
    "rho1",
    "ntp",
    "verifiable",
  ]);
});

test("a failed run gives its slot back", async () => {
  backend.ends.critic = [BROKEN];
  const results = await Promise.allSettled(inputs(1).map(bring));
  expect(results.map(({ status }) => status)).toEqual(["rejected", ...Array(4).fill("fulfilled")]);
});

test("a retried run keeps its slot", async () => {
  backend.ends.critic = [PREEMPTED, "completes"];
  await Promise.all(inputs(1).map(bring));
  expect(backend.submissions.map(({ pipeline }) => pipeline).slice(0, 3)).toEqual(["critic", "critic", "baseline"]);
  expect(backend.peak).toBe(1);
});

test("a run that an earlier launcher left counts, and who waits says for whom", async () => {
  backend.runs.set("left", running({ name: "left", pipeline: "ntp" }));
  const { context, log } = callContext();
  const work = conductor.bringToCompletion(baseline, context);
  await eventually(() => log.lines.length > 0);
  expect(log.lines).toEqual(["status: baseline waits for ntp (maxParallel 1)"]);
  expect(backend.submissions).toEqual([]);
  backend.finish("left", BROKEN);
  expect((await work).status).toBe("completed");
});

test("one that runs already needs no slot: it only gets attached to", async () => {
  backend.runs.set("left", running({ name: "left", pipeline: "ntp" }));
  backend.runs.set(baseline.name, running(baseline));
  const { context, log } = callContext();
  const work = conductor.bringToCompletion(baseline, context);
  await eventually(() => log.lines.length >= 2);
  expect(log.lines[0]).toBe("info: baseline: attached to attempt 1, which was still running");
  backend.complete(baseline.checkpointUri, baseline.fingerprint);
  backend.finish(baseline.name, "completes");
  expect((await work).status).toBe("completed");
  expect(backend.submissions).toEqual([]);
});

test("who detaches while waiting leaves the queue to the others", async () => {
  backend.ends.critic = ["hangs"];
  const [critic, second, third] = inputs(1) as [RunInputs, RunInputs, RunInputs];
  const first = callContext();
  const holding = conductor.bringToCompletion(critic, first.context).catch(() => "detached");
  await eventually(() => backend.submissions.length > 0);
  const leaving = callContext();
  const left = conductor.bringToCompletion(second, leaving.context).catch((reason: Error) => reason.message);
  const staying = bring(third);
  leaving.stop(new Detached("cancelled"));
  expect(await left).toBe("cancelled: baseline has not started yet; run pulumi up again to attach");
  backend.finish(critic.name as string, "completes");
  expect(await holding).not.toBe("detached");
  expect((await staying).status).toBe("completed");
});
