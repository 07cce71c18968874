import * as pulumi from "@pulumi/pulumi";
import { parseSections, readConfig, resolveConfig, type StackConfig } from "../../components/config.ts";
import type { Problem } from "../../components/config-problems.ts";
import type { Sections } from "../../components/config-schema.ts";
import { checkRuns } from "../../components/run-rules.ts";
import { TrainerConfigs } from "../../components/trainer-config.ts";
import { rawConfig, stackFile } from "../support/stack-config.ts";

const trainer = new TrainerConfigs();
const LOCAL = { target: "local" };
const ALL = { critic: null, verifiable: null, baseline: null, rho1: null, ntp: null };
const environment = { ...process.env };
afterEach(() => {
  process.env = { ...environment };
});

function problemsOf(sections: Record<string, unknown>, secrets: string[] = []): Problem[] {
  const parsed = parseSections(rawConfig({ launcher: LOCAL, pipelines: { ntp: null }, ...sections }), new Set(secrets));
  return [...parsed.problems, ...checkRuns(parsed.sections, trainer)];
}

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
      storage: { bucket: "wmtp", adopt: false, transferAcceleration: false },
      tracking: { experiment: "weighted-mtp/dev", allowedCidrs: [], instanceType: "t3.small", dataVolumeGiB: 50 },
      image: {},
      volumes: {
        storage: "vessl-storage",
        names: {
          models: "weighted-mtp-models",
          datasets: "weighted-mtp-datasets",
          checkpoints: "weighted-mtp-checkpoints",
        },
        sources: { models: "storage/models", datasets: "storage/datasets", checkpoints: "storage/checkpoints" },
      },
      models: { delivery: "s3", base: "llama-7b-mtp", reference: "sheared-llama-2.7b" },
      cost: { currency: "USD", perHour: {}, maxGpusPerRun: 4, maxGpus: 4 },
      waivers: [],
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

