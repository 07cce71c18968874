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
