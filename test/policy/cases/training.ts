/** What it takes to break the policies on training. */
import { type Cases, run } from "./breaking.ts";

export const training = {
  "run-gpus": [
    [
      "eight",
      run("gpus", 8),
      ["run-gpus: baseline", "run-preset: baseline", "cost-gpus-per-run: baseline", "cost-gpus-per-stack: wmtp-prod"],
      "gpus is not one of 1, 2, 4",
    ],
  ],
  "run-preset": [
    [
      "the preset of one GPU for four",
      run("cloud.preset", "gpu-a100-80g-small"),
      ["run-preset: baseline"],
      "cloud.preset is not that of its GPUs",
    ],
  ],
  "run-one-gpu": [["not the control", run("pipeline", "rho1", "ntp"), ["run-one-gpu: ntp"], "it has one GPU"]],
  "run-bounded": [
    [
      "no end",
      run("maxDurationSeconds", undefined),
      ["run-bounded: baseline", "cost-budget: baseline", "cost-price-known: baseline", "cost-gpus-per-stack: baseline"],
      "maxDurationSeconds is not 1 to 1209600",
    ],
  ],
  "run-needs-critic": [
    ["no critic", run("needs", {}, "verifiable"), ["run-needs-critic: verifiable"], "it starts without a critic"],
  ],
  "run-after-tracker": [
    [
      "no wait",
      (find) => {
        const one = find("launcher:index:Run", "ntp");
        one.dependencies = one.dependencies.filter(({ type }) => type !== "command:local:Command");
        return undefined;
      },
      ["run-after-tracker: ntp"],
      "it does not wait for the tracker",
    ],
  ],
  "run-after-data": [
    [
      "no wait",
      (find) => {
        const one = find("launcher:index:Run", "ntp");
        one.dependencies = one.dependencies.filter(({ type }) => type !== "launcher:index:Upload");
        return undefined;
      },
      ["run-after-data: ntp"],
      "it does not wait for the data that it reads",
    ],
  ],
  "run-safetensors": [
    [
      "a pickle",
      run("criticCheckpoint", "old/checkpoint_best.pt"),
      ["run-safetensors: baseline"],
      "criticCheckpoint names a pickled file",
    ],
  ],
  "cloud-place": [
    [
      "another organization",
      run("place.organization", "somebody"),
      ["cloud-place: baseline"],
      "place.organization is not that of the stack file",
    ],
  ],
} satisfies Cases;
