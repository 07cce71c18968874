import { type Change, changedSettings } from "../../components/changed-settings.ts";
import { NOT_KNOWN, type Plan, type PlanFacts, planOf } from "../../components/plan.ts";
import { planMarkdown } from "../../components/plan-markdown.ts";
import { planTable } from "../../components/plan-table.ts";
import { hoursText } from "../../components/plan-text.ts";

type Config = PlanFacts["config"];

const PRESETS = { "1": "gpu-a100-80g-small", "2": "gpu-a100-80g-medium", "4": "gpu-a100-80g-large" };
const trainerConfig = { training: { learning_rate: 0.0003, batch_size: 4 } };

const run = (pipeline: string, change: object = {}) =>
  ({
    pipeline,
    gpus: 4,
    maxDurationSeconds: 48 * 3600,
    needs: [],
    after: [],
    models: ["llama-7b-mtp"],
    datasets: ["codecontests"],
    trainerConfig,
    effectiveBatch: 64,
    ...change,
  }) as Config["runs"][number];

const config = (change: Partial<Config> = {}): Config =>
  ({
    stack: "prod",
    launcher: { target: "vessl", maxParallel: 1, retries: 2, vessl: { presets: PRESETS } },
    models: { delivery: "s3" },
    cost: {
      currency: "USD",
      perHour: { "gpu-a100-80g-large": 12, "gpu-a100-80g-small": 3 },
      egressPerGb: 0.1,
      awsPerMonth: 31,
      budget: 1000,
    },
    runs: [run("critic"), run("ntp", { gpus: 1, maxDurationSeconds: 1800 })],
    ...change,
  }) as Config;

const facts = (change: Partial<PlanFacts> = {}): PlanFacts => ({
  config: config(),
  baseRuns: undefined,
  modelBytes: { "llama-7b-mtp": 27e9 },
  trains: {},
  ownsInfrastructure: true,
  ...change,
});

const local = { ...config().launcher, target: "local" } as Config["launcher"];
const cost = (change: object) => ({ ...config().cost, ...change }) as Config["cost"];

test.each([
  [48, "48"],
  [0.5, "0.5"],
  [0.0201, "0.021"],
  [1.001, "1.01"],
  [9.999, "10"],
  [1 / 3, "0.34"],
  [0.1 + 0.2, "0.3"],
  [33.3, "33.3"],
  [99.99, "100"],
  [100.49, "101"],
  [1234, "1234"],
  [0, "0"],
])("%d hours are shown as no fewer: %s", (hours, text) => {
  expect(hoursText(hours)).toBe(text);
});

test("costs: GPUs for maxDuration, and models out of the bucket at the start and at each resumption", () => {
  const plan = planOf(facts());
  expect(plan.rows.map(({ pipeline, preset, maxHours, cost }) => ({ pipeline, preset, maxHours, cost }))).toEqual([
    { pipeline: "critic", preset: "gpu-a100-80g-large", maxHours: 48, cost: { gpus: 576, egress: 27 * 3 * 0.1 } },
    { pipeline: "ntp", preset: "gpu-a100-80g-small", maxHours: 0.5, cost: { gpus: 1.5, egress: 27 * 3 * 0.1 } },
  ]);
  expect(plan).toMatchObject({
    peakGpus: 4,
    total: { gpus: 577.5, egress: 27 * 3 * 0.1 * 2 },
    budget: 1000,
    awsPerMonth: 31,
    unpriced: [],
  });
});

test.each<[string, Partial<PlanFacts>, object]>([
  [
    "models in a volume leave no bucket",
    { config: config({ models: { delivery: "volume" } as never }) },
    { egress: 0 },
  ],
  ["sizes that are not known are no zero", { modelBytes: NOT_KNOWN }, { egress: NOT_KNOWN }],
  ["nor is a model that nobody has counted", { modelBytes: { other: 1 } }, { egress: NOT_KNOWN }],
  ["a preset without a price", { config: config({ cost: cost({ perHour: {} }) }) }, { gpus: 0 }],
])("%s", (_, change, total) => {
  expect(planOf(facts(change)).total).toMatchObject(total);
});

test("a preset without a price is named once", () => {
  const runs = [run("critic"), run("rho1"), run("ntp", { gpus: 2 })];
  const plan = planOf(facts({ config: config({ runs, cost: cost({ perHour: { "gpu-a100-80g-medium": 5 } }) }) }));
  expect(plan.unpriced).toEqual(["gpu-a100-80g-large"]);
  expect(plan.rows.map((row) => row.cost?.gpus)).toEqual([undefined, undefined, 240]);
});

