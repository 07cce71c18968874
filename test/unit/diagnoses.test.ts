import { diagnose } from "../../launcher/diagnoses.ts";

test.each([
  ["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "out of memory", undefined],
  ["RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory", "out of memory", undefined],
  ["OSError: [Errno 28] No space left on device", "disk full", undefined],
  ["NCCL operation ALLREDUCE timed out", "NCCL time-out", true],
  ["The NVIDIA driver on your system is too old", "GPU driver too old for the locked torch", undefined],
  ["error: the vocabularies of tiny-mtp and tiny-reference differ", "vocabulary mismatch", undefined],
  ["error: critic checkpoint /x/checkpoint_best does not exist", "missing or foreign critic checkpoint", undefined],
  ["error: model.pth: pickle is refused", "a pickle checkpoint", undefined],
  [
    "mlflow.exceptions.MlflowException: API request to endpoint failed with error code 401",
    "the tracker refused the credentials",
    undefined,
  ],
  [
    "HTTPConnectionPool: Max retries exceeded with url: /api/2.0/mlflow/runs/create",
    "the tracker cannot be reached",
    true,
  ],
  ["ModuleNotFoundError: No module named 'torch'", "a Python package is missing", undefined],
])("%s", (line, cause, retryable) => {
  const found = diagnose(["step 1", line, "at the end"].join("\n"));
  expect(found?.cause).toBe(cause);
  expect(found?.retryable).toBe(retryable);
  expect(found?.remedy).not.toBe("");
});

test.each([
  "",
  "step 4013, loss 0.5",
  "ModuleNotFoundError: No module named 'weighted_mtp.nothing'",
  "KeyError: 'reward'",
  "critic checkpoint loaded",
  "vocabularies agree",
])("%j has no known cause", (log) => {
  expect(diagnose(log)).toBeUndefined();
});

test("the cause named first in the list wins over one that follows from it", () => {
  expect(diagnose("CUDA out of memory\nNCCL timeout on rank 1")?.cause).toBe("out of memory");
});
