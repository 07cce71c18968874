/** What a stack may cost. On the local target there is nothing to pay for. */
import { formatMoney, gpuCost, peakGpus } from "../components/cost.ts";
import { ofType } from "./linked.ts";
import type { Policy, StackResource, Verdict } from "./policy.ts";
import type { StackSettings } from "./stack-settings.ts";
import { at, between, demand, is, isText, notLiteral, type Value } from "./values.ts";

const RUN = "launcher:index:Run";

interface CountedRun {
  readonly run: StackResource;
  readonly preset: string;
  readonly seconds: number;
  readonly gpus: number;
}

/** Runs that are paid for, as numbers; what is not known of one is a violation, because it could be anything. */
function counted(resources: readonly StackResource[], verdict: Verdict, { launcher }: StackSettings): CountedRun[] {
  if (launcher.target === "local") return [];
  return ofType(resources, RUN).flatMap((run) => {
    const [preset, seconds, gpus] = ["cloud.preset", "maxDurationSeconds", "gpus"].map((path) => at(run.props, path));
    if (isText(preset) && typeof seconds === "number" && typeof gpus === "number")
      return [{ run, preset, seconds, gpus }];
    verdict.violated(notLiteral("preset, maxDuration or gpus"), run);
    return [];
  });
}

const budget: Policy = {
  id: "cost-budget",
  demands: "All runs of the stack together cost at most the budget, each running for its whole maxDuration",
  severity: "critical",
  controls: [],
  remedy: "Shorten maxDuration, take fewer GPUs or pipelines, or raise wmtp:cost.budget",
  stackTypes: [RUN],
  wholeStack(resources, verdict, stack) {
    const { cost } = stack;
    if (cost.budget === undefined) return;
    const prices = counted(resources, verdict, stack).map(({ preset, seconds }) => gpuCost(cost, preset, seconds) ?? 0);
    const sum = prices.reduce((total, price) => total + price, 0);
    if (sum > cost.budget)
      verdict.violated(
        `its ${prices.length} runs may cost ${formatMoney(sum, cost.currency)}, more than the budget of ${formatMoney(cost.budget, cost.currency)}`,
      );
  },
};

const price: Policy = {
  id: "cost-price-known",
  demands: "Where there is a budget, every preset in use has a price",
  severity: "high",
  controls: [],
  remedy: "Write its price in wmtp:cost.perHour",
  stackTypes: [RUN],
  wholeStack(resources, verdict, stack) {
    if (stack.cost.budget === undefined) return;
    const unpriced = counted(resources, verdict, stack).filter(
      ({ preset }) => gpuCost(stack.cost, preset, 1) === undefined,
    );
    for (const { run, preset } of unpriced) verdict.violated(`preset ${preset} has no price`, run);
  },
};

const perRun: Policy = {
  id: "cost-gpus-per-run",
  demands: "No run has more GPUs than wmtp:cost.maxGpusPerRun",
  severity: "high",
  controls: [],
  remedy: "Take fewer GPUs, or raise wmtp:cost.maxGpusPerRun",
  types: [RUN],
  eachOf(resource, verdict, { launcher, cost }) {
    if (launcher.target === "local") return;
    demand(verdict, resource, "gpus", between(0, cost.maxGpusPerRun), `is more than ${cost.maxGpusPerRun}`);
  },
};

const perStack: Policy = {
  id: "cost-gpus-per-stack",
  demands: "The runs that may be active together have no more GPUs than wmtp:cost.maxGpus",
  severity: "high",
  controls: [],
  remedy: "Lower wmtp:launcher.maxParallel, take fewer GPUs, or raise wmtp:cost.maxGpus",
  stackTypes: [RUN],
  wholeStack(resources, verdict, stack) {
    const { launcher, cost } = stack;
    const peak = peakGpus(counted(resources, verdict, stack), launcher.maxParallel);
    if (peak > cost.maxGpus) verdict.violated(`${peak} GPUs may be in use at a time, and ${cost.maxGpus} are allowed`);
  },
};

const presets: Policy = {
  id: "cost-presets",
  demands: "Runs use the presets that wmtp:cost.presets allows, if it names any",
  severity: "high",
  controls: [],
  remedy: "Take an allowed preset in wmtp:launcher.vessl.presets, or allow this one",
  types: [RUN],
  eachOf(resource, verdict, { launcher, cost: { presets: allowed } }) {
    if (launcher.target === "local" || allowed === undefined) return;
    demand(
      verdict,
      resource,
      "cloud.preset",
      (name) => isText(name) && allowed.includes(name),
      `is not one of wmtp:cost.presets (${allowed.join(", ")})`,
    );
  },
};

const INSTANCE = "aws:ec2/instance:Instance";
const DISK = "aws:ebs/volume:Volume";
const LARGEST_ROOT_GIB = 32;

const host: Policy = {
  id: "cost-host",
  demands: `Hosts and data disks are of the type and size in the stack file, disks of gp3, root disks of ${LARGEST_ROOT_GIB} GiB at most, and gone with their host`,
  severity: "medium",
  controls: [],
  remedy: "Change wmtp:tracking.instanceType or wmtp:tracking.dataVolumeGiB, and nothing else",
  types: [INSTANCE, DISK],
  eachOf(resource, verdict, { tracking }) {
    const one = (path: string, fine: (value: Value) => boolean, message: string) =>
      demand(verdict, resource, path, fine, message);
    if (resource.type === DISK) {
      one("size", is(tracking.dataVolumeGiB), "is not wmtp:tracking.dataVolumeGiB");
      one("type", is("gp3"), "is not gp3");
      for (const extra of ["iops", "throughput"]) one(extra, (value) => value === undefined, "is paid for by itself");
      return;
    }
    one("instanceType", is(tracking.instanceType), "is not wmtp:tracking.instanceType");
    one(
      "rootBlockDevice.volumeSize",
      between(1, LARGEST_ROOT_GIB),
      `is more than ${LARGEST_ROOT_GIB} GiB, or not said`,
    );
    one("rootBlockDevice.volumeType", is("gp3"), "is not gp3");
    // A disk without its host is paid for, and found by nobody.
    one("rootBlockDevice.deleteOnTermination", is(true), "is not true");
  },
};

export const cost: readonly Policy[] = [budget, price, perRun, perStack, presets, host];
