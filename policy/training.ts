/** What a run may be, and what must be there before it starts. */
import { GPU_COUNTS } from "../components/pipelines.ts";
import { before, isWithin, ofType } from "./linked.ts";
import type { Policy, StackResource } from "./policy.ts";
import { at, between, demand, isObject, isText, list, notLiteral, texts, UNKNOWN, type Value } from "./values.ts";

const RUN = "launcher:index:Run";
const UPLOAD = "launcher:index:Upload";
const VOLUME = "launcher:index:Volume";

const gpus: Policy = {
  id: "run-gpus",
  demands: `A run has ${GPU_COUNTS.join(", ")} GPUs`,
  severity: "high",
  controls: [],
  remedy: `Set wmtp:pipelines.<pipeline>.gpus to one of ${GPU_COUNTS.join(", ")}`,
  types: [RUN],
  eachOf: (resource, verdict) =>
    demand(
      verdict,
      resource,
      "gpus",
      (value) => GPU_COUNTS.some((count) => count === value),
      `is not one of ${GPU_COUNTS.join(", ")}`,
    ),
};

const preset: Policy = {
  id: "run-preset",
  demands:
    "A run on the GPU cloud has the preset that the stack file has for its number of GPUs, on the cluster that it names",
  severity: "high",
  controls: [],
  remedy: "Take the preset from wmtp:launcher.vessl.presets, and the cluster from wmtp:launcher.vessl.cluster",
  types: [RUN],
  eachOf(resource, verdict, { launcher }) {
    if (launcher.target === "local") return;
    const { presets, cluster } = launcher.vessl;
    const wanted = new Map<Value, string>(GPU_COUNTS.map((count) => [count, presets[count]]));
    const own = wanted.get(at(resource.props, "gpus"));
    demand(verdict, resource, "cloud.preset", (name) => name !== undefined && name === own, "is not that of its GPUs");
    demand(verdict, resource, "cloud.cluster", (name) => name === cluster, "is not that of the stack file");
  },
};

const oneGpu: Policy = {
  id: "run-one-gpu",
  demands: "A run has more than one GPU, unless it is the control (ntp)",
  severity: "low",
  level: "advisory",
  controls: [],
  remedy: "Take 2 or 4: on one GPU the models of 7B hardly fit, and losses compare less well",
  types: [RUN],
  eachOf({ props }, verdict) {
    if (at(props, "gpus") === 1 && at(props, "pipeline") !== "ntp") verdict.violated("it has one GPU");
  },
};

const DAY = 86_400;
const BOUNDS = { longestDays: 14, retries: 10, parallel: 64 } as const;

const bounded: Policy = {
  id: "run-bounded",
  demands: `A run ends after its maxDuration, ${BOUNDS.longestDays} days at most, and is resumed at most ${BOUNDS.retries} times by itself`,
  severity: "high",
  controls: [],
  remedy: "Set wmtp:pipelines.<pipeline>.maxDuration and wmtp:launcher.retries",
  types: [RUN],
  eachOf(resource, verdict, { launcher }) {
    const longest = BOUNDS.longestDays * DAY;
    demand(verdict, resource, "maxDurationSeconds", between(1, longest), `is not 1 to ${longest}`);
    demand(verdict, resource, "retries", between(0, BOUNDS.retries), `is not 0 to ${BOUNDS.retries}`);
    // Otherwise the cap on GPUs of the stack is counted with another number than the launcher goes by.
    demand(
      verdict,
      resource,
      "maxParallel",
      (value) => value === launcher.maxParallel,
      "is not that of the stack file",
    );
  },
};

const critic: Policy = {
  id: "run-needs-critic",
  demands: "The run of verifiable needs a critic: a run, by its fingerprint, or a checkpoint that is named",
  severity: "high",
  controls: [],
  remedy: "Enable wmtp:pipelines.critic, or name wmtp:pipelines.verifiable.criticCheckpoint",
  types: [RUN],
  eachOf({ props }, verdict) {
    const pipeline = at(props, "pipeline");
    if (pipeline === UNKNOWN) return verdict.violated(notLiteral("pipeline"));
    if (pipeline !== "verifiable") return;
    const needs = at(props, "needs");
    const needed = at(props, "needs.critic");
    const named = at(props, "criticCheckpoint");
    // What a critic is called is known later, that there is one is not.
    const has = isObject(needs) ? needed !== undefined && needed !== null : false;
    if (needs === UNKNOWN && named === undefined) verdict.undecided("needs.critic");
    else if (!has && named !== UNKNOWN && !isText(named)) verdict.violated("it starts without a critic");
  },
};

/** A resource that is there once the tracker answers. */
function trackersIn(resources: readonly StackResource[]): StackResource[] {
  const gates = ofType(resources, "command:local:Command").filter(
    (one) => isWithin(one, "wmtp:index:MlflowHost") && isText(at(one.props, "create")),
  );
  return [...ofType(resources, "launcher:index:TrackingServer"), ...gates];
}

