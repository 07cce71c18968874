/**
 * The real trainer under the real engine: two worker processes (gloo, FSDP) and one; killed in the middle, it ends with the very curve of
 * an undisturbed run. Maths and learning are the trainer's own tests; this is about the two meeting.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { descendants, EngineStack, isLive } from "../support/engine-stack.ts";

/** Long enough to be caught between two checkpoints. */
const PIPELINES = {
  baseline: { gpus: 2, overrides: { "training.max_steps": 20 } },
  ntp: { gpus: 1, effectiveBatch: 8 },
};
let calm: EngineStack;
let hurt: EngineStack;

jest.setTimeout(420_000);
beforeAll(() => {
  const config = { "wmtp:pipelines": PIPELINES };
  calm = new EngineStack("calm", { config, realTrainer: true });
  hurt = new EngineStack("hurt", { config, realTrainer: true });
});
afterAll(() => {
  calm.dispose();
  hurt.dispose();
});

const curve = (stack: EngineStack, pipeline: string) =>
  readFileSync(
    join(stack.data, "checkpoints", pipeline, stack.runs()[pipeline]?.fingerprint as string, "curve.jsonl"),
    "utf8",
  )
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

/** Step checkpoints of the stack to be hurt, complete ones only. */
function committed(pipeline: string): string[] {
  const checkpoints = join(hurt.data, "checkpoints", pipeline);
  if (!existsSync(checkpoints)) return [];
  return readdirSync(checkpoints, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith("COMMITTED"));
}

/** [step, loss] as the tracker has them. */
async function tracked(stack: EngineStack, pipeline: string): Promise<[number, number][]> {
  const url = stack.runs()[pipeline]?.mlflowRunUrl as string;
  const [, host, run] = /^(http:\/\/[^/]+)\/.*\/runs\/(\w+)$/.exec(url) as RegExpExecArray;
  const response = await fetch(`${host}/api/2.0/mlflow/metrics/get-history?run_id=${run}&metric_key=loss`);
  const { metrics } = (await response.json()) as { metrics: { step: number; value: number }[] };
  return metrics.map(({ step, value }) => [step, value]);
}

test("an undisturbed up learns", () => {
  const { code, text } = calm.up();
  expect({ code, text }).toMatchObject({ code: 0 });
  for (const run of Object.values(calm.runs())) {
    expect(run).toMatchObject({ status: "completed", attempts: 1, effectiveBatch: 8 });
    expect(run.steps).toBeGreaterThanOrEqual(10);
    expect(run.finalLoss as number).toBeLessThan(run.firstLoss as number);
  }
});

test("a worker killed in the middle: resumed by the same up, same curve, nothing logged twice", async () => {
  const up = hurt.startUp();
  let text = "";
  up.stdout?.on("data", (chunk) => {
    text += chunk;
  });
  const ended = new Promise<number | null>((resolve) => up.on("exit", resolve));
  const trainer = () => hurt.processes().find(({ command }) => command.includes("torch.distributed.run"));
  await hurt.until("baseline has a checkpoint", () => committed("baseline").length > 0, 180_000);
  const workers = descendants(trainer()?.pid as number).filter((pid) =>
    readFileSync(`/proc/${pid}/cmdline`, "latin1").includes("run_baseline"),
  );
  expect(workers).toHaveLength(2);
  process.kill(workers[1] as number, "SIGKILL");
  expect({ code: await ended, text }).toMatchObject({ code: 0 });
  expect(text).toContain("resuming (1 of 2)");
  expect(workers.filter(isLive)).toEqual([]);
  expect(hurt.runs().baseline).toMatchObject({ status: "completed", attempts: 2 });

  const losses = (stack: EngineStack) => curve(stack, "baseline").map(({ step, loss }) => [step, loss]);
  expect(losses(hurt)).toEqual(losses(calm));
  expect(await tracked(hurt, "baseline")).toEqual(await tracked(calm, "baseline"));
  expect(hurt.runs().baseline?.finalLoss).toBe(calm.runs().baseline?.finalLoss);
});
