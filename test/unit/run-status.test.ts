import type { RunInfo } from "../../launcher/vessl/api.ts";
import {
  isDuplicate,
  isOver,
  MESSAGES,
  progressOf,
  usedSecondsOf,
  verdictOf,
} from "../../launcher/vessl/run-status.ts";

const START = 1_000_000;

function info(change: Partial<RunInfo>): RunInfo {
  return {
    id: "1",
    title: "wmtp-prod-ntp-01234567",
    description: "",
    status: "running",
    statusReason: "",
    message: "",
    tags: [],
    createdAt: START,
    histories: [],
    ...change,
  };
}

test.each([
  ["queued", "queued for 2m 5s"],
  ["pending", "pending for 2m 5s"],
  ["initializing", "initializing for 2m 5s"],
  ["hibernating", 'the cloud says "hibernating"'],
  ["idle", 'the cloud says "idle"'],
  ["stopping", 'the cloud says "stopping"'],
  ["waitToBeKilled", 'the cloud says "waitToBeKilled"'],
])("%s goes on, and says what it waits for", (status, waiting) => {
  expect(isOver({ status })).toBe(false);
  expect(progressOf(info({ status }), START + 125_000)).toEqual({ status: "running", waiting });
});

test("queued, with what the cloud says about it", () => {
  const run = info({ status: "queued", statusReason: "insufficient GPUs" });
  expect(progressOf(run, START).waiting).toBe("queued for 0s (insufficient GPUs)");
});

test("running: the deadline counts from when it left the queue", () => {
  const histories = [
    { status: "queued", message: "", startedAt: START },
    { status: "running", message: "", startedAt: START + 60_000 },
  ];
  expect(progressOf(info({ histories }), START + 90_000)).toEqual({ status: "running", runningSeconds: 30 });
});

test("a clock ahead of ours has it run for no time, and not for less", () => {
  const histories = [{ status: "running", message: "", startedAt: START + 5000 }];
  expect(progressOf(info({ histories }), START)).toEqual({ status: "running", runningSeconds: 0 });
});

describe("seconds that it ran", () => {
  const at = (status: string, seconds: number) => ({ status, message: "", startedAt: START + seconds * 1000 });
  const queued = [at("queued", 0), at("initializing", 30)];

  test.each<[string, Partial<RunInfo>, number]>([
    ["waits", { status: "initializing", histories: queued }, 0],
    ["runs", { histories: [...queued, at("running", 60)] }, 40],
    [
      "is over, however long ago",
      { status: "terminated", histories: [...queued, at("running", 60), at("stopping", 70), at("terminated", 75)] },
      15,
    ],
    ["is over and never ran", { status: "failed", histories: [...queued, at("failed", 90)] }, 0],
    [
      "runs, and the cloud does not say since when",
      { histories: [{ status: "running", message: "", startedAt: 0 }] },
      0,
    ],
    ["is over, and the cloud keeps no end", { status: "failed", histories: [at("running", 60)] }, 0],
  ])("of one that %s", (_, change, seconds) => {
    expect(usedSecondsOf(info(change), START + 100_000)).toBe(seconds);
  });

  test("a start that is not known is no deadline that passed", () => {
    expect(progressOf(info({ histories: [{ status: "running", message: "", startedAt: 0 }] }), START)).toEqual({
      status: "running",
    });
  });
});

const exit = (code: number, message: string) =>
  `[wmtp] ${JSON.stringify({ event: "exit", code, message, remedy: "look" })}`;

test.each([
  ["completed", {}, [], { status: "completed", retryable: false, cancelled: false }],
  [
    "failed by the program",
    { status: "failed" },
    [exit(1, "KeyError: 'x'")],
    { status: "failed", retryable: false, cancelled: false, reason: "KeyError: 'x'; look" },
  ],
  [
    "failed, stopped from outside",
    { status: "failed" },
    [exit(75, "stopped by SIGTERM")],
    { status: "failed", retryable: true, reason: "preempted: it was stopped from outside" },
  ],
  [
    "failed, the machine was taken away",
    { status: "failed", statusReason: "Preempted: spot node reclaimed" },
    [],
    { status: "failed", retryable: true, cancelled: false, reason: "preempted: Preempted: spot node reclaimed" },
  ],
  [
    "terminated, the machine was taken away",
    { status: "terminated", statusReason: "Preempted: spot node reclaimed" },
    [],
    { status: "failed", retryable: true, cancelled: false },
  ],
  [
    "failed, killed for memory",
    { status: "failed", statusReason: "exit code 137" },
    [],
    { status: "failed", retryable: false, reason: expect.stringMatching(/^out of memory/) },
  ],
  [
    "failed, the image could not be pulled",
    { status: "failed", statusReason: "ErrImagePull: pull access denied" },
    [],
    { status: "failed", retryable: false, reason: expect.stringMatching(/^image pull refused .*pullCredential/) },
  ],
  [
    "failed, its deadline passed in the container",
    { status: "failed" },
    ['[wmtp] {"event":"deadline","seconds":60}'],
    { status: "failed", retryable: false, reason: expect.stringMatching(/^deadline passed/) },
  ],
  [
    "terminated by somebody",
    { status: "terminated" },
    [],
    { status: "terminated", cancelled: true, reason: "terminated on the cloud, not by pulumi" },
  ],
  [
    "stopped",
    { status: "stopped", statusReason: "quota" },
    [],
    { status: "failed", retryable: false, cancelled: false, reason: "stopped by the cloud: quota" },
  ],
  [
    "terminated by us",
    { status: "terminated", message: `${MESSAGES.stopped}superseded` },
    [],
    { status: "terminated", retryable: false, cancelled: false, reason: "superseded" },
  ],
  [
    "cancelled",
    { status: "terminated", message: `${MESSAGES.cancelled}wmtp cancel` },
    [],
    { status: "terminated", retryable: false, cancelled: true, reason: "wmtp cancel" },
  ],
  [
    "cancelled, and to be retried",
    { status: "terminated", message: `${MESSAGES.retried}wmtp retry` },
    [],
    { status: "terminated", retryable: false, cancelled: false, reason: "wmtp retry" },
  ],
])("%s", (_, change, log, verdict) => {
  const run = info({ status: "completed", ...change });
  expect(isOver(run)).toBe(true);
  expect(verdictOf(run, log)).toMatchObject(verdict);
});

test("the loser of a race counts for nothing", () => {
  expect(isDuplicate(info({ message: `${MESSAGES.duplicate}7` }))).toBe(true);
  expect(isDuplicate(info({ message: "" }))).toBe(false);
});
