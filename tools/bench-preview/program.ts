/** Many runs and nothing else, each with a whole trainer config: what a preview costs a run. */
import { Run } from "../../components/launcher-resources.ts";
import { TrainerConfigs } from "../../components/trainer-config.ts";

(Error as { prepareStackTrace?: unknown }).prepareStackTrace = undefined; // as main.js does

const trainer = new TrainerConfigs();
const storage = "vessl-storage";

for (let number = 0; number < Number(process.env.BENCH_RUNS); number += 1) {
  // A stack has one run of a pipeline at a time, so that each run is of a stack of its own.
  const stack = `bench${number}`;
  new Run(stack, {
    place: {
      target: "vessl",
      organization: "my-org",
      project: "wmtp",
      bucket: "wmtp",
      region: "eu-north-1",
      checkpoints: "checkpoints/",
    },
    stack,
    pipeline: "baseline",
    gpus: 4,
    trainerConfig: trainer.resolve("baseline", { "training.seed": number }),
    models: { "llama-7b-mtp": "hash of the base" },
    datasets: { codecontests: "hash of the data" },
    needs: {},
    criticCheckpoint: undefined,
    checkpoints: undefined,
    resultsVersion: trainer.resultsVersion,
    rerun: undefined,
    volumes: { models: { storage: "s3://wmtp", name: "models" }, datasets: { storage, name: "weighted-mtp-datasets" } },
    trackerUrl: "https://203.0.113.10",
    image: `ghcr.io/my-org/wmtp@sha256:${"a".repeat(64)}`,
    cloud: {
      cluster: "vessl-kr-a100-80g-sxm",
      preset: "gpu-a100-80g-large",
      delivery: "s3",
      env: { AWS_DEFAULT_REGION: "eu-north-1", S3_BUCKET_NAME: "wmtp" },
      secrets: { AWS_ACCESS_KEY_ID: "WMTP_PROD_AWS_ACCESS_KEY_ID" },
    },
    experiment: "weighted-mtp/bench/baseline",
    tags: ["weighted-mtp", "baseline", "4gpu", stack],
    effectiveBatch: 96,
    maxDurationSeconds: 3600,
    maxParallel: 1,
    retries: 2,
    waitSeconds: null,
  });
}
