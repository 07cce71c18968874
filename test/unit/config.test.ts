import * as pulumi from "@pulumi/pulumi";
import { parseSections, readConfig, resolveConfig, type StackConfig } from "../../components/config.ts";
import type { Sections } from "../../components/config-schema.ts";
import { checkRuns } from "../../components/run-rules.ts";
import { ALL, LOCAL, rawConfig, stackFile, trainer } from "../support/stack-config.ts";

const environment = { ...process.env };
afterEach(() => {
  process.env = { ...environment };
});

function resolve(sections: Record<string, unknown>, stack = "dev"): StackConfig {
  const parsed = parseSections(rawConfig({ launcher: LOCAL, ...sections }), new Set());
  expect([...parsed.problems, ...checkRuns(parsed.sections, trainer)]).toEqual([]);
  return resolveConfig(stack, parsed.sections as Required<Sections>, trainer);
}

const order = (pipelines: object) => resolve({ pipelines }).runs.map(({ pipeline }) => pipeline);

describe("defaults", () => {
  test("of everything but the runs", () => {
    delete process.env.CI;
    const { runs, ...rest } = resolve({ pipelines: { ntp: null } });
    expect(runs).toHaveLength(1);
    expect(rest).toEqual({
      stack: "dev",
      experiment: false,
      launcher: {
        target: "local",
        maxParallel: 1,
        retries: 2,
        waitSeconds: null,
        vessl: {
          project: "wmtp",
          cluster: "vessl-kr-a100-80g-sxm",
          presets: { "1": "gpu-a100-80g-small", "2": "gpu-a100-80g-medium", "4": "gpu-a100-80g-large" },
        },
      },
      storage: { bucket: "wmtp", adopt: false, transferAcceleration: false, accessKeys: ["1"] },
      tracking: { experiment: "weighted-mtp/dev", allowedCidrs: [], instanceType: "t3.small", dataVolumeGiB: 50 },
      image: { repository: "wmtp", ecr: false },
      volumes: {
        storage: "vessl-storage",
        forceDelete: false,
        names: {
          models: "weighted-mtp-models",
          datasets: "weighted-mtp-datasets",
          checkpoints: "weighted-mtp-checkpoints",
        },
        sources: { models: "storage/models", datasets: "storage/datasets", checkpoints: "storage/checkpoints" },
      },
      models: { delivery: "s3", base: "llama-7b-mtp", reference: "sheared-llama-2.7b" },
      cost: { currency: "USD", perHour: {}, egressPerGb: 0.09, awsPerMonth: 31, maxGpusPerRun: 4, maxGpus: 4 },
      waivers: [],
      ephemeral: false,
      resultsVersion: trainer.resultsVersion,
    });
  });

  test("of a run, which holds no place of this machine", () => {
    const [run] = resolve({ pipelines: { ntp: null } }).runs;
    const { trainerConfig, ...rest } = run!;
    expect(rest).toEqual({
      pipeline: "ntp",
      gpus: 1,
      maxDurationSeconds: 172_800,
      needs: [],
      after: [],
      models: ["llama-7b-mtp"],
      datasets: ["codecontests"],
      effectiveBatch: 24,
    });
    expect(Object.keys(trainerConfig)).not.toContain("paths");
    expect(trainerConfig).toEqual({ ...trainer.resolve("ntp", {}), models: trainerConfig.models });
  });

  test("GPUs, by pipeline", () => {
    const gpus = resolve({ pipelines: ALL }).runs.map((run) => [run.pipeline, run.gpus]);
    expect(gpus).toEqual([
      ["critic", 4],
      ["verifiable", 4],
      ["baseline", 4],
      ["rho1", 4],
      ["ntp", 1],
    ]);
  });

  test("a pipeline with nothing after its name is the same as an empty one", () => {
    expect(resolve({ pipelines: { rho1: null } })).toEqual(resolve({ pipelines: { rho1: {} } }));
  });
});

