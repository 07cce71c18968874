/** The likely cause of a failed run, found in the end of its log, and what to do about it. */

export interface Diagnosis {
  readonly cause: string;
  readonly remedy: string;
  /** Infrastructure's fault: trying again by itself is right. */
  readonly retryable?: boolean;
}

const DIAGNOSES: readonly (Diagnosis & { readonly pattern: RegExp })[] = [
  {
    pattern: /OutOfMemoryError|OOMKilled|CUDA out of memory|can't allocate memory|Cannot allocate memory/i,
    cause: "out of memory",
    remedy:
      "halve training.batch_size and double training.gradient_accumulation_steps: the effective batch stays the same",
  },
  {
    pattern: /No space left on device/i,
    cause: "disk full",
    remedy: "free space or lower checkpoint.keep_last, then run pulumi up to resume",
  },
  {
    pattern: /NCCL.*(timeout|timed out)|Watchdog caught collective operation timeout/i,
    cause: "NCCL time-out",
    remedy: "a rank hung or died: look for its first error above",
    retryable: true,
  },
  {
    pattern: /driver.*too old|CUDA driver version is insufficient/i,
    cause: "GPU driver too old for the locked torch",
    remedy: "choose another cluster",
  },
  {
    pattern: /vocabular(y|ies)[^\n]*(differ|mismatch)/i,
    cause: "vocabulary mismatch",
    remedy: "all models of a run must map ids to the same pieces",
  },
  {
    pattern: /critic checkpoint[^\n]*(missing|not found|does not exist|another trunk|other trunk)/i,
    cause: "missing or foreign critic checkpoint",
    remedy: "train the critic of this stack, or set pipelines.verifiable.criticCheckpoint",
  },
  {
    pattern: /weights_only|\.(bin|pth?)\b[^\n]*pickle|pickle[^\n]*refused/i,
    cause: "a pickle checkpoint",
    remedy: "convert it: python -m weighted_mtp convert",
  },
  {
    pattern: /(MlflowException|API request)[^\n]*(40[13]|Unauthorized|Forbidden)/i,
    cause: "the tracker refused the credentials",
    remedy: "check MLFLOW_TRACKING_USERNAME and its password",
  },
  {
    pattern:
      /(MLflow server|MlflowException|mlflow)[^\n]*(Max retries exceeded|connection|timed out|too many 50\d|error code 50[234]|failed with exception)|Max retries exceeded[^\n]*mlflow/i,
    cause: "the tracker cannot be reached",
    remedy: "run pulumi up again: it heals the tracker first",
    retryable: true,
  },
  {
    pattern: /ErrImagePull|ImagePullBackOff|pull access denied|manifest unknown|failed to pull image/i,
    cause: "image pull refused",
    remedy:
      "look whether the image is in its registry, and name the organization's credential for it in wmtp:image.pullCredential",
  },
  {
    pattern: /FailedMount|failed to (mount|import) volume|volume\b[^\n]*(mount failed|could not be mounted)/i,
    cause: "a volume or an import failed",
    remedy: "run pulumi refresh, then pulumi up: a volume that is gone is made and filled again",
    retryable: true,
  },
  {
    pattern: /model [^\n]*not in the bucket/i,
    cause: "model id not in the bucket",
    remedy: "run pulumi refresh, then pulumi up to fill models/ of the bucket again, or name another model",
  },
  {
    pattern: /FileNotFoundError[^\n]*\/(workspace|root|home)\//,
    cause: "a path outside /app",
    remedy: "everything of a run is below /app: name files below the data sets' or models' root",
  },
  {
    pattern: /missing (AWS credentials|environment variable)|environment variable [A-Z_]+ is (not set|missing)/i,
    cause: "missing environment variable",
    remedy: "run pulumi up: it puts the organization's secrets right",
  },
  {
    pattern: /ModuleNotFoundError: No module named '(?!weighted_mtp)/,
    cause: "a Python package is missing",
    remedy: "run make setup",
  },
];

export function diagnose(log: string): Diagnosis | undefined {
  return DIAGNOSES.find(({ pattern }) => pattern.test(log));
}