describe("refused, with path and message", () => {
  const P = "wmtp:pipelines";
  const cases: [string, Record<string, unknown>, Problem[]][] = [
    [
      "a number of GPUs that there is no preset for",
      { pipelines: { critic: { gpus: 8 } } },
      [{ path: `${P}.critic.gpus`, message: "8 is not one of 1, 2, 4" }],
    ],
    [
      "a key that is near another",
      { pipelines: { critic: { gpu: 2 } } },
      [{ path: `${P}.critic.gpu`, message: 'unknown key; did you mean "gpus"?' }],
    ],
    [
      "a key that is near none",
      { image: { zzzzzzzzzzzz: 2 } },
      [{ path: "wmtp:image.zzzzzzzzzzzz", message: "unknown key; known: repository, pullCredential" }],
    ],
    [
      "an unknown pipeline",
      { pipelines: { baselin: {}, ntp: {} } },
      [{ path: `${P}.baselin`, message: 'unknown key; did you mean "baseline"?' }],
    ],
    [
      "an unknown section",
      { pipeline: {} },
      [{ path: "wmtp:pipeline", message: 'unknown key; did you mean "pipelines"?' }],
    ],
    [
      "a misspelled namespace, which would be ignored in silence",
      { "wtmp:launcher": {} },
      [{ path: "wtmp:launcher", message: 'unknown namespace; did you mean "wmtp:launcher"?' }],
    ],
    [
      "verifiable without critic",
      { pipelines: { verifiable: {} } },
      [
        {
          path: `${P}.verifiable`,
          message: `needs critic: enable ${P}.critic, or name a checkpoint in ${P}.verifiable.criticCheckpoint`,
        },
      ],
    ],
    [
      "an effective batch that cannot be divided",
      { pipelines: { rho1: { effectiveBatch: 100 } } },
      [
        {
          path: `${P}.rho1.effectiveBatch`,
          message: "100 cannot be divided by batch_size 6 x 4 gpus; nearest: 96 or 120",
        },
      ],
    ],
    [
      "an effective batch below the smallest",
      { overrides: { "training.batch_size": 8 }, pipelines: { ntp: { effectiveBatch: 5, gpus: 2 } } },
      [
        {
          path: `${P}.ntp.effectiveBatch`,
          message: "5 cannot be divided by batch_size 8 x 2 gpus; nearest: 16",
        },
      ],
    ],
    [
      "an effective batch together with the steps that it sets",
      { pipelines: { ntp: { effectiveBatch: 6, overrides: { "training.gradient_accumulation_steps": 1 } } } },
      [
        {
          path: `${P}.ntp.effectiveBatch`,
          message: "stands in place of overrides.training.gradient_accumulation_steps; keep one of the two",
        },
      ],
    ],
    [
      "a negative batch of the stack, said once for all of its pipelines",
      { overrides: { "training.batch_size": -2 }, pipelines: ALL },
      [{ path: "wmtp:overrides.training.batch_size", message: "-2 must be >= 1" }],
    ],
    [
      "a negative batch of one pipeline",
      { pipelines: { ntp: { overrides: { "training.batch_size": -2 } } } },
      [{ path: `${P}.ntp.overrides.training.batch_size`, message: "-2 must be >= 1" }],
    ],
    [
      "an unknown override",
      { pipelines: { ntp: { overrides: { "training.batchsize": 2 } } } },
      [
        {
          path: `${P}.ntp.overrides.training.batchsize`,
          message: 'unknown trainer key; did you mean "training.batch_size"?',
        },
      ],
    ],
    [
      "an override of what has a name of its own",
      { overrides: { "models.base": "x", "paths.output": "/tmp", pipeline: "ntp" } },
      [
        { path: "wmtp:overrides.models.base", message: "is set by wmtp:models.base, not by an override" },
        { path: "wmtp:overrides.paths.output", message: "is set by the stack, not by an override" },
        { path: "wmtp:overrides.pipeline", message: "is set by the stack, not by an override" },
      ],
    ],
    [
      "an override of the wrong type",
      { overrides: { "weighting.scheme": "rho", "training.max_steps": "ten" } },
      [
        { path: "wmtp:overrides.training.max_steps", message: '"ten" must be integer or must be null' },
        { path: "wmtp:overrides.weighting.scheme", message: '"rho" must be one of uniform, critic, rho1' },
      ],
    ],
    [
      "a run after itself",
      { pipelines: { ntp: { after: ["ntp"] } } },
      [{ path: `${P}.ntp.after.0`, message: "a run cannot come after itself" }],
    ],
    [
      "a run after one that is not enabled",
      { pipelines: { ntp: { after: ["rho1"] } } },
      [{ path: `${P}.ntp.after.0`, message: "rho1 is not enabled in this stack" }],
    ],
    [
      "a run after an unknown pipeline",
      { pipelines: { ntp: { after: ["rho"] } } },
      [{ path: `${P}.ntp.after.0`, message: '"rho" is not one of critic, verifiable, baseline, rho1, ntp' }],
    ],
    [
      "runs that wait for each other",
      { pipelines: { ntp: { after: ["rho1"] }, rho1: { after: ["baseline"] }, baseline: { after: ["ntp"] } } },
      [
        { path: `${P}.baseline.after`, message: "waits for itself by way of ntp" },
        { path: `${P}.rho1.after`, message: "waits for itself by way of baseline" },
        { path: `${P}.ntp.after`, message: "waits for itself by way of rho1" },
      ],
    ],
    [
      "a run that waits for one that needs it",
      { pipelines: { critic: { after: ["verifiable"] }, verifiable: {} } },
      [
        { path: `${P}.critic.after`, message: "waits for itself by way of verifiable" },
        { path: `${P}.verifiable.after`, message: "waits for itself by way of critic" },
      ],
    ],
    [
      "no pipeline at all",
      { pipelines: {} },
      [{ path: P, message: "names no pipeline; add at least one of critic, verifiable, baseline, rho1, ntp" }],
    ],
    [
      "rewards by a model",
      { pipelines: { critic: { rewards: "model" } } },
      [{ path: `${P}.critic.rewards`, message: 'scoring by a reward model is not available yet; use "tests"' }],
    ],
    [
      "more GPUs than the stack allows",
      { cost: { maxGpusPerRun: 2 }, pipelines: { ntp: { gpus: 4 } } },
      [{ path: `${P}.ntp.gpus`, message: "4 is more than wmtp:cost.maxGpusPerRun allows (2)" }],
    ],
    [
      "the GPU cloud without an organization",
      { launcher: {} },
      [
        {
          path: "wmtp:launcher.vessl.organization",
          message: "is missing; target vessl needs the organization that pays for the GPUs",
        },
      ],
    ],
    [
      "a duration without a unit",
      { pipelines: { ntp: { maxDuration: "30" } } },
      [
        {
          path: `${P}.ntp.maxDuration`,
          message: '"30" is not a duration: write a number and a unit s, m, h or d, for example "30m" or "24h"',
        },
      ],
    ],
    [
      "a number out of its bounds",
      { launcher: { ...LOCAL, retries: 11, maxParallel: 0 } },
      [
        { path: "wmtp:launcher.maxParallel", message: "0 is too small; at least 1" },
        { path: "wmtp:launcher.retries", message: "11 is too large; at most 10" },
      ],
    ],
    [
      "a section of the wrong type",
      { pipelines: "critic", models: [] },
      [
        { path: "wmtp:models", message: "[] is not a mapping of keys" },
        { path: P, message: '"critic" is not a mapping of keys' },
      ],
    ],
    [
      "a name that could climb out of its directory",
      { models: { base: "../secrets" } },
      [
        {
          path: "wmtp:models.base",
          message: '"../secrets" may hold only letters, digits, ".", "_" and "-", and starts with a letter or digit',
        },
      ],
    ],
    [
      "a missing part",
      { models: { cache: {} } },
      [{ path: "wmtp:models.cache.mount", message: "is missing; expected text (quote it)" }],
    ],
  ];
  test.each(cases)("%s", (_, sections, problems) => {
    expect(problemsOf(sections)).toEqual(problems);
  });

  test("a secret in plain text, without repeating it", () => {
    expect(problemsOf({ hfToken: "hunter2", mlflowAdminPassword: "hunter2" })).toEqual([
      {
        path: "wmtp:hfToken",
        message: "is stored in plain text; set it with: pulumi config set --secret wmtp:hfToken",
      },
      {
        path: "wmtp:mlflowAdminPassword",
        message: "is stored in plain text; set it with: pulumi config set --secret wmtp:mlflowAdminPassword",
      },
    ]);
  });

  test("a secret where none belongs, without repeating it; one where it belongs is fine", () => {
    expect(problemsOf({ image: { repository: "hunter2" }, hfToken: "x" }, ["wmtp:image", "wmtp:hfToken"])).toEqual([
      {
        path: "wmtp:image",
        message:
          "holds a secret value; secrets go only under wmtp:hfToken, wmtp:mlflowAdminPassword, wmtp:registryToken",
      },
    ]);
  });

  test("a long value is cut short in the message", () => {
    const [problem] = problemsOf({ models: "x".repeat(500) });
    expect(problem?.message).toBe(`"${"x".repeat(76)}... is not a mapping of keys`);
  });

  test("keys of other namespaces are none of our business", () => {
    expect(problemsOf({ "aws:region": "eu-north-1", "wmtp-other:thing": "x", "pulumi:tags": {} })).toEqual([]);
  });

  test("an unknown override does not hide a wrong value of another", () => {
    const paths = problemsOf({ overrides: { "training.seeds": 1, "training.batch_size": -1 } }).map(({ path }) => path);
    expect(paths.sort()).toEqual(["wmtp:overrides.training.batch_size", "wmtp:overrides.training.seeds"]);
  });
  test("a wrong element of a list belongs to the override that holds it", () => {
    const problems = problemsOf({ overrides: { "loss.head_weights": ["a", 1] } });
    expect(problems.map(({ path }) => path)).toEqual(["wmtp:overrides.loss.head_weights"]);
  });
  test("an only allowed value is named", () => {
    const [problem] = problemsOf({ overrides: { "training.optimizer": "sgd" } });
    expect(problem?.message).toContain("adamw");
  });
  test("what a rerun token may be is said", () => {
    expect(problemsOf({ pipelines: { ntp: { rerun: true } } })[0]?.message).not.toContain("Invalid input");
  });
  test("a bound that is itself not allowed is not offered", () => {
    expect(problemsOf({ cost: { budget: 0 } })[0]?.message).not.toBe("0 is too small; at least 0");
  });
  test('"completion" is offered for a wrong launcher.wait', () => {
    expect(problemsOf({ launcher: { ...LOCAL, wait: "complete" } })[0]?.message).toContain('"completion"');
  });
  test("critic may follow a verifiable that reads its critic from elsewhere", () => {
    const pipelines = { critic: { after: ["verifiable"] }, verifiable: { criticCheckpoint: "elsewhere" } };
    expect(problemsOf({ pipelines })).toEqual([]);
  });
  test("two volumes of one name, whose uploads would delete each other's files", () => {
    expect(problemsOf({ volumes: { names: { models: "one", datasets: "one" } } })).toHaveLength(1);
  });
  test("a base stack, which is not there yet: verifiable would start without any critic", () => {
    expect(problemsOf({ base: "prod", pipelines: { verifiable: null } })).toHaveLength(1);
  });
});

test("names that every object has are unknown keys like any other", () => {
  expect(problemsOf({ toString: "x" })).toEqual([
    { path: "wmtp:toString", message: expect.stringMatching(/^unknown key; /) },
  ]);
  expect(problemsOf({ overrides: { constructor: 1 } })).toEqual([
    { path: "wmtp:overrides.constructor", message: expect.stringMatching(/^unknown trainer key; /) },
  ]);
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
