/** The whole stack on one page: read the config, declare the components, export what other stacks need. */
import * as pulumi from "@pulumi/pulumi";
import { readConfig } from "./components/config.ts";
import { FilledVolume } from "./components/filled-volume.ts";
import { TrackingServer } from "./components/launcher-resources.ts";
import type { PipelineName } from "./components/pipelines.ts";
import { TrainingRun } from "./components/training-run.ts";

const config = readConfig();
if (config.launcher.target !== "local") {
  throw new pulumi.RunError(
    `Pulumi.${config.stack}.yaml is valid, but target ${config.launcher.target} is not part of this version yet: only "local" can be deployed`,
  );
}
const { storage, names, sources } = config.volumes;

const models = new FilledVolume("models", {
  kind: "models",
  storage,
  volumeName: names.models,
  source: sources.models,
});
const datasets = new FilledVolume("datasets", {
  kind: "datasets",
  storage,
  volumeName: names.datasets,
  source: sources.datasets,
});
const tracker = new TrackingServer("tracker", { stack: config.stack });

const runs = new Map<PipelineName, TrainingRun>();
for (const settings of config.runs) {
  runs.set(
    settings.pipeline,
    new TrainingRun(settings.pipeline, { settings, config, models, datasets, trackerUrl: tracker.url, earlier: runs }),
  );
}

export const outputs = { trackerUrl: tracker.url, experiment: config.tracking.experiment };
