import { parse } from "yaml";
import type { CloudRun, RunSpec } from "../../launcher/backend.ts";
import { UNKNOWN } from "../../launcher/values.ts";
import { RUN_YAML, runDocument, runYaml } from "../../launcher/vessl/run-yaml.ts";

const FINGERPRINT = "0123456789abcdef".repeat(4);

function specOf(change: Partial<RunSpec> = {}, cloud: Partial<CloudRun> = {}): RunSpec {
  return {
    name: "wmtp-prod-baseline-01234567",
    stack: "prod",
    pipeline: "baseline",
    fingerprint: FINGERPRINT,
    gpus: 4,
    trainerConfig: { pipeline: "baseline", training: { seed: 42, note: "yes" } },
    checkpointUri: `s3://wmtp/checkpoints/prod/baseline/${FINGERPRINT}`,
    volumes: {
      models: { storage: "s3://wmtp", name: "models" },
      datasets: { storage: "vessl-storage", name: "weighted-mtp-datasets" },
    },
    models: { "llama-7b-mtp": "hash of the model" },
    maxDurationSeconds: 172_800,
    trackerUrl: "https://tracker",
    experiment: "weighted-mtp/production/baseline-mtp",
    tags: ["weighted-mtp", "baseline", "4gpu", "prod"],
    image: `ghcr.io/my-org/wmtp@sha256:${"a".repeat(64)}`,
    ...change,
    cloud: {
      cluster: "vessl-kr-a100-80g-sxm",
      preset: "gpu-a100-80g-large",
      delivery: "s3",
      env: { AWS_DEFAULT_REGION: "eu-north-1", S3_BUCKET_NAME: "wmtp" },
      secrets: { AWS_SECRET_ACCESS_KEY: "WMTP_PROD_AWS_SECRET_ACCESS_KEY" },
      ...cloud,
    },
  };
}

test("four GPUs: the whole document", () => {
  expect(runDocument(specOf())).toEqual({
    name: "wmtp-prod-baseline-01234567",
    description: "baseline of stack prod: multi-token prediction, uniform weights",
    tags: ["weighted-mtp", "baseline", "4gpu", "prod", "a100", `fingerprint-${FINGERPRINT.slice(0, 32)}`],
    resources: { cluster: "vessl-kr-a100-80g-sxm", preset: "gpu-a100-80g-large" },
    image: `ghcr.io/my-org/wmtp@sha256:${"a".repeat(64)}`,
    import: { "/app/datasets/": "volume://vessl-storage/weighted-mtp-datasets" },
    env: {
      AWS_DEFAULT_REGION: "eu-north-1",
      S3_BUCKET_NAME: "wmtp",
      MLFLOW_TRACKING_URI: "https://tracker",
      MLFLOW_EXPERIMENT_NAME: "weighted-mtp/production/baseline-mtp",
      MLFLOW_DISABLE_TELEMETRY: "true",
      NCCL_DEBUG: "WARN",
      WMTP_FINGERPRINT: FINGERPRINT,
      WMTP_PROVENANCE: `{"stack":"prod","image":"ghcr.io/my-org/wmtp@sha256:${"a".repeat(64)}"}`,
      WMTP_CONFIG: JSON.stringify({
        pipeline: "baseline",
        training: { seed: 42, note: "yes" },
        paths: {
          models: "/app/models",
          datasets: "/app/datasets",
          output: "/app/checkpoints/baseline",
          scores: "/app/checkpoints/baseline/scores",
        },
      }),
      AWS_SECRET_ACCESS_KEY: { secret: "WMTP_PROD_AWS_SECRET_ACCESS_KEY" },
    },
    run: [
      {
        command:
          "exec python -m weighted_mtp.entry --fetch s3://wmtp/models/llama-7b-mtp=/app/models/llama-7b-mtp " +
          `--checkpoints s3://wmtp/checkpoints/prod/baseline/${FINGERPRINT} --max-duration 172800 -- ` +
          "torchrun --standalone --nproc_per_node=4 -m weighted_mtp.pipelines.run_baseline --config /app/run.yaml " +
          "--run-name wmtp-prod-baseline-01234567 --tags weighted-mtp,baseline,4gpu,prod",
        workdir: "/app",
      },
    ],
  });
});

const command = (spec: RunSpec) => runDocument(spec).run[0]?.command as string;

test("one GPU: no torchrun, no NCCL", () => {
  const one = specOf({ gpus: 1, pipeline: "ntp" }, { preset: "gpu-a100-80g-small" });
  expect(command(one)).toContain(" -- python -m weighted_mtp.pipelines.run_ntp --config /app/run.yaml ");
  expect(command(one)).not.toContain("torchrun");
  expect(runDocument(one).env).not.toHaveProperty("NCCL_DEBUG");
});

test("two GPUs: torchrun with two", () => {
  expect(command(specOf({ gpus: 2 }))).toContain(" -- torchrun --standalone --nproc_per_node=2 -m ");
});