const afterTracker: Policy = {
  id: "run-after-tracker",
  demands: "Every run starts after the tracker that the stack declares answers",
  severity: "high",
  controls: [],
  remedy: "Hand the run the tracker's url, which resolves when it answers",
  stackTypes: [RUN],
  wholeStack(resources, verdict) {
    const trackers = trackersIn(resources);
    const [host] = ofType(resources, "wmtp:index:MlflowHost");
    if (host !== undefined && trackers.length === 0) verdict.violated("nothing waits until the tracker answers", host);
    for (const run of ofType(resources, RUN)) {
      const earlier = before(run);
      if (trackers.some((tracker) => !earlier.has(tracker))) verdict.violated("it does not wait for the tracker", run);
    }
  },
};

/** `vessl-storage/weighted-mtp-datasets` of `{ storage, name }`. */
function placeOf(ref: Value, name: "name" | "volumeName"): string | undefined {
  const storage = at(ref, "storage");
  const own = at(ref, name);
  return isText(storage) && isText(own) ? `${storage}/${own}` : undefined;
}

const afterData: Policy = {
  id: "run-after-data",
  demands: "Every run names the volumes it reads, and starts after those that the stack fills are filled",
  severity: "high",
  controls: [],
  remedy: "Hand the run its FilledVolumes, and make it depend on them",
  stackTypes: [RUN],
  wholeStack(resources, verdict) {
    const filled = ofType(resources, UPLOAD, VOLUME);
    for (const run of ofType(resources, RUN)) {
      const refs = ["volumes.models", "volumes.datasets", "cloud.checkpointsVolume"].map((path) => at(run.props, path));
      const [models, datasets] = refs;
      if (models === undefined || datasets === undefined)
        verdict.violated("it does not say which volumes it reads", run);
      if (refs.includes(UNKNOWN)) verdict.violated(notLiteral("volumes"), run);
      const read = refs.map((ref) => placeOf(ref, "name"));
      const own = filled.filter((one) => read.includes(placeOf(one.props, "volumeName") ?? "nowhere"));
      const earlier = before(run);
      if (own.some((one) => !earlier.has(one))) verdict.violated("it does not wait for the data that it reads", run);
      const cache = /^volume:\/\/([^/]+)\/([^/]+)$/.exec(String(at(run.props, "cloud.cache.mount") ?? ""));
      const caches =
        cache === null ? [] : filled.filter((one) => placeOf(one.props, "volumeName") === `${cache[1]}/${cache[2]}`);
      if (caches.some((one) => !earlier.has(one)))
        verdict.violated("it does not wait for the volume that caches its models", run);
    }
  },
};

/** Files that are loaded by executing what is in them. */
const PICKLED = /\.(bin|pt|pth|ckpt|pkl|pickle)$/i;

const safetensors: Policy = {
  id: "run-safetensors",
  demands: "No run names a file of pickled weights",
  severity: "high",
  controls: [],
  remedy: "Convert it: python -m weighted_mtp convert; safetensors alone are read",
  types: [RUN],
  eachOf({ props }, verdict) {
    for (const [path, text] of texts(props))
      if (text.split(/[\s"',]+/).some((word) => PICKLED.test(word))) verdict.violated(`${path} names a pickled file`);
    for (const property of ["models", "datasets", "checkpoints"]) {
      const names = at(props, property);
      if (isObject(names) && Object.keys(names).some((name) => PICKLED.test(name)))
        verdict.violated(`${property} names a pickled file`);
    }
    if (list(at(props, "tags")).includes(UNKNOWN)) verdict.violated(notLiteral("tags"));
  },
};

const place: Policy = {
  id: "cloud-place",
  demands:
    "Runs, volumes and secrets are in the organization and project of the stack file, and checkpoints in its bucket",
  severity: "high",
  controls: [],
  remedy: "Set wmtp:launcher.vessl and wmtp:storage.bucket, and hand every resource of the launcher the one place",
  types: [RUN, UPLOAD, VOLUME, "launcher:index:OrgSecret"],
  eachOf({ props }, verdict, { launcher, storage, base }) {
    if (launcher.target === "local") return;
    const wanted: Readonly<Record<string, string | undefined>> = {
      target: "vessl",
      organization: launcher.vessl.organization,
      project: launcher.vessl.project,
      // Of a stack on a base it is the base's.
      ...(base === undefined ? { bucket: storage.bucket } : {}),
    };
    for (const [key, value] of Object.entries(wanted)) {
      const own = at(props, `place.${key}`);
      if (own === UNKNOWN) verdict.undecided(`place.${key}`);
      else if (own !== value) verdict.violated(`place.${key} is not that of the stack file`);
    }
  },
};

export const training: readonly Policy[] = [
  gpus,
  preset,
  oneGpu,
  bounded,
  critic,
  afterTracker,
  afterData,
  safetensors,
  place,
];