test("infrastructure is paid by the stack that owns it; this machine costs nothing", () => {
  expect(planOf(facts({ ownsInfrastructure: false })).awsPerMonth).toBeUndefined();
  const plan = planOf(facts({ config: config({ launcher: local }) }));
  expect(plan).toMatchObject({
    total: undefined,
    budget: undefined,
    awsPerMonth: undefined,
    unpriced: [],
    peakGpus: 4,
  });
  expect(plan.rows).toMatchObject([{ preset: undefined, cost: undefined }, { preset: undefined }]);
});

describe("against the base", () => {
  const base = { gpus: 4, preset: PRESETS[4], maxDurationSeconds: 48 * 3600, effectiveBatch: 64, trainerConfig };
  const changesOf = (now: object, baseRuns: PlanFacts["baseRuns"] = { critic: base }) =>
    planOf(
      facts({ baseRuns, config: config({ base: "prod", experiment: true, stack: "x", runs: [run("critic", now)] }) }),
    ).rows[0];

  test("nothing, settings of the trainer, and what it takes", () => {
    expect(changesOf({})).toMatchObject({ changes: [], baseEffectiveBatch: undefined });
    const now = { gpus: 1, maxDurationSeconds: 3600, trainerConfig: { training: { learning_rate: 3e-5, seed: 1 } } };
    expect(changesOf(now)?.changes).toEqual([
      { key: "training.learning_rate", old: "0.0003", new: "0.00003" },
      { key: "training.seed", old: undefined, new: "1" },
      { key: "training.batch_size", old: "4", new: undefined },
      { key: "gpus", old: "4", new: "1" },
      { key: "preset", old: PRESETS[4], new: PRESETS[1] },
      { key: "maxDuration", old: "48h", new: "1h" },
    ]);
  });

  test("the effective batch of the base, where it is another", () => {
    expect(changesOf({ effectiveBatch: 32 })?.baseEffectiveBatch).toBe(64);
  });

  test("a base without such a run, one that is not known, and none", () => {
    expect(changesOf({}, {})?.changes).toBeUndefined();
    expect(changesOf({}, NOT_KNOWN)?.changes).toBe(NOT_KNOWN);
    expect(planOf(facts()).rows[0]?.changes).toBeUndefined();
  });
});

test("another critic, or another token, is a change", () => {
  const trainer = { gpus: 4, preset: PRESETS[4], maxDurationSeconds: 172_800, effectiveBatch: 64, trainerConfig };
  const baseRuns = { verifiable: { ...trainer, critic: "prod" } };
  const changes = (settings: object) =>
    planOf(
      facts({
        baseRuns,
        config: config({ base: "prod", experiment: true, stack: "x", runs: [run("verifiable", settings)] }),
      }),
    ).rows[0]?.changes;
  expect(changes({ needs: [], criticStack: "prod" })).toEqual([]);
  expect(changes({ needs: [], criticStack: "other" })).toEqual([{ key: "critic", old: "prod", new: "other" }]);
  expect(changes({ needs: ["critic"] })).toEqual([{ key: "critic", old: "prod", new: "x" }]);
  expect(changes({ needs: [], criticStack: "prod", rerun: "2" })).toEqual([{ key: "rerun", old: undefined, new: "2" }]);
});

test.each<[string, object, object, Change[]]>([
  ["null is unset", { a: { b: null } }, { a: {} }, []],
  ["lists as a whole", { a: [1, 2] }, { a: [1] }, [{ key: "a", old: "[1,2]", new: "[1]" }]],
  ["text as it is", { a: "x" }, { a: "y" }, [{ key: "a", old: "x", new: "y" }]],
  ["the order of keys is none", { a: 1, b: { c: 2, d: 3 } }, { b: { d: 3, c: 2 }, a: 1 }, []],
  ["a text is no number", { a: "1" }, { a: 1 }, []],
])("changed settings: %s", (_, before, now, changes) => {
  expect(changedSettings(before, now)).toEqual(changes);
});

