/** What prod exports for those that build on it. */
export const OF_PROD = {
  region: "eu-north-1",
  bucket: "wmtp",
  trackerUrl: "https://203.0.113.10",
  trackerCaCertificate: "",
  image: `ghcr.io/my-org/wmtp@sha256:${"0".repeat(64)}`,
  runSecrets: ["AWS_ACCESS_KEY_ID"],
  models: { "llama-7b-mtp": "hash of the base", "sheared-llama-2.7b": "hash of the reference" },
  datasets: { codecontests: "hash of the data" },
  modelsVolume: { storage: "s3://wmtp", name: "models" },
  datasetsVolume: { storage: "vessl-storage", name: "weighted-mtp-datasets" },
  modelsDelivery: "s3",
  critic: { fingerprint: "f1", checkpointUri: "s3://wmtp/checkpoints/prod/critic/f1" },
};