describe("wait", () => {
  test("until completion in a terminal, 30 minutes in CI", () => {
    delete process.env.CI;
    expect(resolve({ pipelines: { ntp: null } }).launcher.waitSeconds).toBeNull();
    process.env.CI = "true";
    expect(resolve({ pipelines: { ntp: null } }).launcher.waitSeconds).toBe(1800);
  });

  test.each([
    ["completion", null],
    ["90s", 90],
  ])("%s in the stack file wins over CI, and leaves no `wait` behind", (wait, seconds) => {
    process.env.CI = "true";
    const { launcher } = resolve({ launcher: { ...LOCAL, wait }, pipelines: { ntp: null } });
    expect(launcher.waitSeconds).toBe(seconds);
    expect(launcher).not.toHaveProperty("wait");
  });
});

describe("runs", () => {
  test("come in an order in which each is after those it needs or follows", () => {
    expect(order(ALL)).toEqual(["critic", "verifiable", "baseline", "rho1", "ntp"]);
    expect(order({ ntp: null, verifiable: null, critic: null })).toEqual(["critic", "verifiable", "ntp"]);
    expect(order({ critic: { after: ["ntp"] }, verifiable: null, ntp: { after: ["rho1"] }, rho1: null })).toEqual([
      "rho1",
      "ntp",
      "critic",
      "verifiable",
    ]);
  });

  test("name exactly the models and data sets that they read", () => {
    const models = { base: "base", reference: "ref", criticTrunk: "trunk" };
    const overrides = { "data.train": "b/train.jsonl", "data.valid": "a/valid.jsonl" };
    const read = (sections: object) =>
      resolve({ pipelines: ALL, ...sections }).runs.map((run) => [run.pipeline, run.models, run.datasets]);
    expect(read({ models, overrides })).toEqual([
      ["critic", ["trunk"], ["a", "b"]],
      ["verifiable", ["base", "trunk"], ["a", "b"]],
      ["baseline", ["base"], ["a", "b"]],
      ["rho1", ["base", "ref"], ["a", "b"]],
      ["ntp", ["base"], ["a", "b"]],
    ]);
    expect(read({})[1]).toEqual(["verifiable", ["llama-7b-mtp"], ["codecontests"]]);
  });

  test("put the names of their models into the trainer's config, and no others", () => {
    const models = { base: "base", reference: "ref", criticTrunk: "trunk" };
    const told = resolve({ pipelines: ALL, models }).runs.map(({ trainerConfig }) => trainerConfig.models);
    const own = (pipeline: "critic") => trainer.resolve(pipeline, {}).models;
    expect(told).toEqual([
      { ...own("critic"), critic_trunk: "trunk" },
      { ...own("critic"), base: "base", critic_trunk: "trunk" },
      { ...own("critic"), base: "base" },
      { ...own("critic"), base: "base", reference: "ref" },
      { ...own("critic"), base: "base" },
    ]);
  });

  test("take the stack's overrides, and their own above them", () => {
    const [baseline, rho1] = resolve({
      overrides: { "training.seed": 1, "training.learning_rate": 0.1 },
      pipelines: { baseline: { overrides: { "training.seed": 2 } }, rho1: null },
    }).runs;
    expect(baseline?.trainerConfig.training).toMatchObject({ seed: 2, learning_rate: 0.1 });
    expect(rho1?.trainerConfig.training).toMatchObject({ seed: 1, learning_rate: 0.1 });
  });

  test("get their accumulation steps from effectiveBatch, also over the stack's override of them", () => {
    const [run] = resolve({
      overrides: { "training.batch_size": 2, "training.gradient_accumulation_steps": 7 },
      pipelines: { baseline: { gpus: 2, effectiveBatch: 12 } },
    }).runs;
    expect(run?.effectiveBatch).toBe(12);
    expect(run?.trainerConfig.training).toMatchObject({ batch_size: 2, gradient_accumulation_steps: 3 });
  });

  test("count ranks in the effective batch", () => {
    const batches = resolve({ pipelines: { baseline: { gpus: 2 }, ntp: { gpus: 4 } } }).runs;
    expect(batches.map(({ effectiveBatch }) => effectiveBatch)).toEqual([6 * 4 * 2, 6 * 4 * 4]);
  });

  test("need no critic of this stack where a checkpoint is named", () => {
    const [run] = resolve({ pipelines: { verifiable: { criticCheckpoint: "elsewhere/critic" } } }).runs;
    expect(run).toMatchObject({ needs: [], criticCheckpoint: "elsewhere/critic" });
    expect(resolve({ pipelines: ALL }).runs[1]).toMatchObject({ pipeline: "verifiable", needs: ["critic"] });
    expect(resolve({ pipelines: ALL }).runs[1]).not.toHaveProperty("criticCheckpoint");
  });

  test("carry a rerun token as text", () => {
    const [run] = resolve({ pipelines: { ntp: { rerun: 2 } } }).runs;
    expect(run?.rerun).toBe("2");
  });
});

