/** What an experiment takes from its base's file, and what it says otherwise. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { checkConfig, resolveConfig } from "../../components/config.ts";
import type { Sections } from "../../components/config-schema.ts";
import { withInherited } from "../../components/inherited-config.ts";
import { rawConfig, trainer } from "../support/stack-config.ts";

const project = mkdtempSync(join(tmpdir(), "wmtp-inherited-"));
afterAll(() => rmSync(project, { recursive: true }));

const write = (stack: string, config: Record<string, unknown>) =>
  writeFileSync(join(project, `Pulumi.${stack}.yaml`), stringify({ config }));
const BASE = {
  "aws:region": "eu-north-1",
  "wmtp:launcher": { retries: 5, vessl: { organization: "us", cluster: "here" } },
  "wmtp:storage": { bucket: "ours" },
  "wmtp:tracking": { experiment: "weighted-mtp/production", allowedCidrs: ["203.0.113.0/24"] },
  "wmtp:image": { repository: "ghcr.io/us/wmtp" },
  "wmtp:models": { base: "big", delivery: "volume" },
  "wmtp:overrides": { "training.epochs": 3, "training.weight_decay": 0.1 },
  "wmtp:volumes": { storage: "vessl-storage" },
  "wmtp:cost": { budget: 100, perHour: { "gpu-a100-80g-large": 12 } },
  "wmtp:policies": { levels: {} },
  "wmtp:waivers": [{ policy: "p", resource: "r", reason: "because of this", expires: "2099-01-01" }],
  "wmtp:ephemeral": true,
  "wmtp:hfToken": { secure: "v1:ciphertext" },
  "wmtp:pipelines": {
    critic: { gpus: 4, maxDuration: "24h" },
    verifiable: { criticCheckpoint: "old/checkpoint_best" },
    baseline: { gpus: 4, effectiveBatch: 96, overrides: { "training.learning_rate": 0.1, "training.epochs": 2 } },
    rho1: { gpus: 2, after: ["baseline", "critic"] },
  },
};
const experiment = (sections: Record<string, unknown>) =>
  rawConfig({ base: "prod", pipelines: { baseline: null }, ...sections });
const inherit = (sections: Record<string, unknown>) => {
  const { raw, problems } = withInherited(experiment(sections), project);
  expect(problems).toEqual([]);
  const parsed = Object.entries(raw).map(([key, text]) => [key, key === "wmtp:base" ? text : JSON.parse(text)]);
  return Object.fromEntries(parsed);
};
beforeEach(() => write("prod", BASE));

test("sections come whole, pipelines where they are named; what the base owns, and its secrets, stay there", () => {
  expect(inherit({})).toEqual({
    "wmtp:base": "prod",
    "wmtp:launcher": BASE["wmtp:launcher"],
    "wmtp:models": BASE["wmtp:models"],
    "wmtp:overrides": BASE["wmtp:overrides"],
    "wmtp:cost": BASE["wmtp:cost"],
    "wmtp:volumes": BASE["wmtp:volumes"],
    "wmtp:policies": BASE["wmtp:policies"],
    "wmtp:pipelines": { baseline: BASE["wmtp:pipelines"].baseline },
  });
});

test("the experiment's keys win, at every depth; lists are replaced", () => {
  const { "wmtp:launcher": launcher, "wmtp:cost": cost } = inherit({
    launcher: { maxParallel: 2, vessl: { cluster: "there" } },
    cost: { budget: 5, presets: ["a"] },
  });
  expect(launcher).toEqual({ retries: 5, maxParallel: 2, vessl: { organization: "us", cluster: "there" } });
  expect(cost).toEqual({ budget: 5, perHour: { "gpu-a100-80g-large": 12 }, presets: ["a"] });
});

describe("a pipeline", () => {
  const pipelines = (named: Record<string, unknown>, sections: Record<string, unknown> = {}) =>
    inherit({ pipelines: named, ...sections })["wmtp:pipelines"];

  test("keeps the base's settings below its own", () => {
    expect(pipelines({ baseline: { gpus: 2, overrides: { "training.learning_rate": 0.2 } } })).toEqual({
      baseline: { gpus: 2, effectiveBatch: 96, overrides: { "training.learning_rate": 0.2, "training.epochs": 2 } },
    });
  });
  test("may say null of a key of the trainer's config, and that wins; a key with nothing after it elsewhere says nothing", () => {
    const said = { gpus: null, overrides: { "training.learning_rate": null } };
    expect(pipelines({ baseline: said }).baseline).toEqual({
      gpus: 4,
      effectiveBatch: 96,
      overrides: { "training.learning_rate": null, "training.epochs": 2 },
    });
    expect(pipelines({ baseline: { overrides: null } })).toEqual({ baseline: BASE["wmtp:pipelines"].baseline });
    expect(inherit({ overrides: { "training.epochs": null } })["wmtp:overrides"]).toEqual({
      "training.epochs": null,
      "training.weight_decay": 0.1,
    });
  });
  test("that the base does not have stands by itself", () => {
    expect(pipelines({ ntp: { gpus: 1 }, rho: null })).toEqual({ ntp: { gpus: 1 }, rho: null });
  });
  test("comes after those of the base that are enabled here, or after those it names", () => {
    expect(pipelines({ rho1: {}, baseline: {} }).rho1).toEqual({ gpus: 2, after: ["baseline"] });
    expect(pipelines({ rho1: { after: ["ntp"] } }).rho1.after).toEqual(["ntp"]);
  });
  test("goes by an override for all pipelines of the experiment, whatever the base says of this one", () => {
    expect(pipelines({ baseline: {} }, { overrides: { "training.learning_rate": 0.3 } }).baseline.overrides).toEqual({
      "training.epochs": 2,
    });
  });
  test.each([
    ["the steps", { overrides: { "training.gradient_accumulation_steps": 3 } }, {}],
    ["the steps of all", {}, { overrides: { "training.gradient_accumulation_steps": 3 } }],
  ])("the base's effective batch gives way to %s", (_, settings, sections) => {
    expect(pipelines({ baseline: settings }, sections).baseline).not.toHaveProperty("effectiveBatch");
  });
  test("the base's steps give way to an effective batch", () => {
    const steps = { "training.gradient_accumulation_steps": 3 };
    write("prod", { ...BASE, "wmtp:pipelines": { baseline: { overrides: steps } } });
    expect(pipelines({ baseline: { effectiveBatch: 48 } }).baseline).toEqual({ effectiveBatch: 48 });
  });
  test("reads the experiment's own critic, where it has one, and not the checkpoint that the base names", () => {
    expect(pipelines({ verifiable: {} }).verifiable).toEqual({ criticCheckpoint: "old/checkpoint_best" });
    expect(pipelines({ critic: null, verifiable: {} }).verifiable).toEqual({});
    expect(pipelines({ critic: null, verifiable: { criticCheckpoint: "prod" } }).verifiable).toEqual({
      criticCheckpoint: "prod",
    });
  });
});

test.each<[string, Record<string, unknown>]>([
  ["no base", { "wmtp:pipelines": "{}" }],
  ["a base, and volumes of its own", rawConfig({ base: "prod", volumes: {}, pipelines: {} })],
])("a stack with %s stands by itself", (_, raw) => {
  const inherited = withInherited(raw as Record<string, string>, project);
  expect(inherited).toMatchObject({ problems: [], experiment: false });
  expect(inherited.raw).toBe(raw);
});

describe("refused", () => {
  const problems = (sections: Record<string, unknown>) => {
    const raw = experiment(sections);
    return checkConfig(raw, new Set(), trainer, { project }).problems;
  };

  test.each<[string, Record<string, unknown>, string]>([
    ["a base without a file", { base: "prd" }, "there is no Pulumi.prd.yaml; stacks: broken, me, on, prod, secret"],
    ["itself", { base: "me" }, "me is the stack itself: name another"],
    ["a base with a base", { base: "on" }, "on has a base itself (prod): name a stack without one"],
    [
      "a secret in what it would take",
      { base: "secret" },
      "wmtp:models of Pulumi.secret.yaml holds a secret value: take it out there",
    ],
    ["no YAML", { base: "broken" }, "Pulumi.broken.yaml is not YAML (BAD_INDENT, line 3): correct that line"],
  ])("%s", (_, sections, message) => {
    write("me", { "wmtp:base": "me" });
    write("on", { "wmtp:base": "prod" });
    write("secret", { "wmtp:models": { base: { secure: "v1:ciphertext" } } });
    writeFileSync(join(project, "Pulumi.broken.yaml"), "config:\n  a: [1\n");
    try {
      // And nothing that would only follow from it, as that the organization is missing.
      expect(problems(sections)).toEqual([{ path: "wmtp:base", message }]);
    } finally {
      for (const stack of ["me", "on", "secret", "broken"]) rmSync(join(project, `Pulumi.${stack}.yaml`));
    }
  });

  test("what is the base's to say, unless it is what the base says", () => {
    const message = "an experiment has its base's: leave it out, or change it in Pulumi.prod.yaml";
    const own = {
      storage: { bucket: "mine" },
      image: { repository: "ghcr.io/me/wmtp", pullCredential: "mine" },
      tracking: { experiment: "mine", domain: "mlflow.example.org" },
      launcher: { target: "local", vessl: { organization: "us" } },
      models: { delivery: "s3", cache: { mount: "nfs://host/path" } },
    };
    expect(problems(own)).toEqual(
      [
        "wmtp:storage.bucket",
        "wmtp:image.repository",
        "wmtp:tracking.domain",
        "wmtp:launcher.target",
        "wmtp:models.delivery",
        "wmtp:models.cache",
      ].map((path) => ({ path, message })),
    );
  });

  test("a value of the base's file is said to be there, the experiment's own is not", () => {
    write("prod", {
      ...BASE,
      "wmtp:overrides": { "training.epoch": 3 },
      "wmtp:pipelines": { ...BASE["wmtp:pipelines"], baseline: { effectiveBatch: 97 }, rho1: { gpus: 3 } },
    });
    const found = problems({
      pipelines: { baseline: { overrides: { "training.batch_size": 5 } }, rho1: { overrides: { "training.see": 1 } } },
      cost: { budget: -1 },
    });
    const there = " (in Pulumi.prod.yaml, the base's file)";
    expect(found).toEqual([
      { path: "wmtp:pipelines.rho1.gpus", message: `3 is not one of 1, 2, 4${there}` },
      { path: "wmtp:cost.budget", message: "-1 is too small; more than 0" },
      { path: "wmtp:overrides.training.epoch", message: expect.stringMatching(/the base's file\)$/) },
      { path: "wmtp:pipelines.rho1.overrides.training.see", message: expect.stringMatching(/"training.seed"\?$/) },
    ]);
  });
});

describe("as a run", () => {
  const resolve = (sections: Record<string, unknown>) => {
    const checked = checkConfig(experiment(sections), new Set(), trainer, { project });
    expect(checked.problems).toEqual([]);
    return resolveConfig("exp", checked.sections as Required<Sections>, trainer, checked.experiment);
  };

  test("it trains with the base's settings and what differs", () => {
    const {
      runs,
      tracking,
      experiment: owned,
    } = resolve({
      pipelines: { baseline: { overrides: { "training.seed": 7 } } },
    });
    expect(owned).toBe(true);
    expect(tracking.experiment).toBe("weighted-mtp/exp");
    expect(runs).toMatchObject([{ pipeline: "baseline", gpus: 4, effectiveBatch: 96, models: ["big"] }]);
    expect(runs[0]?.trainerConfig.training).toMatchObject({
      seed: 7,
      learning_rate: 0.1,
      epochs: 2,
      weight_decay: 0.1,
    });
  });

  test.each<[string, Record<string, unknown>, Record<string, unknown>]>([
    ["its own critic", { critic: null, verifiable: null }, { needs: ["critic"] }],
    ["its base's", { verifiable: null }, { needs: [], criticStack: "prod" }],
    ["another stack's", { verifiable: { criticCheckpoint: "lr-3" } }, { needs: [], criticStack: "lr-3" }],
    ["a path", { verifiable: { criticCheckpoint: "a/b" } }, { needs: [], criticCheckpoint: "a/b" }],
  ])("verifiable reads %s", (_, pipelines, expected) => {
    write("prod", { ...BASE, "wmtp:pipelines": {} });
    const run = resolve({ pipelines }).runs.find(({ pipeline }) => pipeline === "verifiable");
    expect({ needs: run?.needs, criticStack: run?.criticStack, criticCheckpoint: run?.criticCheckpoint }).toEqual({
      criticStack: undefined,
      criticCheckpoint: undefined,
      ...expected,
    });
  });
});
