import { formatBytes, progressLine, transferLine } from "../../launcher/progress.ts";

const event = (event: object) => `[wmtp] ${JSON.stringify(event)}`;
const progress = (step: number) =>
  event({ event: "progress", step, steps: 40, loss: 0.6914, tokens_per_second: 5234.5, eta_seconds: 8 });

test("the latest progress counts, with what is around it passed over", () => {
  const log = [
    "--- attempt 1",
    event({ event: "start", steps: 40, effective_batch: 8 }),
    progress(11),
    progress(12),
    "a warning",
  ];
  expect(progressLine("critic", log)).toBe("critic 12/40, loss 0.6914, 5.2k tokens/s, ETA 8s");
});

test("below a thousand tokens a second there is no k", () => {
  const line = event({ event: "progress", step: 1, steps: 2, loss: 10, tokens_per_second: 999.4, eta_seconds: 3700 });
  expect(progressLine("ntp", [line])).toBe("ntp 1/2, loss 10.0000, 999 tokens/s, ETA 1h 1m");
});

test("a phase later than the last step is shown instead of it", () => {
  expect(progressLine("rho1", [progress(12), event({ event: "phase", name: "validate" })])).toBe("rho1: validate");
});

test("after the start, before the first step", () => {
  const log = [event({ event: "phase", name: "load" }), event({ event: "start", steps: 40, effective_batch: 8 })];
  expect(progressLine("rho1", log)).toBe("rho1: 40 steps, effective batch 8");
});

test("torchrun's rank prefix does not hide an event", () => {
  expect(progressLine("critic", [`[rank0]: ${progress(3)}`])).toBe("critic 3/40, loss 0.6914, 5.2k tokens/s, ETA 8s");
});

test("torn lines, foreign events and plain text tell nothing", () => {
  expect(progressLine("critic", [])).toBeUndefined();
  expect(
    progressLine("critic", ['[wmtp] {"event":"progr', "[wmtp] null", "[wmtp] 3", event({ event: "completed" }), "x"]),
  ).toBeUndefined();
  expect(progressLine("critic", [progress(7), progress(8).slice(0, 30)])).toContain("critic 7/40");
});

test("a transfer tells how far, how fast and how long still", () => {
  expect(transferLine(1_200_000_000, 63_000_000_000, 6)).toBe("1.2 GB of 63.0 GB, 200.0 MB/s, ETA 5m 9s");
  expect(transferLine(0, 1000, 0)).toBe("0.0 kB of 1.0 kB, 0.0 kB/s, ETA unknown");
  expect(transferLine(1000, 1000, 1)).toBe("1.0 kB of 1.0 kB, 1.0 kB/s, ETA 0s");
});

test.each([
  [0, "0.0 kB"],
  [1_000, "1.0 kB"],
  [1_000_000, "1.0 MB"],
  [1_500_000_000, "1.5 GB"],
])("%d bytes read as %s", (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

test("checkpoints that do not get away are told beside the progress, until they do", () => {
  const line = '[wmtp] {"event":"phase","name":"train"}';
  const failing = '[wmtp] {"event":"upload_failing","message":"access denied"}';
  expect(progressLine("ntp", [line, failing])).toBe("ntp: train; CHECKPOINTS ARE NOT UPLOADED (access denied)");
  expect(progressLine("ntp", [line, failing, '[wmtp] {"event":"upload_ok"}'])).toBe("ntp: train");
});
