/**
 * A stack's life on the real engine: what trains, what does not, what survives. The trainer is a stand-in that keeps its contract;
 * the tests run in order on one stack, as a person would use it.
 */
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { EngineStack } from "../support/engine-stack.ts";

const ALL = ["baseline", "critic", "ntp", "rho1", "verifiable"];
let stack: EngineStack;

jest.setTimeout(300_000);
beforeAll(() => {
  stack = new EngineStack("life");
});
afterAll(() => stack.dispose());

test("the first up trains each pipeline once, verifiable after critic", () => {
  const { code, text } = stack.up();
  expect({ code, text }).toMatchObject({ code: 0 });
  const order = stack.trained().map((line) => line.split(" ")[0]);
  expect([...order].sort()).toEqual(ALL);
  expect(order.indexOf("verifiable")).toBeGreaterThan(order.indexOf("critic"));
  expect(Object.values(stack.runs()).map(({ status }) => status)).toEqual(Array(5).fill("completed"));
});

test("a second up changes nothing and trains nothing", () => {
  const before = stack.trained();
  const { code, text } = stack.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes");
  expect({ code, text }).toMatchObject({ code: 0 });
  expect(stack.trainedSince(before)).toEqual([]);
});

test("a comment or a changed experiment path trains nothing", () => {
  const before = stack.trained();
  stack.configure({ "wmtp:tracking.experiment": "weighted-mtp/renamed" });
  const { code, text } = stack.up();
  expect({ code, text }).toMatchObject({ code: 0 });
  expect(text).toContain("5 updated");
  expect(stack.trainedSince(before)).toEqual([]);
});

let original: string;

test("a changed override trains that pipeline, and nothing that does not depend on it", () => {
  original = stack.configuration();
  const before = stack.trained();
  stack.configure({ "wmtp:pipelines.baseline.overrides": { "training.learning_rate": 0.001 } });
  expect(stack.up().code).toBe(0);
  expect(stack.trainedSince(before)).toEqual(["baseline"]);
});

test("a changed critic trains verifiable as well", () => {
  const before = stack.trained();
  stack.configure({ "wmtp:pipelines.critic.overrides": { "training.learning_rate": 0.001 } });
  expect(stack.up().code).toBe(0);
  expect(stack.trainedSince(before)).toEqual(["critic", "verifiable"]);
});

test("back to the old configuration: everything is adopted, nothing trains", () => {
  const before = stack.trained();
  stack.restore(original);
  expect(stack.up().code).toBe(0);
  expect(stack.trainedSince(before)).toEqual([]);
  expect(Object.values(stack.runs()).map(({ status }) => status)).toEqual(Array(5).fill("completed"));
});

test("a rerun token trains again", () => {
  const before = stack.trained();
  stack.configure({ "wmtp:pipelines.ntp.rerun": "2" });
  expect(stack.up().code).toBe(0);
  expect(stack.trainedSince(before)).toEqual(["ntp"]);
});

test("a deleted volume is noticed by refresh and filled again; no run trains", () => {
  const before = stack.trained();
  const volume = join(stack.home, "local", "volumes", "local-storage", "wmtp-minitest-models");
  rmSync(volume, { recursive: true });
  expect(stack.pulumi("refresh", "--yes", "--skip-preview").text).toContain("2 deleted");
  expect(stack.up().code).toBe(0);
  expect(existsSync(join(volume, "tiny-mtp", "model.safetensors"))).toBe(true);
  expect(stack.trainedSince(before)).toEqual([]);
});

test("a dead tracker is healed by the next up, at the same address", () => {
  const url = stack.state().deployment.resources.find(({ type }) => type === "launcher:index:TrackingServer")?.outputs
    .url as string;
  for (const { pid, command } of stack.processes()) if (command.includes("mlflow")) process.kill(pid, "SIGKILL");
  const { code, text } = stack.up();
  expect({ code, text }).toMatchObject({ code: 0 });
  expect(text).toContain("tracker");
  return expect(fetch(`${url}/health`).then((response) => response.status)).resolves.toBe(200);
});

test("a failed critic leaves verifiable unstarted; the others finish; the next up tries again", () => {
  stack.fail("critic", "RuntimeError: CUDA out of memory. Tried to allocate 2 GiB");
  stack.configure({ "wmtp:overrides.training\\.weight_decay": 0.1 });
  const before = stack.trained();
  const { code, text } = stack.up();
  expect(code).not.toBe(0);
  expect(text).toContain("out of memory");
  expect(text).toContain("batch_size");
  expect(stack.trainedSince(before)).toEqual(["baseline", "critic", "ntp", "rho1"]);
  expect(stack.runs().critic).toMatchObject({ status: "failed", attempts: 1 });

  const { text: outputs } = stack.wmtp("outputs");
  expect(JSON.parse(outputs).runs.critic).toMatchObject({ status: "failed" });
  expect(JSON.parse(outputs).runs.baseline).toMatchObject({ status: "completed", firstLoss: 10, finalLoss: 1 });
});

test("refresh does not turn a failed run green", () => {
  expect(stack.pulumi("refresh", "--yes", "--skip-preview").code).toBe(0);
  expect(stack.runs().critic).toMatchObject({ status: "failed" });
  const preview = stack.pulumi("preview");
  expect(preview.text).toContain("attempt 2; last: out of memory");
  stack.fail("critic", undefined);
  const before = stack.trained();
  expect(stack.up().code).toBe(0);
  expect(stack.trainedSince(before)).toEqual(["critic", "verifiable"]);
  expect(stack.runs().critic).toMatchObject({ status: "completed", attempts: 2 });
});

test("destroy leaves no process, and keeps the checkpoints", () => {
  const { code, text } = stack.pulumi("destroy", "--yes", "--skip-preview");
  expect({ code, text }).toMatchObject({ code: 0 });
  expect(stack.processes()).toEqual([]);
  expect(existsSync(join(stack.data, "checkpoints", "critic"))).toBe(true);
});
