/**
 * Killed in the middle, each part in turn, then `up` again: no run trained twice, none lost, none orphaned. The stand-in trainer keeps
 * its step on disk and appends every step to its curve, so a step trained twice or never shows.
 */

import type { ChildProcess } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readJson } from "../../launcher/local/layout.ts";
import { runFiles, type Supervision } from "../../launcher/local/run-files.ts";
import { descendants, EngineStack, isLive } from "../support/engine-stack.ts";

/** A critic of this long leaves time to be killed in its middle, and to be looked at (tenths of a second). */
const LONG = { "training.seed": 150 };
let stack: EngineStack;
let round = 0;

jest.setTimeout(300_000);
beforeAll(() => {
  stack = new EngineStack("kill", {
    config: { "wmtp:pipelines": { critic: { gpus: 2, overrides: LONG }, verifiable: { gpus: 1 } } },
  });
});
afterAll(() => stack.dispose());

interface Started {
  readonly up: ChildProcess;
  readonly text: () => string;
  readonly ended: Promise<number | null>;
  readonly before: readonly string[];
  readonly supervision: Supervision;
  readonly directory: string;
}

/** A new critic, caught in the middle of its training. */
async function caughtTraining(): Promise<Started> {
  round += 1;
  stack.configure({ "wmtp:pipelines.critic.rerun": String(round) });
  const before = stack.trained();
  const up = stack.startUp();
  let text = "";
  up.stdout?.on("data", (chunk) => (text += chunk));
  up.stderr?.on("data", (chunk) => (text += chunk));
  const ended = new Promise<number | null>((resolve) => up.on("exit", (code) => resolve(code)));
  await stack.until("critic trains", () => stack.trained().length > before.length);
  const fingerprint = (stack.trained().at(-1) as string).split(" ")[1] as string;
  const directory = join(stack.data, "runs", `wmtp-kill-critic-${fingerprint.slice(0, 8)}`);
  await stack.until("critic is at its third step", () => steps(fingerprint).length >= 3);
  return {
    up,
    text: () => text,
    ended,
    before,
    supervision: readJson<Supervision>(runFiles(directory).supervision) as Supervision,
    directory,
  };
}

function steps(fingerprint: string): number[] {
  try {
    const curve = readFileSync(join(stack.data, "checkpoints", "critic", fingerprint, "curve.jsonl"), "utf8");
    return curve
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line).step);
  } catch {
    return [];
  }
}

function launcherOf(up: ChildProcess): number {
  const launcher = descendants(up.pid as number).find((pid) =>
    readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("launcher/main.ts"),
  );
  if (launcher === undefined) throw new Error("the engine has no launcher");
  return launcher;
}