test("models from a volume: imported, and not fetched", () => {
  const volumes = { models: { storage: "v", name: "m" }, datasets: { storage: "v", name: "d" } };
  const spec = specOf({ volumes }, { delivery: "volume" });
  expect(runDocument(spec).import).toEqual({ "/app/datasets/": "volume://v/d", "/app/models/": "volume://v/m" });
  expect(command(spec)).not.toContain("--fetch");
});

test("a cache: mounted live, fetched into, read from; by content, so that no other model of that name is read", () => {
  const cache = { path: "/cache/models", mount: "nfs://10.0.0.1/models" };
  const spec = specOf({}, { cache });
  expect(runDocument(spec).mount).toEqual({ "/cache/models/": "nfs://10.0.0.1/models" });
  const rootOf = (of: RunSpec) => JSON.parse(runDocument(of).env.WMTP_CONFIG as string).paths.models as string;
  expect(rootOf(spec)).toMatch(/^\/cache\/models\/[0-9a-f]{16}$/);
  expect(command(spec)).toContain(`--fetch s3://wmtp/models/llama-7b-mtp=${rootOf(spec)}/llama-7b-mtp `);
  expect(rootOf(specOf({ models: { "llama-7b-mtp": "another" } }, { cache }))).not.toBe(rootOf(spec));
});

test("a critic in the bucket is fetched; one in a volume is imported with it", () => {
  const fetched = specOf({ criticCheckpointUri: "s3://wmtp/checkpoints/prod/critic/f/checkpoint_best" });
  expect(command(fetched)).toContain(
    "--fetch s3://wmtp/checkpoints/prod/critic/f/checkpoint_best=/app/checkpoints/critic/checkpoint_best ",
  );
  expect(command(fetched)).toMatch(/ --critic-checkpoint \/app\/checkpoints\/critic\/checkpoint_best$/);
  const imported = specOf(
    { criticCheckpointUri: "old/checkpoint_best" },
    { checkpointsVolume: { storage: "vessl-storage", name: "weighted-mtp-checkpoints" } },
  );
  expect(runDocument(imported).import).toMatchObject({
    "/app/checkpoints/": "volume://vessl-storage/weighted-mtp-checkpoints",
  });
  expect(command(imported)).toMatch(/ --critic-checkpoint \/app\/checkpoints\/old\/checkpoint_best$/);
});

test("a private registry's credential goes with the image, by name", () => {
  const spec = specOf({}, { pullCredential: "ghcr" });
  expect(runDocument(spec).image).toEqual({ url: spec.image, credential_name: "ghcr" });
});

test.each([
  ["gpu-a100-80g-large", "a100"],
  ["v1-a100-4-pod", "a100"],
  ["gpu-l4-small", "l4"],
  ["gpu-h100-x8", "h100"],
])("preset %s: the tag says %s", (preset, tag) => {
  expect(runDocument(specOf({}, { preset })).tags).toContain(tag);
});

test("the text means the same to a reader of YAML 1.1, and is on no account folded", () => {
  const spec = specOf(
    { trackerUrl: "yes", experiment: "12:30:45" },
    { env: { A: "0o17", B: "on", C: "1_000", D: "~", E: `-----BEGIN\n${"x".repeat(300)}\n-----END\n` } },
  );
  const text = runYaml(spec);
  expect(parse(text, { version: "1.1" })).toEqual(runDocument(spec));
  expect(text).not.toContain("\t");
});

test("what is not known before the update is said in words; nothing of the wire format is shown", () => {
  const text = runYaml(
    specOf({ image: UNKNOWN, trackerUrl: UNKNOWN, fingerprint: UNKNOWN, name: "wmtp-prod-baseline" }),
  );
  expect(text).toContain("image: (known after up)");
  expect(text).not.toContain(UNKNOWN);
});

test.each([
  ["an unknown key", { service: {} }],
  ["a secret's value", { env: { A: { value: "x", secret: true } } }],
  ["a variable in lower case", { env: { a: "x" } }],
  ["another working directory", { run: [{ command: "x", workdir: "/workspace" }] }],
  ["an import of no volume", { import: { "/app/x/": "s3://bucket" } }],
  ["a relative mount", { mount: { "cache/": "nfs://x" } }],
])("the form refuses %s", (_, change) => {
  expect(RUN_YAML.safeParse({ ...runDocument(specOf()), ...change }).success).toBe(false);
});

test("a word with spaces and quotes reaches the trainer whole", () => {
  expect(command(specOf({ tags: ["it's", "a b"] }))).toMatch(/--tags 'it'\\''s,a b'$/);
});

test("a variable that is empty is left out; one that is not known yet says so", () => {
  const env = { S3_BUCKET_NAME: "wmtp", WMTP_TRACKER_CA: "" };
  expect(runDocument(specOf({}, { env })).env).not.toHaveProperty("WMTP_TRACKER_CA");
  expect(runYaml(specOf({}, { env: { ...env, WMTP_TRACKER_CA: UNKNOWN } }))).toContain(
    "WMTP_TRACKER_CA: (known after up)",
  );
});
