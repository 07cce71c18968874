/** Every refusal of a stack file: the path, and the words. */
import type { Problem } from "../../components/config-problems.ts";
import { ALL, LOCAL, problemsOf } from "../support/stack-config.ts";

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
      [
        {
          path: "wmtp:image.zzzzzzzzzzzz",
          message: "unknown key; known: repository, ecr, registryUser, pullCredential, baseImage",
        },
      ],
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

  test("keys of the engine and of our providers are theirs; a namespace that nobody reads is refused", () => {
    expect(problemsOf({ "aws:region": "eu-north-1", "docker:host": "x", "pulumi:tags": {} })).toEqual([]);
    expect(problemsOf({ "other:thing": "x" }).map(({ path }) => path)).toEqual(["other:thing"]);
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
  const ON_BASE = {
    base: "prod",
    launcher: { target: "vessl", vessl: { organization: "us" } },
    models: { delivery: "volume" },
  };
  test("a stack on a base has its own critic, or names one", () => {
    expect(problemsOf({ ...ON_BASE, pipelines: { verifiable: null } })).toEqual([
      { path: "wmtp:pipelines.verifiable", message: expect.stringMatching(/^needs critic: enable/) },
    ]);
    expect(problemsOf({ ...ON_BASE, pipelines: { verifiable: { criticCheckpoint: "s3://b/c" } } })).toEqual([]);
  });
  test("a stack on a base is on the cloud, and leaves the base's models alone", () => {
    expect(problemsOf({ base: "prod", launcher: { target: "local" }, pipelines: { rho1: null } })).toEqual([
      { path: "wmtp:base", message: expect.stringMatching(/use target vessl$/) },
      { path: "wmtp:models.delivery", message: expect.stringMatching(/^models in the bucket are those of prod/) },
    ]);
    expect(problemsOf({ ...ON_BASE, pipelines: {} })).toEqual([
      { path: "wmtp:pipelines", message: expect.stringMatching(/^names no pipeline/) },
    ]);
  });
  test.each([
    "gs://b/critic",
    "S3://wmtp/checkpoints/x",
    "s3://wmtp",
    "s3://other/checkpoints/x",
    "/abs",
    "./x",
    "../x",
    "a//b",
  ])("a critic that no run on the GPU cloud could read: %s", (criticCheckpoint) => {
    const launcher = { target: "vessl", vessl: { organization: "us" } };
    expect(problemsOf({ launcher, pipelines: { verifiable: { criticCheckpoint } } })).toEqual([
      { path: "wmtp:pipelines.verifiable.criticCheckpoint", message: expect.stringMatching(/^".+" is not /) },
    ]);
  });
  test.each(["old-critic/checkpoint_best", "s3://wmtp/checkpoints/prod/critic/f/checkpoint_best"])(
    "a critic that it can: %s",
    (criticCheckpoint) => {
      const launcher = { target: "vessl", vessl: { organization: "us" } };
      expect(problemsOf({ launcher, pipelines: { verifiable: { criticCheckpoint } } })).toEqual([]);
    },
  );
  test("a cache beside volumes that are copied in keeps nothing", () => {
    expect(
      problemsOf({
        models: { delivery: "volume", cache: { mount: "nfs://10.0.0.1/models" } },
        pipelines: { rho1: null },
      }),
    ).toEqual([{ path: "wmtp:models.cache", message: expect.stringMatching(/use delivery: s3$/) }]);
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
