/** The plan at the end of a preview, on the real engine: why each run trains must be known there, and nowhere else. */
import { EngineStack } from "../support/engine-stack.ts";

const PIPELINES = { critic: { gpus: 1 }, verifiable: { gpus: 1 }, baseline: { gpus: 1 }, ntp: { gpus: 1 } };
let stack: EngineStack;

jest.setTimeout(300_000);
beforeAll(() => {
  stack = new EngineStack("plan", { config: { "wmtp:pipelines": PIPELINES, "wmtp:overrides.training\\.seed": 1 } });
});
afterAll(() => stack.dispose());

let text: string;

/** What a preview says of each run in its last column; it shows the table once. */
function planned(...options: string[]): Record<string, string> {
  const preview = stack.pulumi("preview", ...options);
  text = preview.text;
  expect(preview).toMatchObject({ code: 0 });
  expect(text.split("Plan of plan\n")).toHaveLength(2);
  const rows = text.matchAll(/│ (\w+) +│ 1 .*│ (\S.*?) +│\n/g);
  return Object.fromEntries([...rows].map(([, pipeline, trains]) => [pipeline, trains]));
}

const all = (trains: string) => Object.fromEntries(Object.keys(PIPELINES).map((pipeline) => [pipeline, trains]));
const output = () => stack.mustRun("stack", "output", "plan");

test("of what was never made: all train for the first time", () => {
  expect(planned()).toEqual(all("first time"));
});

test("an update gives the plan without reasons, also where a run fails; a preview of nothing changes nothing of it", () => {
  stack.fail("ntp", "CUDA out of memory");
  expect(stack.up().code).not.toBe(0);
  expect(output()).toContain("| pipeline | workers | effective batch | max hours |\n");
  expect(planned()).toEqual({ ...all("stays"), ntp: "goes on or is resumed" });
  stack.fail("ntp", undefined);
  expect(stack.up().code).toBe(0);
  const runs = Object.values(stack.runs());
  expect(runs).toHaveLength(4);
  expect(runs.filter(({ usedSeconds }) => !((usedSeconds ?? 0) > 0))).toEqual([]);
  expect(runs.filter((run) => "trains" in run)).toEqual([]);
  expect(planned("--expect-no-changes")).toEqual(all("stays"));
});

test("replaced, updated, left as it is: each with its reason", () => {
  stack.configure({
    "wmtp:pipelines.critic.overrides": { "training.learning_rate": 0.00003 },
    "wmtp:pipelines.ntp.maxDuration": "24h",
  });
  expect(planned()).toEqual({
    critic: "re-trains",
    verifiable: "re-trains",
    baseline: "stays",
    ntp: "records maxDuration 48h -> 24h",
  });
  expect(text).toContain("critic re-trains because training.learning_rate 0.003 -> 0.00003\n");
  expect(text).toContain("verifiable re-trains because the critic it needs changed\n");
});

test("a critic that fails in an update is no critic for others: not the one before it either", () => {
  const critic = () => JSON.parse(stack.mustRun("stack", "output", "--json")).critic;
  expect(critic()).toMatchObject({ fingerprint: stack.runs().critic?.fingerprint });
  stack.fail("critic", "CUDA out of memory");
  expect(stack.up().code).not.toBe(0);
  expect(critic()).toBeNull();
  stack.fail("critic", undefined);
});

test("back to what was trained before: adopted", () => {
  expect(stack.up().code).toBe(0);
  stack.configure({ "wmtp:pipelines.critic.overrides": undefined });
  expect(planned()).toEqual({
    critic: "adopted: trained before",
    verifiable: "adopted: trained before",
    baseline: "stays",
    ntp: "stays",
  });
});
