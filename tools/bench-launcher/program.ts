/** Many volumes, uploads and runs on the GPU cloud, and nothing else: what the launcher costs by itself. */
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { Run, Upload, Volume } from "../../components/launcher-resources.ts";
import type { CloudRun } from "../../launcher/backend.ts";
import type { CloudPlace } from "../../launcher/by-place.ts";

const config = new pulumi.Config();
const runs = config.requireNumber("runs");
const place = config.requireObject<CloudPlace>("place");
const storage = config.require("storage");
/** Directory with one of the same name for each volume. */
const sources = config.require("sources");

const cloud: CloudRun = {
  cluster: config.require("cluster"),
  preset: config.require("preset"),
  delivery: "volume",
  env: { PYTHONUNBUFFERED: "1" },
  secrets: {},
};

function filled(volumeName: string): Upload {
  const at = { place, storage, volumeName };
  const volume = new Volume(volumeName, { ...at, tags: ["bench"], forceDelete: false, owner: undefined });
  const content = { ...at, source: join(sources, volumeName), optional: false };
  return new Upload(volumeName, content, { dependsOn: volume });
}

const models = filled("models");
const datasets = filled("datasets");
const checkpoints = filled("checkpoints");

for (let number = 0; number < runs; number += 1) {
  // A stack has one run of a pipeline at a time, so that each run is of a stack of its own.
  const stack = `bench${number}`;
  new Run(
    stack,
    {
      place,
      stack,
      pipeline: "baseline",
      gpus: 4,
      trainerConfig: { pipeline: "baseline", training: { seed: number } },
      models: models.subtrees,
      datasets: datasets.subtrees,
      needs: {},
      criticCheckpoint: undefined,
      checkpoints: undefined,
      resultsVersion: "1",
      rerun: undefined,
      volumes: { models: { storage, name: "models" }, datasets: { storage, name: "datasets" } },
      trackerUrl: "https://203.0.113.10",
      image: `ghcr.io/my-org/wmtp@sha256:${"a".repeat(64)}`,
      cloud,
      experiment: "weighted-mtp/bench/baseline",
      tags: ["weighted-mtp", "baseline", "4gpu", stack],
      effectiveBatch: 64,
      maxDurationSeconds: 3600,
      maxParallel: runs,
      retries: 2,
      waitSeconds: null,
    },
    { dependsOn: [models, datasets, checkpoints] },
  );
}
