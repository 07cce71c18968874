/** What it takes to break the policies on cost. */
import { type Cases, config, costs, host, set } from "./breaking.ts";

export const cost = {
  "cost-budget": [
    [
      "a small one",
      costs({ budget: 1000 }),
      ["cost-budget: wmtp-prod"],
      "its 5 runs may cost 2,088 USD, more than the budget of 1,000 USD",
    ],
  ],
  "cost-price-known": [
    [
      "none",
      costs({ perHour: { "gpu-a100-80g-large": 12 } }),
      ["cost-price-known: ntp"],
      "preset gpu-a100-80g-small has no price",
    ],
  ],
  "cost-gpus-per-run": [
    [
      "two",
      costs({ maxGpusPerRun: 2 }),
      ["baseline", "critic", "rho1", "verifiable"].map((name) => `cost-gpus-per-run: ${name}`),
      "gpus is more than 2",
    ],
  ],
  "cost-gpus-per-stack": [
    [
      "two at a time",
      () => ({ ...config, "wmtp:launcher": { target: "vessl", vessl: { organization: "my-org" }, maxParallel: 2 } }),
      [
        ...["baseline", "critic", "ntp", "rho1", "verifiable"].map((name) => `run-bounded: ${name}`),
        "cost-gpus-per-stack: wmtp-prod",
      ],
      "maxParallel is not that of the stack file",
    ],
  ],
  "cost-presets": [
    [
      "small ones alone",
      costs({ presets: ["gpu-a100-80g-small"] }),
      ["baseline", "critic", "rho1", "verifiable"].map((name) => `cost-presets: ${name}`),
      "cloud.preset is not one of wmtp:cost.presets (gpu-a100-80g-small)",
    ],
  ],
  "cost-host": [
    [
      "a host with GPUs",
      host("instanceType", "p4d.24xlarge"),
      ["cost-host: tracker"],
      "instanceType is not wmtp:tracking.instanceType",
    ],
    [
      "a dear disk",
      (find) => set(find("aws:ebs/volume:Volume"), "type", "io2"),
      ["cost-host: tracker"],
      "type is not gp3",
    ],
  ],
} satisfies Cases;
