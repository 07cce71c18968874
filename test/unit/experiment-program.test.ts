/** An experiment's program on mocks: what it registers of its own, and what it asks of its base. */
import { OF_PROD as CLOUD } from "../support/prod-outputs.ts";
import { type Registration, runProgram } from "../support/program.ts";

const CHECKPOINTS = {
  checkpointSources: { old: "hash of old" },
  checkpointsVolume: { storage: "vessl-storage", name: "weighted-mtp-checkpoints" },
};
const run = (
  pipelines: Record<string, unknown>,
  prod: Record<string, unknown> = CLOUD,
  others: Record<string, Record<string, unknown>> = {},
) =>
  runProgram(
    { "wmtp:base": "prod", "wmtp:pipelines": pipelines },
    { preview: true, stack: "exp", others: { prod, ...others } },
  );
const runsOf = (registered: readonly Registration[]) =>
  registered.filter(({ type }) => type === "launcher:index:Run").map(({ inputs }) => inputs);
const critic = (criticCheckpoint: string) => ({ verifiable: { criticCheckpoint } });

test("registers its runs and nothing else", async () => {
  const { registered, outputs } = await run({ verifiable: { overrides: { "training.seed": 7 } }, ntp: null });
  const types = registered.map(({ type, name }) => `${type} ${name}`).sort();
  expect(types).toEqual([
    "launcher:index:Run ntp",
    "launcher:index:Run verifiable",
    "wmtp:index:TrainingRun ntp",
    "wmtp:index:TrainingRun verifiable",
  ]);
  expect(outputs).toEqual({
    trackerUrl: "https://203.0.113.10",
    experiment: "weighted-mtp/exp",
    plan: expect.stringContaining("### Plan of `exp` on `prod`"),
  });
  const verifiable = runsOf(registered).find(({ pipeline }) => pipeline === "verifiable");
  expect(verifiable).toMatchObject({
    place: { organization: "my-org", bucket: "wmtp", checkpoints: "checkpoints/prod/experiments/" },
    gpus: 4,
    maxDurationSeconds: 172_800,
    models: { "llama-7b-mtp": "hash of the base" },
    datasets: { codecontests: "hash of the data" },
    volumes: { models: CLOUD.modelsVolume, datasets: CLOUD.datasetsVolume },
    needs: { critic: CLOUD.critic },
    image: CLOUD.image,
    trackerUrl: CLOUD.trackerUrl,
    experiment: "weighted-mtp/exp/verifiable-wmtp",
    cloud: {
      preset: "gpu-a100-80g-large",
      delivery: "s3",
      secrets: { AWS_ACCESS_KEY_ID: "WMTP_PROD_AWS_ACCESS_KEY_ID" },
    },
  });
});

test("models come the way the base has put them", async () => {
  const volume = { storage: "vessl-storage", name: "weighted-mtp-models" };
  const { registered } = await run({ ntp: null }, { ...CLOUD, modelsDelivery: "volume", modelsVolume: volume });
  expect(runsOf(registered)).toMatchObject([{ cloud: { delivery: "volume" }, volumes: { models: volume } }]);
});

describe("a critic of elsewhere", () => {
  const trained = { fingerprint: "f2", checkpointUri: "s3://wmtp/checkpoints/prod/experiments/lr-3/critic/f2" };

  test("another stack's, by its content", async () => {
    const { registered } = await run(critic("lr-3"), CLOUD, { "lr-3": { critic: trained } });
    const [verifiable] = runsOf(registered);
    expect(verifiable?.needs).toEqual({ critic: trained });
    expect(verifiable).not.toHaveProperty("criticCheckpoint");
  });
  test("the base's, by its name", async () => {
    const { registered } = await run(critic("prod"));
    expect(runsOf(registered)[0]?.needs).toEqual({ critic: CLOUD.critic });
  });
  test("a directory of the base's volume of checkpoints", async () => {
    const { registered } = await run(critic("old/checkpoint_best"), { ...CLOUD, ...CHECKPOINTS });
    expect(runsOf(registered)).toMatchObject([
      {
        needs: {},
        criticCheckpoint: "old/checkpoint_best",
        checkpoints: { old: "hash of old" },
        cloud: { checkpointsVolume: CHECKPOINTS.checkpointsVolume },
      },
    ]);
  });
  test("a URI in the bucket", async () => {
    const uri = "s3://wmtp/checkpoints/prod/critic/f0/checkpoint_best";
    expect(runsOf((await run(critic(uri))).registered)).toMatchObject([{ needs: {}, criticCheckpoint: uri }]);
  });
});