describe("the whole stack file", () => {
  test.each(["minitest", "prod"])("Pulumi.%s.yaml is fine", (stack) => {
    const { runs } = resolve({ ...stackFile(stack).config }, stack);
    expect(runs.map(({ pipeline }) => pipeline)).toEqual(["critic", "verifiable", "baseline", "rho1", "ntp"]);
  });

  test("minitest trains on this machine, on tiny models, one run at a time", () => {
    const { launcher, runs } = resolve({ ...stackFile("minitest").config }, "minitest");
    expect(launcher).toMatchObject({ target: "local", maxParallel: 1 });
    expect(new Set(runs.flatMap(({ models }) => models))).toEqual(new Set(["tiny-mtp", "tiny-reference"]));
    expect(new Set(runs.flatMap(({ datasets }) => datasets))).toEqual(new Set(["humaneval"]));
    expect(runs.every(({ maxDurationSeconds }) => maxDurationSeconds === 600)).toBe(true);
  });

  test("is read from the engine's config", () => {
    pulumi.runtime.setAllConfig(rawConfig(stackFile("minitest").config));
    expect(readConfig().runs).toHaveLength(5);
  });

  test("with several mistakes is one error that lists them all", () => {
    pulumi.runtime.setAllConfig(
      rawConfig({
        launcher: { ...LOCAL, maxParalel: 2 },
        storage: { bucket: "A" },
        hfToken: "hunter2",
        overrides: { "training.batch_size": -1 },
        pipelines: { verifiable: {}, ntp: { after: ["ntp"] } },
      }),
    );
    const stack = pulumi.getStack();
    let error: unknown;
    try {
      readConfig();
    } catch (thrown) {
      error = thrown;
    }
    expect(pulumi.RunError.isInstance(error)).toBe(true);
    expect((error as Error).message).toBe(
      [
        `Pulumi.${stack}.yaml has 6 problems; nothing was created or changed:`,
        "  wmtp:hfToken: is stored in plain text; set it with: pulumi config set --secret wmtp:hfToken",
        '  wmtp:launcher.maxParalel: unknown key; did you mean "maxParallel"?',
        '  wmtp:storage.bucket: "A" is not a bucket name (3-63 of a-z, 0-9, ., -)',
        "  wmtp:pipelines.verifiable: needs critic: enable wmtp:pipelines.critic, or name a checkpoint in wmtp:pipelines.verifiable.criticCheckpoint",
        "  wmtp:overrides.training.batch_size: -1 must be >= 1",
        "  wmtp:pipelines.ntp.after.0: a run cannot come after itself",
      ].join("\n"),
    );
  });

  test("with one mistake says so in the singular", () => {
    pulumi.runtime.setAllConfig(rawConfig({ launcher: LOCAL, pipelines: { ntp: { gpus: 8 } } }));
    expect(() => readConfig()).toThrow(/has 1 problem; nothing was created or changed:\n {2}wmtp:pipelines.ntp.gpus: /);
  });

  test("secret keys are those that the engine names", () => {
    const config = rawConfig({ launcher: LOCAL, pipelines: { ntp: null }, hfToken: "hunter2" });
    pulumi.runtime.setAllConfig(config);
    process.env.PULUMI_CONFIG_SECRET_KEYS = '["wmtp:hfToken"]';
    expect(readConfig().runs).toHaveLength(1);
    expect(JSON.stringify(readConfig())).not.toContain("hunter2");
    process.env.PULUMI_CONFIG_SECRET_KEYS = "[]";
    expect(() => readConfig()).toThrow("wmtp:hfToken: is stored in plain text");
  });
});