/** An experiment with everything that can be said. */
const everything: Plan = planOf(
  facts({
    ownsInfrastructure: false,
    config: config({
      stack: "lr3e5",
      base: "prod",
      experiment: true,
      runs: [
        run("critic", { maxDurationSeconds: 1800 }),
        run("verifiable", {
          gpus: 1,
          effectiveBatch: 16,
          trainerConfig: { training: { learning_rate: 3e-5, batch_size: 4 } },
        }),
        run("rho1", { gpus: 2 }),
      ],
    }),
    baseRuns: {
      critic: { gpus: 4, preset: PRESETS[4], maxDurationSeconds: 1800, effectiveBatch: 64, trainerConfig },
      verifiable: { gpus: 4, preset: PRESETS[4], maxDurationSeconds: 172_800, effectiveBatch: 64, trainerConfig },
    },
    modelBytes: NOT_KNOWN,
    trains: {
      verifiable: "re-trains because training.learning_rate 0.0003 -> 0.00003, the critic it needs changed",
      rho1: "first time",
    },
  }),
);

test("the table for a terminal", () => {
  expect(planTable(everything).split("\n")).toEqual([
    "Plan of lr3e5 on prod",
    "┌────────────┬──────┬─────────────────────┬───────┬───────┬────────────┬────────────┐",
    "│ pipeline   │ GPUs │ preset              │ batch │ hours │ max cost   │ trains     │",
    "├────────────┼──────┼─────────────────────┼───────┼───────┼────────────┼────────────┤",
    "│ critic     │ 4    │ gpu-a100-80g-large  │ 64    │ 0.5   │ 6.00 USD + │ stays      │",
    "│ verifiable │ 1    │ gpu-a100-80g-small  │ 16    │ 48    │ 144 USD +  │ re-trains  │",
    "│ rho1       │ 2    │ gpu-a100-80g-medium │ 64    │ 48    │ no price   │ first time │",
    "└────────────┴──────┴─────────────────────┴───────┴───────┴────────────┴────────────┘",
    "critic: as in prod",
    "verifiable re-trains because training.learning_rate 0.0003 -> 0.00003, the critic it needs changed",
    "verifiable against prod:",
    "  training.learning_rate 0.0003 -> 0.00003",
    "  gpus 4 -> 1",
    "  preset gpu-a100-80g-large -> gpu-a100-80g-small",
    "verifiable: effective batch 16, and 64 in prod: the two are not the same training, step by step",
    "rho1: prod has no such run",
    "150 USD and more (GPUs 150 USD, egress of models (+) not known yet); GPUs at a time: 4 at most",
    "of it, 144 USD for what this update starts",
    "no price for gpu-a100-80g-medium: the sum is without it, until wmtp:cost.perHour names it",
    "budget for GPUs: 1,000 USD (wmtp:cost.budget)",
  ]);
});

test("the Markdown for a pull request", () => {
  expect(planMarkdown(everything).split("\n")).toEqual([
    "### Plan of `lr3e5` on `prod`",
    "",
    "| pipeline | GPUs | preset | effective batch | max hours | max cost | trains |",
    "| --- | --- | --- | --- | --- | --- | --- |",
    "| critic | 4 | `gpu-a100-80g-large` | 64 | 0.5 | 6.00 USD + | stays |",
    "| verifiable | 1 | `gpu-a100-80g-small` | 16 | 48 | 144 USD + | re-trains because training.learning_rate 0.0003 -> 0.00003, the critic it needs changed |",
    "| rho1 | 2 | `gpu-a100-80g-medium` | 64 | 48 | no price | first time |",
    "",
    "- **critic** as in `prod`",
    "- **verifiable** against `prod`: `training.learning_rate` `0.0003` → `0.00003`, `gpus` `4` → `1`, `preset` `gpu-a100-80g-large` → `gpu-a100-80g-small`",
    "- **verifiable**: :warning: effective batch 16, and 64 in prod: the two are not the same training, step by step",
    "- **rho1**: `prod` has no such run",
    "",
    "150 USD and more (GPUs 150 USD, egress of models (+) not known yet); GPUs at a time: 4 at most\\",
    "of it, 144 USD for what this update starts\\",
    "no price for gpu-a100-80g-medium: the sum is without it, until wmtp:cost.perHour names it\\",
    "budget for GPUs: 1,000 USD (wmtp:cost.budget)",
  ]);
});

