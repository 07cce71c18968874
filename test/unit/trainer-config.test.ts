import { PIPELINE_NAMES } from "../../components/pipelines.ts";
import { datasetsOf, TrainerConfigs } from "../../components/trainer-config.ts";

const trainer = new TrainerConfigs();

test("the defaults of every pipeline are what the trainer itself accepts", () => {
  expect(PIPELINE_NAMES.map((pipeline) => trainer.check(pipeline, {}, "p"))).toEqual([[], [], [], [], []]);
});

test("each pipeline's defaults are its own", () => {
  const told = PIPELINE_NAMES.map((pipeline) => trainer.resolve(pipeline, {}) as Record<string, unknown>);
  expect(told.map(({ pipeline }) => pipeline)).toEqual([...PIPELINE_NAMES]);
  expect(told.map((config) => (config.weighting as { scheme: string }).scheme)).toEqual([
    "uniform",
    "critic",
    "uniform",
    "rho1",
    "uniform",
  ]);
});

test("resolving puts overrides on top and leaves places out", () => {
  const plain = trainer.resolve("rho1", {});
  const changed = trainer.resolve("rho1", { "training.seed": 7, "loss.head_weights": [1, 0] });
  expect(changed).toEqual({
    ...plain,
    training: { ...plain.training, seed: 7 },
    loss: { ...plain.loss, head_weights: [1, 0] },
  });
  expect(changed).not.toHaveProperty("paths");
});

test("resolving changes no defaults: the next run sees them as they were", () => {
  const before = structuredClone(trainer.resolve("ntp", {}));
  trainer.resolve("ntp", { "training.seed": 7 });
  expect(trainer.resolve("ntp", {})).toEqual(before);
});

test.each([
  ["training.batch_size", 0, "0 must be >= 1"],
  ["training.batch_size", 1.5, "1.5 must be integer"],
  ["training.batch_size", "8", '"8" must be integer'],
  ["training.batch_size", null, "null must be integer"],
  ["training.learning_rate", 0, "0 must be > 0"],
  ["training.beta1", 1, "1 must be < 1"],
  ["distributed.backend", "mpi", '"mpi" must be one of nccl, gloo'],
  ["data.train", "/etc/passwd", expect.stringMatching(/^"\/etc\/passwd" must match pattern/)],
  ["data.train", "../x.jsonl", expect.stringMatching(/^"\.\.\/x\.jsonl" must match pattern/)],
  ["checkpoint.save_final", "yes", '"yes" must be boolean'],
  ["training.max_steps", "many", '"many" must be integer or must be null'],
])("%s: %j is refused", (key, value, message) => {
  expect(trainer.check("baseline", { [key]: value }, "here")).toEqual([{ path: `here.${key}`, message }]);
});

test.each([
  ["training.batchsize", 'unknown trainer key; did you mean "training.batch_size"?'],
  ["seed", "unknown trainer key; see trainer/schema.json for all keys"],
  ["__proto__", "unknown trainer key; see trainer/schema.json for all keys"],
  ["models.critic_trunk", "is set by wmtp:models.criticTrunk, not by an override"],
  ["paths.models", "is set by the stack, not by an override"],
  ["paths.nothing", "is set by the stack, not by an override"],
])("%s cannot be overridden", (key, message) => {
  expect(trainer.check("baseline", Object.fromEntries([[key, 1]]), "here")).toEqual([{ path: `here.${key}`, message }]);
});

test("null is a value where the trainer says so", () => {
  expect(trainer.check("baseline", { "training.max_steps": null, "loss.head_weights": null }, "here")).toEqual([]);
});

test("data sets are the first part of the data's paths, each once", () => {
  expect(datasetsOf({ data: { train: "b/processed/train.jsonl", valid: "a/valid.jsonl" } })).toEqual(["a", "b"]);
  expect(datasetsOf({ data: { train: "a/train.jsonl", valid: "a/valid.jsonl" } })).toEqual(["a"]);
  expect(datasetsOf({ data: { train: "a/train.jsonl", valid: null } })).toEqual(["a"]);
  expect(datasetsOf({})).toEqual([]);
});
