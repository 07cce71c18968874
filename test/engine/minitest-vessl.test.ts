/**
 * minitest on the GPU cloud, end to end with the real trainer: the engine, the launcher, a stub of the cloud that executes runs in
 * containers, a real S3 server and a real MLflow. A machine is taken away in the middle; critic's checkpoint reaches verifiable
 * through the bucket. Two workers and gloo stand for GPUs and nccl.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Layout } from "../../launcher/local/layout.ts";
import { LocalTracker } from "../../launcher/local/tracker.ts";
import { makeCloudStack } from "../support/cloud-stack.ts";
import type { EngineStack } from "../support/engine-stack.ts";
import { eventually } from "../support/eventually.ts";
import { VesslCloud } from "../support/vessl-cloud.ts";

jest.setTimeout(600_000);
const PIPELINES = {
  critic: { gpus: 2, overrides: { "critic.train_trunk": true, "training.max_steps": 20 } },
  verifiable: { gpus: 2 },
  ntp: { gpus: 1, effectiveBatch: 4 },
};

let cloud: VesslCloud;
let stack: EngineStack;
let tracker: LocalTracker;
const home = mkdtempSync(join(tmpdir(), "wmtp-tracker-"));
beforeAll(async () => {
  cloud = await VesslCloud.start({ trainer: "real" });
  tracker = new LocalTracker(new Layout(home));
  const trackerUrl = await tracker.chooseUrl("cloud", undefined);
  await tracker.ensure("cloud", trackerUrl, () => undefined);
  stack = await makeCloudStack("minitest-vessl", cloud, {
    trackerUrl,
    realTrainer: true,
    config: {
      "wmtp:pipelines": PIPELINES,
      // The machine has two cores: side by side nothing would be faster.
      "wmtp:launcher.maxParallel": 1,
      "wmtp:overrides.distributed\\.backend": "gloo",
      "wmtp:overrides.distributed\\.compute_backend": "cpu",
    },
  });
});
afterAll(async () => {
  stack?.dispose();
  await tracker?.stop("cloud");
  await cloud?.dispose();
  rmSync(home, { recursive: true, force: true });
});

const steps = (pipeline: string) =>
  Object.keys(cloud.bucketFiles(`checkpoints/prod/experiments/minitest-vessl/${pipeline}/`)).filter((path) =>
    path.endsWith("COMMITTED"),
  );

test("trains, loses a machine, resumes from the bucket, hands the critic over, and reports to the tracker", async () => {
  const up = stack.startUp();
  let text = "";
  up.stdout?.on("data", (chunk) => {
    text += chunk;
  });
  const ended = new Promise<number | null>((resolve) => up.on("exit", resolve));
  await eventually(() => steps("critic").length > 0, 180_000);
  const critic = (await cloud.runs()).find(({ run_spec }) => run_spec.title.includes("-critic-"));
  await cloud.preempt(String(critic?.id));
  expect({ code: await ended, text }).toMatchObject({ code: 0 });
  expect(text).toContain("critic: preempted: Preempted: spot node reclaimed; resuming (1 of 2)");
  expect(text).toMatch(/critic: 20 steps, loss \d\.\d+ -> \d\.\d+/);

  const runs = stack.runs();
  expect(runs.critic).toMatchObject({ status: "completed", attempts: 2, steps: 20 });
  expect((await cloud.runLog(runs.critic?.name as string)).join("\n")).toMatch(/"resumed_from": ?\d+/);
  for (const pipeline of ["verifiable", "ntp"]) {
    const run = runs[pipeline];
    expect(run).toMatchObject({ status: "completed", attempts: 1, steps: 10 });
    expect(run?.finalLoss as number).toBeLessThan(run?.firstLoss as number);
  }
  const [, host, id] = /^(http:\/\/[^/]+)\/.*\/runs\/(\w+)$/.exec(
    runs.verifiable?.mlflowRunUrl as string,
  ) as RegExpExecArray;
  const response = await fetch(`${host}/api/2.0/mlflow/runs/get?run_id=${id}`);
  const { run } = (await response.json()) as { run: { info: { status: string }; data: { tags: { key: string }[] } } };
  expect(run.info.status).toBe("FINISHED");
  expect(run.data.tags.map(({ key }) => key)).toContain("wmtp.provenance.image");
});

test("the same again trains nothing", async () => {
  expect(stack.mustRun("up", "--yes", "--skip-preview")).not.toMatch(/(created|updated)$/m);
  expect(await cloud.runs()).toHaveLength(4);
});
