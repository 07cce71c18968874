/** The stacks that are committed pass, known or not: without a violation, without a waiver. */

import { OF_PROD } from "../support/prod-outputs.ts";
import { stackFile } from "../support/stack-config.ts";
import { judge, prod, resourcesOf } from "./support.ts";

const FINE = { violations: [], messages: [], waived: [], undecided: [] };

test("prod passes in an update, where everything is known", async () => {
  expect(judge(await resourcesOf(), prod)).toEqual(FINE);
});

test("prod passes in a first preview; what is not known is left to the update, and said", async () => {
  const resources = await resourcesOf(prod, { preview: true, known: false });
  expect(judge(resources, prod, { preview: true })).toEqual({
    ...FINE,
    undecided: [
      "iam-action-wildcard: tracker",
      "iam-condition-missing: tracker",
      "iam-principal-narrow: tracker",
      "iam-resource-wildcard: tracker",
      "image-by-digest: baseline, critic, ntp, rho1, verifiable",
      "secret-in-user-data: tracker",
    ],
  });
});

test.each([
  ["a registry of its own", { "wmtp:image": { ecr: true } }],
  ["a domain", { "wmtp:tracking": { allowedCidrs: ["203.0.113.0/24"], domain: "mlflow.example.org" } }],
  [
    "a network that exists",
    {
      "wmtp:tracking": {
        allowedCidrs: ["203.0.113.0/24", "198.51.100.7/32"],
        network: { vpcId: "vpc-0123456789abcdef0", subnetId: "subnet-0123456789abcdef0" },
      },
    },
  ],
  [
    "a key of its own",
    { "wmtp:storage": { bucket: "wmtp", kmsKeyArn: "arn:aws:kms:eu-north-1:111122223333:key/1234abcd" } },
  ],
  ["two access keys", { "wmtp:storage": { bucket: "wmtp", accessKeys: ["1", "2"] } }],
  ["a bucket that exists", { "wmtp:storage": { bucket: "wmtp", adopt: true } }],
  ["models in a volume", { "wmtp:models": { delivery: "volume" } }],
  ["a cache", { "wmtp:models": { cache: { mount: "volume://nfs-storage/model-cache" } } }],
  ["no pipelines", { "wmtp:pipelines": {} }],
  ["nothing protected", { "wmtp:ephemeral": true }],
])("prod passes with %s", async (_, sections) => {
  const config = { ...prod, ...sections };
  expect(judge(await resourcesOf(config), config)).toEqual(FINE);
});

test("minitest passes: nothing to pay for, volumes that are directories", async () => {
  const { config } = stackFile("minitest");
  const resources = await resourcesOf(config, { stack: "minitest" });
  expect(judge(resources, config, { stack: "minitest" })).toEqual(FINE);
});

test("minitest-vessl passes, on the image of its base", async () => {
  const { config } = stackFile("minitest-vessl");
  const resources = await resourcesOf(config, { stack: "minitest-vessl" });
  expect(judge(resources, config, { stack: "minitest-vessl" })).toEqual(FINE);
});

describe("an experiment on prod", () => {
  const experiment = (pipelines: object) => ({ "wmtp:base": "prod", "wmtp:pipelines": pipelines });
  const judged = async (pipelines: object, more: object = {}) => {
    const config = { ...experiment(pipelines), ...more };
    return judge(await resourcesOf(config, { stack: "lr3e5", others: { prod: OF_PROD } }), config, { stack: "lr3e5" });
  };

  test("passes, with its runs alone", async () => {
    const pipelines = { verifiable: null, rho1: { overrides: { "training.learning_rate": 3e-5 } } };
    expect(await judged(pipelines)).toEqual(FINE);
  });

  test("is held to the budget, the prices and the caps of its base", async () => {
    const presets = {
      "wmtp:launcher": { vessl: { presets: { "1": "a", "2": "gpu-a100-large-spot", "4": "gpu-a100-80g-large" } } },
    };
    const { violations, messages } = await judged({ baseline: null, rho1: { gpus: 2 } }, presets);
    expect(violations).toEqual(["cost-price-known: rho1"]);
    expect(messages[0]).toContain("preset gpu-a100-large-spot has no price");
    const dear = await judged({ baseline: { maxDuration: "13d" }, rho1: { maxDuration: "13d" } });
    expect(dear.violations).toEqual(["cost-budget: wmtp-lr3e5"]);
    expect(dear.messages[0]).toContain("its 2 runs may cost 7,488 USD, more than the budget of 5,000 USD");
  });
});