/** What must hold after every recovery, however the run was hurt. */
function expectTrainedOnce(started: Started, starts: number): void {
  const fingerprint = stack.runs().critic?.fingerprint as string;
  expect(stack.runs().critic).toMatchObject({ status: "completed", steps: 10 });
  expect(stack.runs().verifiable).toMatchObject({ status: "completed" });
  expect(steps(fingerprint)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  expect(stack.trainedSince(started.before)).toEqual([...Array(starts).fill("critic"), "verifiable"]);
  expect(
    stack
      .processes()
      .filter(
        ({ command }) =>
          !command.includes("mlflow") && !command.includes("resource_tracker") && !command.includes("spawn_main"),
      ),
  ).toEqual([]);
}

test("kill -9 of pulumi: the run goes on, the launcher does not stay behind, the next up attaches", async () => {
  const started = await caughtTraining();
  const launcher = launcherOf(started.up);
  started.up.kill("SIGKILL");
  await started.ended;
  await stack.until("the launcher is gone", () => !isLive(launcher), 10_000);
  expect(isLive(started.supervision.trainer.pid)).toBe(true);

  expect(stack.up().text).toContain("locked");
  // What a kill between two writes of the file backend leaves.
  writeFileSync(join(stack.root, "state", ".pulumi", "stacks", "wmtp", "kill.json.attrs"), "");
  expect(stack.pulumi("stack", "export").text).toContain("failed to load checkpoint: EOF");
  const recovered = stack.wmtp("recover");
  expect(recovered.text).toContain("half written beside the state");
  expect(recovered.text).toContain("removed the lock of a pulumi that was killed");
  expect(recovered.text).toContain("cleared 1 create(s)");
  const { code, text } = stack.up();
  expect({ code, text }).toMatchObject({ code: 0 });
  expectTrainedOnce(started, 1);
});

test("kill -9 of the launcher: up fails, the run goes on, the next up attaches", async () => {
  const started = await caughtTraining();
  process.kill(launcherOf(started.up), "SIGKILL");
  expect(await started.ended).not.toBe(0);
  expect(isLive(started.supervision.trainer.pid)).toBe(true);
  const { code, text } = stack.up();
  expect({ code, text }).toMatchObject({ code: 0 });
  expectTrainedOnce(started, 1);
});

test("kill -9 of the trainer: the same up resumes it", async () => {
  const started = await caughtTraining();
  process.kill(started.supervision.trainer.pid, "SIGKILL");
  expect({ code: await started.ended, text: started.text() }).toMatchObject({ code: 0 });
  expect(started.text()).toContain("resuming (1 of 2)");
  expectTrainedOnce(started, 2);
});

test("kill -9 of the supervisor takes the trainer with it; the same up resumes", async () => {
  const started = await caughtTraining();
  process.kill(started.supervision.supervisor.pid, "SIGKILL");
  await stack.until("the trainer is gone", () => !isLive(started.supervision.trainer.pid), 5_000);
  expect({ code: await started.ended, text: started.text() }).toMatchObject({ code: 0 });
  expectTrainedOnce(started, 2);
});

test("Ctrl-C: up says that the run goes on, keeps it in the state, and the next up attaches", async () => {
  const started = await caughtTraining();
  process.kill(-(started.up.pid as number), "SIGINT"); // the whole group, as a terminal does
  expect(await started.ended).not.toBe(0);
  expect(started.text()).toContain("critic is still running; run pulumi up again to attach");
  expect(stack.runs().critic).toMatchObject({ status: "running" });
  expect(isLive(started.supervision.trainer.pid)).toBe(true);
  const { code, text } = stack.up();
  expect({ code, text }).toMatchObject({ code: 0 });
  expectTrainedOnce(started, 1);
});

test("launcher.wait runs out: detached, not failed", async () => {
  stack.configure({ "wmtp:launcher.wait": "1s" });
  const started = await caughtTraining();
  expect(await started.ended).not.toBe(0);
  expect(started.text()).toContain(
    "launcher.wait (1s) is over: critic is still running; run pulumi up again to attach",
  );
  stack.configure({ "wmtp:launcher.wait": undefined });
  const { code, text } = stack.up();
  expect({ code, text }).toMatchObject({ code: 0 });
  expectTrainedOnce(started, 1);
});

test("a run orphaned by a kill is terminated when the configuration has moved on", async () => {
  const started = await caughtTraining();
  started.up.kill("SIGKILL");
  await started.ended;
  expect(stack.wmtp("recover").text).toContain("cleared 1 create(s)");
  stack.configure({ "wmtp:pipelines.critic.rerun": "moved on" });
  const { code, text } = stack.up();
  expect({ code, text }).toMatchObject({ code: 0 });
  expect(text).toContain("was still running with an older configuration: terminating it");
  expect(isLive(started.supervision.trainer.pid)).toBe(false);
  expect(stack.runs().critic).toMatchObject({ status: "completed" });
  expect(readJson(runFiles(started.directory).stop)).toMatchObject({ byHand: false });
});

test("a run cancelled by hand stays so until wmtp retry", async () => {
  const started = await caughtTraining();
  expect(stack.wmtp("cancel", "critic")).toMatchObject({ code: 0 });
  expect(await started.ended).not.toBe(0);
  expect(started.text()).toContain("was cancelled by hand");
  expect(isLive(started.supervision.trainer.pid)).toBe(false);
  const refused = stack.up();
  expect(refused.code).not.toBe(0);
  expect(refused.text).toContain("was cancelled by hand");
  expect(refused.text).toContain("wmtp retry critic");
  expect(stack.wmtp("retry", "critic")).toMatchObject({ code: 0 });
  const { code, text } = stack.up();
  expect({ code, text }).toMatchObject({ code: 0 });
  expectTrainedOnce(started, 2);
});
