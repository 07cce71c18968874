import * as pulumi from "@pulumi/pulumi";
import type { BaseStack } from "../../components/base-stack.ts";
import type { StackConfig } from "../../components/config.ts";
import { declarePlan, type StackPlanArgs } from "../../components/stack-plan.ts";

const trainerConfig = { training: { learning_rate: 1 } };
const config = {
  stack: "x",
  base: "prod",
  experiment: true,
  launcher: { target: "vessl", maxParallel: 1, retries: 0, vessl: { presets: { "1": "small", "2": "", "4": "" } } },
  models: { delivery: "s3" },
  cost: { currency: "USD", perHour: { small: 1 }, egressPerGb: 1, awsPerMonth: 31 },
  runs: ["critic", "ntp"].map((pipeline) => ({
    ...{ pipeline, gpus: 1, maxDurationSeconds: 3600, effectiveBatch: 8, models: ["m"], needs: [], trainerConfig },
  })),
} as unknown as StackConfig;
/** As it says, or does not say, what it runs. */
const baseWith = (runs: object | undefined) => ({ find: () => runs }) as unknown as BaseStack;
const baseRun = { gpus: 1, preset: "small", maxDurationSeconds: 3600, effectiveBatch: 8, trainerConfig };

/** Of a preview, in which `trains` is known where the engine gave it. */
class Run extends pulumi.CustomResource {
  declare readonly trains: pulumi.Output<string | undefined>;
  constructor(name: string, trains?: string) {
    super("launcher:index:Run", name, { trains });
  }
}

let info: jest.SpyInstance;
beforeEach(() => {
  info = jest.spyOn(pulumi.log, "info").mockResolvedValue();
});
afterEach(() => jest.restoreAllMocks());

/** Why the critic trains is known; the other run stays as it is. */
async function plan(preview: boolean, change: Partial<StackPlanArgs> = {}): Promise<string> {
  const mocks = {
    newResource: ({ inputs, name }: pulumi.runtime.MockResourceArgs) => ({ id: name, state: inputs }),
    call: () => ({}),
  };
  await pulumi.runtime.setMocks(mocks, "wmtp", "x", preview);
  const runs = new Map([
    ["critic", new Run("critic", "first time")],
    ["ntp", new Run("ntp")],
  ] as const);
  const output = declarePlan({
    config,
    runs,
    base: baseWith({ critic: baseRun, ntp: baseRun }),
    modelBytes: pulumi.output({ m: 1e9 }),
    ...change,
  });
  return new Promise((resolve) => output.apply(resolve));
}

/** Unknown in a preview. */
const unknown = () => (new Run("other") as unknown as Record<string, pulumi.Output<undefined>>).trains;

test("a preview shows the table once, and gives the Markdown", async () => {
  expect(await plan(true)).toContain("| critic | 1 | `small` | 8 | 1 | 2.00 USD | first time |");
  expect(info).toHaveBeenCalledTimes(1);
  expect(info.mock.calls[0]).toEqual([expect.stringMatching(/^\nPlan of x on prod\n(.*\n)+critic: as in prod\n/)]);
  expect(info.mock.calls[0][0]).toMatch(/│ ntp .* stays /);
});

test("what is not known yet is called so, and hides nothing else", async () => {
  await plan(true); // sets the mocks up
  const markdown = await plan(true, { modelBytes: unknown(), base: baseWith(undefined) });
  expect(markdown).toContain("| critic | 1 | `small` | 8 | 1 | 1.00 USD + | first time |");
  expect(markdown).toContain("- **ntp** against `prod`: not known yet");
});

test("what fails elsewhere does not take the plan along", async () => {
  const failed = { isKnown: Promise.resolve(true), promise: () => Promise.reject(new Error("upload failed")) };
  expect(await plan(false, { modelBytes: failed as never })).toContain("| ntp | 1 | `small` | 8 | 1 | 1.00 USD + |");
});

test("an update shows nothing, and asks no run", async () => {
  const never = { trains: pulumi.output(new Promise<string>(() => undefined)) };
  const markdown = await plan(false, { runs: new Map([["critic", never]]) });
  expect(markdown).toContain("| critic | 1 | `small` | 8 | 1 | 2.00 USD |");
  expect(markdown).not.toContain("trains");
  expect(info).not.toHaveBeenCalled();
});
