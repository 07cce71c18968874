/** Bad stack files on the real engine: refused in the preview, by path, all problems at once, with nothing created. */
import { existsSync } from "node:fs";
import { EngineStack } from "../support/engine-stack.ts";

let stack: EngineStack;

jest.setTimeout(120_000);
beforeAll(() => {
  stack = new EngineStack("refused");
});
afterAll(() => stack.dispose());

const REFUSALS: [string, Record<string, unknown>, string[]][] = [
  [
    "several at once",
    {
      "wmtp:pipelines.critic": { gpus: 8, gpu: 2 },
      "wmtp:pipelines.rho1": { after: ["nothing"], maxDuration: "soon" },
      "wmtp:pipelines.ntp": { gpus: 1, overrides: { "training.batchsize": 3 } },
      "wmtp:launcher.maxParallel": 0,
    },
    [
      "wmtp:pipelines.critic.gpus: 8 is not one of 1, 2, 4",
      'wmtp:pipelines.critic.gpu: unknown key; did you mean "gpus"?',
      'wmtp:pipelines.rho1.after.0: "nothing" is not one of critic, verifiable, baseline, rho1, ntp',
      'wmtp:pipelines.rho1.maxDuration: "soon" is not a duration',
      "wmtp:launcher.maxParallel: 0 is too small; at least 1",
    ],
  ],
  [
    "verifiable without a critic",
    { "wmtp:pipelines": { verifiable: { gpus: 2 } } },
    ["wmtp:pipelines.verifiable: needs critic: enable wmtp:pipelines.critic, or name a checkpoint"],
  ],
  [
    "trainer keys",
    { "wmtp:pipelines.critic": { gpus: 2, overrides: { "training.batchsize": 3, "training.batch_size": -1 } } },
    ['wmtp:pipelines.critic.overrides.training.batchsize: unknown trainer key; did you mean "training.batch_size"?'],
  ],
  [
    "a negative batch",
    { "wmtp:pipelines.critic": { gpus: 2, overrides: { "training.batch_size": -1 } } },
    ["wmtp:pipelines.critic.overrides.training.batch_size: -1 must be"],
  ],
  [
    "an effective batch that cannot be divided",
    { "wmtp:pipelines.critic": { gpus: 2, effectiveBatch: 7 } },
    ["wmtp:pipelines.critic.effectiveBatch: 7 cannot be divided by batch_size 2 x 2 gpus; nearest: 4 or 8"],
  ],
  [
    "an unknown pipeline",
    { "wmtp:pipelines.baselin": {} },
    ['wmtp:pipelines.baselin: unknown key; did you mean "baseline"?'],
  ],
  [
    "a model that is not there",
    { "wmtp:models.base": "tiny-mpt" },
    ["tiny-mpt is not in the source of the models volume"],
  ],
  [
    "a source that is not there",
    { "wmtp:volumes.sources": { models: "storage/nowhere", datasets: "storage/nowhere" } },
    ["storage/nowhere does not exist"],
  ],
  [
    "the cloud, with nothing said about it",
    { "wmtp:launcher": { target: "vessl", vessl: { organization: "us" } } },
    [
      "aws:region: is missing; set it with: pulumi config set aws:region eu-north-1",
      "wmtp:tracking.allowedCidrs: names nobody",
      "wmtp:image.repository: is missing; name one you may push to",
    ],
  ],
];

test.each(REFUSALS)("%s", (_name, config, messages) => {
  const original = stack.configuration();
  try {
    stack.configure(config);
    const { code, text } = stack.pulumi("preview");
    expect(code).not.toBe(0);
    for (const message of messages) expect(text).toContain(message);
    expect(text).not.toMatch(/\n\s+at .*(\.ts|\.js):\d+/); // no stack trace
    const { text: up } = stack.pulumi("up", "--yes");
    for (const message of messages) expect(up).toContain(message);
    expect(stack.trained()).toEqual([]);
  } finally {
    stack.restore(original);
  }
});

test("after all of them: no resource, no process, no data", () => {
  expect(Object.keys(stack.runs())).toEqual([]);
  expect(stack.processes().filter(({ command }) => !command.includes("mlflow"))).toEqual([]);
  expect(existsSync(stack.data) && stack.trained().length > 0).toBe(false);
});