test("of a stack that owns its infrastructure and exceeds its budget, when nothing of it is known to train", () => {
  const plan = planOf(facts({ config: config({ cost: cost({ budget: 500 }) }) }));
  const sums = [
    "594 USD at most (GPUs 578 USD, egress of models 16.20 USD); GPUs at a time: 4 at most",
    "of it, nothing for this update: it starts no training",
    "GPUs cost MORE THAN the budget of 500 USD (wmtp:cost.budget)",
    "infrastructure on AWS: 31.00 USD a month, without what the bucket holds",
  ];
  expect(planTable(plan).split("\n").slice(-4)).toEqual(sums);
  expect(planMarkdown(plan)).toBe(
    [
      "### Plan of `prod`",
      "",
      "| pipeline | GPUs | preset | effective batch | max hours | max cost |",
      "| --- | --- | --- | --- | --- | --- |",
      "| critic | 4 | `gpu-a100-80g-large` | 64 | 48 | 584 USD |",
      "| ntp | 1 | `gpu-a100-80g-small` | 64 | 0.5 | 9.60 USD |",
      "",
      sums.join("\\\n"),
    ].join("\n"),
  );
});

test("on this machine there are workers, and nothing to pay", () => {
  const plan = planOf(facts({ config: config({ launcher: local }), trains: { critic: "adopted: trained before" } }));
  expect(planTable(plan).split("\n")).toEqual([
    "Plan of prod",
    "┌──────────┬─────────┬───────┬───────┬─────────────────────────┐",
    "│ pipeline │ workers │ batch │ hours │ trains                  │",
    "├──────────┼─────────┼───────┼───────┼─────────────────────────┤",
    "│ critic   │ 4       │ 64    │ 48    │ adopted: trained before │",
    "│ ntp      │ 1       │ 64    │ 0.5   │ stays                   │",
    "└──────────┴─────────┴───────┴───────┴─────────────────────────┘",
    "worker processes at a time: 4 at most; on this machine, nothing to pay",
  ]);
});

test("a stack of infrastructure alone", () => {
  const plan = planOf(facts({ config: config({ runs: [] }) }));
  expect(planTable(plan)).toBe(
    "Plan of prod\nno runs\ninfrastructure on AWS: 31.00 USD a month, without what the bucket holds",
  );
  expect(planMarkdown(plan)).toBe(
    "### Plan of `prod`\n\nNo runs.\n\ninfrastructure on AWS: 31.00 USD a month, without what the bucket holds",
  );
});

test("no line is longer than a terminal, whatever is in it", () => {
  const presets = { ...PRESETS, "4": `gpu-${"x".repeat(40)}` };
  const launcher = { ...config().launcher, vessl: { presets } } as Config["launcher"];
  const trains = `re-trains because ${Array.from({ length: 5 }, (_, key) => `section.some_long_key_${key} 1 -> 2`).join(", ")}`;
  const runs = [run("verifiable", { maxDurationSeconds: 4000, effectiveBatch: 1_000_000 })];
  const costs = cost({ perHour: { [presets[4]]: 12_345_678 } });
  const plan = planOf(
    facts({
      config: config({ base: "prod", experiment: true, launcher, runs, cost: costs }),
      baseRuns: {},
      modelBytes: NOT_KNOWN,
      trains: { verifiable: trains },
    }),
  );
  const lines = planTable(plan).split("\n");
  expect(lines.filter((line) => line.length > 120)).toEqual([]);
  expect(lines.join("\n")).toContain(`gpu-${"x".repeat(17)}...`);
  expect(lines.join("\n").replaceAll("\n  ", " ")).toContain(`verifiable ${trains}`);
});

test("in Markdown, values are nobody's markup, link or mention", () => {
  const base = { gpus: 4, maxDurationSeconds: 1, effectiveBatch: 64, trainerConfig };
  const odd = { training: { ...trainerConfig.training, note: "a`b|c\nd @all <img>" } };
  const plan = planOf(
    facts({
      config: config({ base: "prod", experiment: true, launcher: local, runs: [run("ntp", { trainerConfig: odd })] }),
      baseRuns: { ntp: { ...base, maxDurationSeconds: 172_800 } },
      trains: { ntp: "re-trains because x <b>@all</b> | *y* [z](u) `w`" },
    }),
  );
  const markdown = planMarkdown(plan);
  expect(markdown).toContain("`training.note` unset → `a'b\\|c d @all <img>`");
  expect(markdown).toContain("| re-trains because x &lt;b>&#64;all&lt;/b> \\| \\*y\\* \\[z\\](u) \\`w\\` |");
});
