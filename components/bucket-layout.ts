/** What lies where in the bucket. */
export const PREFIXES = {
  models: "models/",
  datasets: "datasets/",
  checkpoints: "checkpoints/",
  trackerArtifacts: "mlflow-artifacts/",
  trackerBackups: "mlflow-backups/",
} as const;
