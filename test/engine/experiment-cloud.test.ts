/** Experiments on a base on the GPU cloud: the real engine and launcher, a stub of the cloud that executes runs. */
import { CloudBase } from "../support/cloud-base.ts";
import { ExperimentStack } from "../support/experiment-stack.ts";
import { VesslCloud } from "../support/vessl-cloud.ts";

jest.setTimeout(300_000);

let cloud: VesslCloud;
let base: CloudBase;
beforeAll(async () => {
  cloud = await VesslCloud.start();
  base = await CloudBase.make(cloud);
});
afterAll(async () => {
  base?.dispose();
  await cloud?.dispose();
});

const experiment = (name: string, pipelines: Record<string, unknown>, more: Record<string, unknown> = {}) =>
  new ExperimentStack(base.holder, name, { "wmtp:base": "prod", "wmtp:pipelines": pipelines, ...more });
const keysOf = (prefix: string) => Object.keys(cloud.bucketFiles(prefix)).sort();

let trunk: ExperimentStack;
beforeAll(() => {
  trunk = experiment("trunk", { critic: { overrides: { "critic.train_trunk": true } }, rho1: { gpus: 2 } });
});

test("a preview makes nothing, and shows each run as it would be submitted", () => {
  const before = cloud.requests().length;
  const planned = trunk.planned();
  const asked = cloud.requests().slice(before);
  expect(asked.filter(({ method }) => method !== "GET")).toEqual([]);
  expect(planned.map(({ pipeline }) => pipeline).sort()).toEqual(["critic", "rho1"]);
  const submission = planned.find(({ pipeline }) => pipeline === "rho1")?.submission;
  expect(submission).toContain("/app/datasets/: volume://vessl-storage/weighted-mtp-datasets");
  expect(submission).toContain("--fetch s3://wmtp/models/tiny-mtp=/app/models/tiny-mtp");
  expect(submission).toContain("secret: WMTP_PROD_AWS_SECRET_ACCESS_KEY");
});

test("trains with the base's models, data and image, below a prefix of its own, and owns its runs alone", () => {
  const text = trunk.mustRun("up", "--yes", "--skip-preview");
  expect(text).toContain("rho1: 10 steps");
  expect(trunk.owned()).toEqual([
    "launcher:index:Run",
    "launcher:index:Run",
    "wmtp:index:TrainingRun",
    "wmtp:index:TrainingRun",
  ]);
  const { critic, rho1 } = trunk.runs();
  expect(rho1).toMatchObject({
    status: "completed",
    gpus: 2,
    maxDurationSeconds: 172_800,
    image: base.outputs.image,
    models: base.outputs.models,
    datasets: base.outputs.datasets,
    cloud: { preset: "gpu-a100-80g-medium", delivery: "s3" },
    checkpointUri: `s3://wmtp/checkpoints/prod/experiments/trunk/rho1/${rho1?.fingerprint}`,
  });
  expect(keysOf(`checkpoints/prod/experiments/trunk/critic/${critic?.fingerprint}/checkpoint_best/`)).toEqual([
    "model.safetensors",
  ]);
});

describe("the critic of the base", () => {
  let hot: ExperimentStack;
  beforeAll(() => {
    hot = experiment("hot", { verifiable: { overrides: { "training.learning_rate": 0.01 } } });
  });

  test("is part of what is trained: a preview knows it, another one trains again, one that is gone is missed before the start", () => {
    const { fingerprint, checkpointUri } = trunk.runs().critic ?? {};
    base.export({ critic: { fingerprint, checkpointUri } });
    hot.mustRun("up", "--yes", "--skip-preview");
    expect(hot.runs().verifiable).toMatchObject({
      status: "completed",
      finalLoss: 1,
      needs: { critic: { fingerprint, checkpointUri } },
    });

    const gone = { fingerprint: "f".repeat(64), checkpointUri: `s3://wmtp/checkpoints/prod/critic/${"f".repeat(64)}` };
    base.export({ critic: gone });
    const text = hot.refused("up", "--yes");
    expect(text).toMatch(/re-trains because .*critic/);
    expect(text).toContain(`verifiable needs the checkpoint of critic, which is not at ${gone.checkpointUri}`);
  });
});

test("outputs of an older base are missed by name, all at once, and nothing is declared", () => {
  const before = base.outputs;
  base.export({ models: undefined, modelsDelivery: "by hand" });
  expect(trunk.refused("preview")).toContain(
    'error: the base stack prod has no outputs "models", "modelsDelivery": it was never deployed, or by an older version',
  );
  base.export(before);
});

test("destroyed, it leaves the base's bucket and volumes as they are, its own checkpoints too", () => {
  const everything = () => [cloud.bucketFiles(), cloud.volumeFiles("vessl-storage", "weighted-mtp-datasets")];
  const before = everything();
  for (const name of ["trunk", "hot"]) base.holder.onStack(name, "destroy", "--yes", "--skip-preview");
  expect(everything()).toEqual(before);
});
