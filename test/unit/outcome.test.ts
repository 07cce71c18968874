import { type Ending, outcomeOf } from "../../launcher/outcome.ts";

const ending = (change: Partial<Ending>): Ending => ({ exitCode: 1, signal: null, deadlinePassed: false, ...change });
/** The end of what torchrun says: it exits 1 whatever its workers did. */
const torchrun = (exitcode: number) => [
  "============================================================",
  "Root Cause (first observed failure):",
  "[0]:",
  "  time      : 2026-01-01_00:00:00",
  "  rank      : 1 (local_rank: 1)",
  `  exitcode  : ${exitcode} (pid: 1234)`,
  "============================================================",
];
const PREEMPTED = { status: "failed", retryable: true, reason: "preempted: it was stopped from outside" };

test("exit code 0 is completion, whatever the log says", () => {
  expect(outcomeOf(ending({ exitCode: 0 }), ["CUDA out of memory"])).toEqual({ status: "completed", retryable: false });
});

test("a passed deadline is nobody's preemption, although it ends by a signal", () => {
  expect(outcomeOf({ exitCode: null, signal: "SIGTERM", deadlinePassed: true }, [])).toEqual({
    status: "failed",
    retryable: false,
    reason: "deadline passed: it ran longer than maxDuration; raise that, then run pulumi up to resume",
  });
});

test("a run that completed in its last second has completed", () => {
  expect(outcomeOf({ exitCode: 0, signal: null, deadlinePassed: true }, []).status).toBe("completed");
});

test.each(["SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"])("%s comes from outside: resume", (signal) => {
  expect(outcomeOf(ending({ exitCode: null, signal }), [])).toEqual(PREEMPTED);
});

test.each([75, 76])("the trainer exits %d when it was asked to stop: resume", (exitCode) => {
  expect(outcomeOf(ending({ exitCode }), [])).toEqual(PREEMPTED);
});

test.each([-9, -15, 75, 76])("torchrun exits 1, its first failed worker with %d: resume", (code) => {
  expect(outcomeOf(ending({}), torchrun(code))).toEqual(PREEMPTED);
});

test("a crash is the program's own: not resumed", () => {
  expect(outcomeOf(ending({ exitCode: null, signal: "SIGSEGV" }), [])).toEqual({
    status: "failed",
    retryable: false,
    reason: "signal SIGSEGV",
  });
});

test("a program error names its exit code; a worker's own one where torchrun only says 1", () => {
  expect(outcomeOf(ending({ exitCode: 3 }), ["whatever"])).toEqual({
    status: "failed",
    retryable: false,
    reason: "exit code 3",
  });
  expect(outcomeOf(ending({}), torchrun(2))).toEqual({ status: "failed", retryable: false, reason: "exit code 2" });
});

test("a known cause comes with its remedy", () => {
  expect(outcomeOf(ending({}), ["torch.OutOfMemoryError: CUDA out of memory"])).toEqual({
    status: "failed",
    retryable: false,
    reason:
      "out of memory (exit code 1); halve training.batch_size and double training.gradient_accumulation_steps: the effective batch stays the same",
  });
});

test("a known cause that is the infrastructure's is resumed", () => {
  expect(outcomeOf(ending({}), ["Watchdog caught collective operation timeout"])).toEqual({
    status: "failed",
    retryable: true,
    reason: "NCCL time-out (exit code 1); a rank hung or died: look for its first error above",
  });
});

describe("the trainer's own last words", () => {
  const said = (event: object) => `[wmtp] ${JSON.stringify({ event: "exit", ...event })}`;

  test("are the reason, with their remedy, where no cause is known", () => {
    const log = [said({ code: 2, message: "no such file: x.jsonl", remedy: "prepare the data" }), ...torchrun(1)];
    expect(outcomeOf(ending({}), log)).toEqual({
      status: "failed",
      retryable: false,
      reason: "no such file: x.jsonl; prepare the data",
    });
    expect(outcomeOf(ending({}), [said({ code: 1, message: "KeyError" })]).reason).toBe("KeyError");
    expect(outcomeOf(ending({}), [said({ code: 2 })]).reason).toBe("exit code 2");
  });

  test.each([75, 76])("exit %d of theirs is preemption although torchrun says 1", (code) => {
    expect(outcomeOf(ending({}), [said({ code }), ...torchrun(1)])).toEqual(PREEMPTED);
  });

  test("do not outweigh a worker that was killed before", () => {
    const log = [said({ code: 1, message: "connection closed by peer" }), ...torchrun(-9)];
    expect(outcomeOf(ending({}), log)).toEqual(PREEMPTED);
  });

  test("do not make a worker's crash a preemption", () => {
    expect(outcomeOf(ending({}), torchrun(-11))).toEqual({
      status: "failed",
      retryable: false,
      reason: "exit code -11",
    });
  });

  test("count by the last of them", () => {
    const log = [said({ code: 1, message: "first" }), said({ code: 1, message: "last" })];
    expect(outcomeOf(ending({}), log).reason).toBe("last");
  });
});

test("torchrun that was told to stop itself exits 1 without naming a worker: resume", () => {
  const log = ["torch.distributed.elastic.multiprocessing.api.SignalException: Process 4711 got signal: 15"];
  expect(outcomeOf(ending({}), log)).toEqual(PREEMPTED);
});

describe("what the trainer says last counts before what its log holds", () => {
  const exit = (message: string) => `[wmtp] ${JSON.stringify({ event: "exit", code: 1, message, remedy: "look" })}`;

  test("a warning about the tracker does not make a program error one of the infrastructure", () => {
    const log = ["Retrying: MlflowException: connection refused", exit("KeyError: 'reward'")];
    expect(outcomeOf(ending({}), log)).toMatchObject({ status: "failed", retryable: false });
  });

  test("a tracker that could not be reached is", () => {
    const log = [exit("the MLflow server https://t failed: MlflowException: Max retries exceeded")];
    expect(outcomeOf(ending({}), log)).toMatchObject({ status: "failed", retryable: true });
  });

  test.each([
    "ImportError: Failed to import transformers: symbol not found",
    "WARNING: import of flash_attn failed",
    "ERROR: dataset volume statistics failed assertion",
    "MlflowException: INVALID_PARAMETER_VALUE: no such experiment",
    "MlflowException: Changing param values is not allowed",
  ])("not retried: %s", (line) => {
    expect(outcomeOf(ending({}), [line])).toMatchObject({ status: "failed", retryable: false });
  });
});
