import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import fc from "fast-check";
import { parseSections, resolveConfig } from "../../components/config.ts";
import type { Sections } from "../../components/config-schema.ts";
import { PIPELINE_NAMES, PIPELINES } from "../../components/pipelines.ts";
import { checkRuns } from "../../components/run-rules.ts";
import { TrainerConfigs } from "../../components/trainer-config.ts";
import { rawConfig } from "../support/stack-config.ts";

const trainer = new TrainerConfigs();
const { json_schema } = JSON.parse(readFileSync(join(import.meta.dirname, "../../trainer/schema.json"), "utf8"));
const validate = new Ajv2020({ strict: false }).compile(json_schema);

/** Sometimes what is asked for, sometimes anything that JSON can say. */
const mostly = <T>(value: fc.Arbitrary<T>) =>
  fc.oneof(
    { weight: 100, arbitrary: value as fc.Arbitrary<unknown> },
    { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 3 }) },
  );

const pipelineName = fc.constantFrom(...PIPELINE_NAMES);
const overrides = fc.oneof(
  {
    weight: 30,
    arbitrary: fc.record(
      {
        "training.batch_size": mostly(fc.constantFrom(1, 2, 3, 6)),
        "training.seed": mostly(fc.nat()),
        "data.train": mostly(fc.constant("humaneval/processed/train.jsonl")),
        "loss.head_weights": mostly(fc.array(fc.constantFrom(0.5, 1), { minLength: 4, maxLength: 4 })),
      },
      { requiredKeys: [] },
    ),
  },
  {
    weight: 1,
    arbitrary: fc.dictionary(
      fc.oneof(fc.string(), fc.constantFrom("__proto__", "toString", "constructor", "training", "training.", ".")),
      fc.jsonValue({ maxDepth: 2 }),
      { maxKeys: 2 },
    ),
  },
);
const run = fc.record(
  {
    gpus: mostly(fc.constantFrom(1, 2, 4)),
    maxDuration: mostly(fc.constantFrom("10m", "1.5h", "2d")),
    effectiveBatch: mostly(fc.integer({ min: 1, max: 200 }).map((n) => n * 24)),
    after: mostly(fc.oneof({ weight: 9, arbitrary: fc.constant([]) }, fc.uniqueArray(pipelineName, { maxLength: 2 }))),
    overrides: mostly(overrides),
    rerun: mostly(fc.string()),
  },
  { requiredKeys: [] },
);
const pipelines = fc.record(
  Object.fromEntries(
    PIPELINE_NAMES.map((name) => [
      name,
      mostly(
        name === "verifiable"
          ? fc
              .tuple(run, fc.option(fc.constant("elsewhere")))
              .map(([settings, from]) => (from === null ? settings : { ...settings, criticCheckpoint: from }))
          : fc.option(run),
      ),
    ]),
  ),
  { requiredKeys: [] },
);
const sections = fc.record(
  {
    launcher: mostly(
      fc.record(
        { target: fc.constant("local"), wait: mostly(fc.constantFrom("completion", "5m")) },
        { requiredKeys: ["target"] },
      ),
    ),
    pipelines: mostly(pipelines),
    overrides: mostly(overrides),
    base: mostly(fc.constant("prod")),
    models: mostly(fc.record({ base: fc.stringMatching(/^[a-z]{1,8}$/) })),
    cost: mostly(fc.record({ maxGpusPerRun: mostly(fc.constantFrom(2, 4)) })),
    waivers: mostly(fc.constant([])),
  },
  { requiredKeys: ["launcher", "pipelines"] },
);

let accepted = 0;
let refused = 0;

function check(raw: Record<string, string>, secrets: ReadonlySet<string> = new Set()): void {
  const parsed = parseSections(raw, secrets);
  const problems = [...parsed.problems, ...checkRuns(parsed.sections, trainer)];
  if (problems.length > 0) {
    refused += 1;
    for (const { path, message } of problems) {
      expect(path).not.toBe("");
      expect(message).not.toMatch(/^\s*$|undefined|\[object|native code/);
    }
    return;
  }
  accepted += 1;
  const { runs } = resolveConfig("fuzz", parsed.sections as Required<Sections>, trainer);
  const names = runs.map(({ pipeline }) => pipeline);
  expect(new Set(names).size).toBe(names.length);
  expect([...names].sort()).toEqual(
    Object.keys(parsed.sections.pipelines ?? {})
      .filter((name) => parsed.sections.pipelines?.[name as "ntp"])
      .sort(),
  );
  for (const [index, settings] of runs.entries()) {
    const before = names.slice(0, index);
    for (const earlier of [...settings.needs, ...settings.after])
      if (names.includes(earlier)) expect(before).toContain(earlier);
    expect(PIPELINES[settings.pipeline].needs).toEqual(expect.arrayContaining([...settings.needs]));
    expect(Number.isInteger(settings.effectiveBatch) && settings.effectiveBatch > 0).toBe(true);
    expect(settings.maxDurationSeconds).toBeGreaterThan(0);
    expect(settings.datasets.length).toBeGreaterThan(0);
    // The trainer would take it, although names of models and accumulation steps were filled in after the check.
    expect(settings.trainerConfig).not.toHaveProperty("paths");
    expect({ valid: validate(settings.trainerConfig), errors: validate.errors }).toEqual({ valid: true, errors: null });
  }
}

test("any config near a real one is accepted and ordered, or refused with paths", () => {
  fc.assert(
    fc.property(sections, (config) => check(rawConfig(config as Record<string, unknown>))),
    { numRuns: 600 },
  );
  // A generator that only ever made bad (or only good) configs would prove nothing.
  expect(accepted).toBeGreaterThan(5);
  expect(refused).toBeGreaterThan(5);
});

test("any text under any key is refused with a path or ignored as another namespace's", () => {
  const key = fc.oneof(
    fc.string(),
    fc
      .constantFrom("launcher", "pipelines", "overrides", "waivers", "base", "hfToken", "__proto__", "toString")
      .map((name) => `wmtp:${name}`),
  );
  fc.assert(
    fc.property(fc.dictionary(key, fc.oneof(fc.string(), fc.json())), fc.array(key), (raw, secrets) =>
      check(raw, new Set(secrets)),
    ),
    { numRuns: 300 },
  );
});

test("every choice of `after` is refused as a cycle exactly when it is one", () => {
  const edges = fc.record(
    Object.fromEntries(
      PIPELINE_NAMES.map((name) => [name, fc.subarray(PIPELINE_NAMES.filter((other) => other !== name))]),
    ),
  );
  fc.assert(
    fc.property(edges, (after) => {
      const parsed = parseSections(
        rawConfig({
          launcher: { target: "local" },
          pipelines: Object.fromEntries(Object.entries(after).map(([name, list]) => [name, { after: list }])),
        }),
        new Set(),
      );
      const problems = checkRuns(parsed.sections, trainer);
      // Independent of the code under test: take away runs without open predecessors until none is left.
      const open = new Map(
        PIPELINE_NAMES.map((name) => [
          name as string,
          new Set<string>([...PIPELINES[name].needs, ...(after[name] ?? [])]),
        ]),
      );
      for (let size = -1; size !== open.size; ) {
        size = open.size;
        for (const [name, waits] of open) if (![...waits].some((other) => open.has(other))) open.delete(name);
      }
      expect(problems.length > 0).toBe(open.size > 0);
    }),
    { numRuns: 300 },
  );
});
