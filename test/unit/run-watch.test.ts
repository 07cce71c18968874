import type { RunState } from "../../launcher/backend.ts";
import { Detached, Refused } from "../../launcher/errors.ts";
import { watchRun } from "../../launcher/resources/run-watch.ts";
import { FakeBackend, running } from "../support/fake-backend.ts";
import { RecordedLog, runInputs } from "../support/run-inputs.ts";

const inputs = runInputs();
const FIRST: RunState = running(inputs);
const OVER: RunState = { ...FIRST, status: "completed" };

/** A place that says, look by look, what is given; an Error is thrown. */
class ScriptedBackend extends FakeBackend {
  private readonly script: (RunState | Error | undefined)[];
  constructor(...looks: (RunState | Error | undefined)[]) {
    super();
    this.script = looks;
  }
  /** A minute by the clock, and no time at all. */
  override pollMs(): number {
    now += 60_000;
    return 1;
  }
  override async findRun(): Promise<RunState | undefined> {
    const look = this.script.shift();
    if (look instanceof Error) throw look;
    return look;
  }
}

function watch(backend: FakeBackend) {
  const log = new RecordedLog();
  const stop = new AbortController();
  const seen: RunState[] = [];
  const over = watchRun(backend, inputs, FIRST, { urn: "urn", log }, stop.signal, (state) => seen.push(state));
  over.catch(() => undefined);
  return { over, log, stop, seen };
}

let now = 0;
beforeEach(() => {
  jest.spyOn(Date, "now").mockImplementation(() => now);
});
afterEach(() => jest.restoreAllMocks());

test("what it waits for is shown before its progress", async () => {
  const { over, log, seen } = watch(new ScriptedBackend({ ...FIRST, waiting: "queued for 3m 0s" }, OVER));
  await expect(over).resolves.toEqual(OVER);
  expect(log.lines).toEqual(["status: baseline: starting", "status: baseline: queued for 3m 0s"]);
  expect(seen).toHaveLength(2);
});

test("a place that does not answer for a while is asked again", async () => {
  const silent = Array.from({ length: 5 }, () => new Error("cannot be reached"));
  const { over, log } = watch(new ScriptedBackend(...silent, OVER));
  await expect(over).resolves.toEqual(OVER);
  expect(log.lines.at(-2)).toMatch(/^status: baseline: no answer for .*, asking again \(cannot be reached\)$/);
});

test("one that is busy, too", async () => {
  await expect(watch(new ScriptedBackend(new Refused("503", true), OVER)).over).resolves.toEqual(OVER);
});

test("one that is silent for too long is left; the run goes on", async () => {
  const { over } = watch(new ScriptedBackend(...Array.from({ length: 60 }, () => new Error("cannot be reached"))));
  await expect(over).rejects.toThrow(Detached);
  await expect(over).rejects.toThrow(/^no answer for \d+m \d+s \(cannot be reached\)$/);
});

test("a refusal ends the wait at once, with its words", async () => {
  const { over } = watch(new ScriptedBackend(new Refused("the login has expired", false)));
  await expect(over).rejects.toEqual(new Detached("the login has expired"));
});

test("a run without a record is lost, and resumed", async () => {
  const { over } = watch(new ScriptedBackend(undefined));
  await expect(over).resolves.toMatchObject({ status: "lost", retryable: true });
});

test("a run that did not end at its deadline is ended from here", async () => {
  const late = { ...FIRST, runningSeconds: inputs.maxDurationSeconds + 301 };
  const backend = new ScriptedBackend(late, OVER);
  backend.runs.set(inputs.name, FIRST);
  await watch(backend).over;
  expect(backend.terminated).toEqual([
    { name: inputs.name, reason: expect.stringMatching(/^deadline passed/), byHand: false },
  ]);
});

test("a run within its deadline is not", async () => {
  const backend = new ScriptedBackend({ ...FIRST, runningSeconds: inputs.maxDurationSeconds + 299 }, OVER);
  backend.runs.set(inputs.name, FIRST);
  await watch(backend).over;
  expect(backend.terminated).toEqual([]);
});

test("what stops the wait is what it throws", async () => {
  const { over, stop } = watch(new ScriptedBackend(FIRST, FIRST, FIRST));
  stop.abort(new Detached("cancelled"));
  await expect(over).rejects.toEqual(new Detached("cancelled"));
});