describe("refused before anything is registered", () => {
  const without = (...names: string[]) =>
    Object.fromEntries(Object.entries({ ...CLOUD, ...CHECKPOINTS }).filter(([name]) => !names.includes(name)));

  test.each<[string, () => Promise<unknown>, string]>([
    [
      "outputs that the base does not have, or not in this form",
      () => run({ ntp: null }, { ...without("models"), modelsDelivery: "by hand" }),
      'the base stack prod has no outputs "models", "modelsDelivery": it was never deployed, or by an older version, or has a base itself, ' +
        "or names no pipeline and so has no volumes; run pulumi up --stack prod first",
    ],
    [
      "one output",
      () => run({ ntp: null }, without("image")),
      'the base stack prod has no output "image": it was never deployed',
    ],
    [
      "a model that the base does not have",
      () => run({ ntp: null, rho1: null }, { ...CLOUD, models: { "llama-7b-mtp": "hash" } }),
      "the base stack prod has no models sheared-llama-2.7b, only llama-7b-mtp: put the files into its wmtp:volumes.sources.models and " +
        "run pulumi up --stack prod, or name another in the stack file",
    ],
    [
      "data that the base does not have",
      () => run({ ntp: { overrides: { "data.train": "mbpp/train.jsonl" } } }),
      "the base stack prod has no datasets mbpp, only codecontests",
    ],
    [
      "checkpoints that the base does not have",
      () => run(critic("new/checkpoint_best"), { ...CLOUD, ...CHECKPOINTS }),
      "the base stack prod has no checkpoints new, only old",
    ],
    [
      "a critic of another trunk",
      () =>
        run(
          { verifiable: null },
          {
            ...CLOUD,
            runs: [
              "critic.gpus = 4",
              "critic.maxDurationSeconds = 60",
              "critic.effectiveBatch = 96",
              'critic.trainerConfig.models.critic_trunk = "other-7b"',
            ].join("\n"),
          },
        ),
      "the critic of the stack prod was trained on the trunk other-7b, and verifiable has llama-7b-mtp: say wmtp:models.criticTrunk: " +
        "other-7b, or enable wmtp:pipelines.critic here",
    ],
    [
      "a base without a trained critic",
      () => run({ verifiable: null, ntp: null }, without("critic")),
      "verifiable needs a critic, and the stack prod has none that is trained: train it there (wmtp:pipelines.critic, then pulumi up --stack " +
        "prod), or enable wmtp:pipelines.critic here, or name another in wmtp:pipelines.verifiable.criticCheckpoint",
    ],
    [
      "a critic in another bucket",
      () =>
        run(critic("far"), CLOUD, { far: { critic: { fingerprint: "f", checkpointUri: "s3://far/checkpoints/c" } } }),
      "the critic of the stack far is at s3://far/checkpoints/c, and the runs of this stack read s3://wmtp/checkpoints/prod/ alone",
    ],
    [
      "a critic of its own, by its name",
      () => run(critic("exp")),
      "wmtp:pipelines.verifiable.criticCheckpoint is exp, the stack itself: name another",
    ],
  ])("%s", async (_, program, message) => {
    await expect(program()).rejects.toThrow(message);
  });
});

test("what a failed resource feeds is null among the outputs; what a preview does not know stays", async () => {
  const pulumi = await import("@pulumi/pulumi");
  const { unlessFailed } = await import("../../components/unless-failed.ts");
  const output = (isKnown: boolean, promise: () => Promise<unknown>) => ({
    __pulumiOutput: true,
    isKnown: Promise.resolve(isKnown),
    promise,
  });
  const failed = output(true, () => Promise.reject(new Error("the run failed")));
  const unknown = output(false, () => Promise.resolve(undefined));
  const outputs = await unlessFailed({
    text: "a",
    none: undefined,
    known: pulumi.output(1),
    nothing: pulumi.output(undefined),
    failed,
    unknown,
  });
  expect(outputs).toEqual({ text: "a", none: null, known: expect.anything(), nothing: null, failed: null, unknown });
});
