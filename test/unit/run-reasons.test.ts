import type { RunInputs } from "../../launcher/resources/run.ts";
import { whyItTrains } from "../../launcher/resources/run-reasons.ts";
import { UNKNOWN } from "../../launcher/values.ts";
import { runInputs } from "../support/run-inputs.ts";

const before = runInputs({
  pipeline: "verifiable",
  trainerConfig: { training: { learning_rate: 0.0003, seed: 1, betas: [0.9, 0.95] }, models: { base: "a" } },
  models: { a: "1" },
  datasets: { humaneval: "1" },
  needs: { critic: { fingerprint: "c1", checkpointUri: "there" } },
  place: { target: "local" },
});
/** Of other content. */
const other = (change: Partial<RunInputs>): RunInputs => ({
  ...before,
  fingerprint: "other",
  name: "other",
  ...change,
});
const why = (now: RunInputs, trained: boolean | undefined = false, old: RunInputs | undefined = before) =>
  whyItTrains(old, now, async () => trained);

test.each([
  [false, "first time"],
  [true, "adopted: trained before"],
  [undefined, "first time, unless it was trained before"],
])("without anything before it, trained before: %s", async (trained, said) => {
  expect(await whyItTrains(undefined, before, async () => trained)).toBe(said);
});

test.each<[string, Partial<RunInputs>, string]>([
  [
    "a setting",
    { trainerConfig: { ...before.trainerConfig, training: { learning_rate: 0.00003, seed: 1, betas: [0.9, 0.95] } } },
    "training.learning_rate 0.0003 -> 0.00003",
  ],
  [
    "settings that are new, gone and lists",
    {
      trainerConfig: {
        training: { learning_rate: 0.0003, warmup: 5, seed: null, betas: [0.9] },
        models: { base: "a" },
      },
    },
    "training.warmup unset -> 5, training.betas [0.9,0.95] -> [0.9], training.seed 1 -> unset",
  ],
  [
    "another model, which is a setting",
    { trainerConfig: { ...before.trainerConfig, models: { base: "b" } }, models: { b: "9" } },
    "models.base a -> b",
  ],
  ["a model's files", { models: { a: "2" } }, "model a changed"],
  ["a data set's files", { datasets: { humaneval: "2" } }, "data humaneval changed"],
  ["gpus", { gpus: 4 }, "gpus 1 -> 4"],
  ["the critic", { needs: { critic: { fingerprint: "c2", checkpointUri: "x" } } }, "the critic it needs changed"],
  ["a critic from elsewhere", { needs: {}, criticCheckpoint: "old/best" }, "critic the stack's own -> old/best"],
  ["the trainer", { resultsVersion: "2" }, "the trainer computes otherwise (results version 1 -> 2)"],
  ["a token", { rerun: "again" }, "rerun unset -> again"],
  ["the stack", { stack: "prod" }, "the stack was dev"],
  ["what nobody compares", {}, "its content changed"],
])("another run because of %s", async (_, change, said) => {
  expect(await why(other(change))).toBe(`re-trains because ${said}`);
});

test("files of a critic that a volume brings", async () => {
  const old = { ...before, checkpoints: { mine: "1" } };
  expect(await why(other({ checkpoints: { mine: "2" } }), false, old)).toBe(
    "re-trains because checkpoint mine changed",
  );
});

test("in another place", async () => {
  const place = {
    target: "vessl",
    organization: "o",
    project: "p",
    bucket: "b",
    region: "r",
    checkpoints: "c/",
  } as const;
  expect(await why({ ...before, checkpointUri: "s3://b/c", place })).toBe(
    "re-trains because its checkpoints are in another place",
  );
});

test("five at most, then how many more", async () => {
  const training = { learning_rate: 1, seed: 2, betas: [], x: 1, y: 2 };
  expect(await why(other({ trainerConfig: { training, models: { base: "a" } }, gpus: 2, rerun: "1" }))).toBe(
    "re-trains because training.learning_rate 0.0003 -> 1, training.seed 1 -> 2, training.betas [0.9,0.95] -> [], " +
      "training.x unset -> 1, training.y unset -> 2, and 2 more",
  );
});

test("trained before it is adopted; where nobody can look, that is left open", async () => {
  expect(await why(other({ gpus: 4 }), true)).toBe("adopted: trained before");
  expect(await whyItTrains(before, other({ gpus: 4 }), async () => undefined)).toBe(
    "re-trains because gpus 1 -> 4, unless it was trained before",
  );
});

describe("what is not known yet", () => {
  const unknown = { fingerprint: UNKNOWN, name: UNKNOWN, checkpointUri: UNKNOWN };

  test("is no difference, and nobody looks for what is trained", async () => {
    const look = jest.fn();
    const now = { ...before, ...unknown, datasets: { humaneval: UNKNOWN } };
    expect(await whyItTrains(before, now, look)).toBe("not known yet: it depends on what the update finds");
    expect(await whyItTrains(before, { ...now, gpus: 4 }, look)).toBe(
      "re-trains because gpus 1 -> 4, unless it was trained before",
    );
    expect(await whyItTrains(undefined, now, look)).toBe("first time, unless it was trained before");
    expect(look).not.toHaveBeenCalled();
  });

  test("nor is a critic's fingerprint", async () => {
    const now = { ...before, ...unknown, needs: { critic: { fingerprint: UNKNOWN, checkpointUri: UNKNOWN } } };
    expect(await why(now)).toBe("not known yet: it depends on what the update finds");
  });
});

describe("of the same content", () => {
  test("nothing differs: nobody looks whether it completed", async () => {
    const look = jest.fn();
    expect(await whyItTrains(before, before, look)).toBe("goes on or is resumed, unless it completed meanwhile");
    expect(look).not.toHaveBeenCalled();
  });

  test.each<[Partial<RunInputs>, string]>([
    [{ maxDurationSeconds: 3600 }, "maxDuration 1m -> 1h"],
    [{ effectiveBatch: 16 }, "effective batch 8 -> 16"],
    [{ tags: [], experiment: "x", trackerUrl: "y" }, "the tracker's address, experiment, tags"],
  ])("%j is recorded", async (change, said) => {
    const now = { ...before, ...change };
    expect(await why(now, true)).toBe(`records ${said}`);
    expect(await why(now, false)).toBe(`goes on or is resumed; records ${said}`);
    expect(await whyItTrains(before, now, async () => undefined)).toBe(
      `records ${said}; goes on or is resumed, unless it completed`,
    );
  });

  test("a tracker whose address is not known yet is not another one", async () => {
    expect(await why({ ...before, trackerUrl: UNKNOWN })).toBe("goes on or is resumed, unless it completed meanwhile");
  });
});
