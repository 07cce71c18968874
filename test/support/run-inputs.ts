/** Inputs of a run as the engine hands them over, and the context of a call. */
import type { ResourceLog } from "../../launcher/engine-log.ts";
import type { CallContext } from "../../launcher/resource-handler.ts";
import type { RunInputs } from "../../launcher/resources/run.ts";

/** Before `check`. */
export function uncheckedInputs(change: Partial<RunInputs> = {}): RunInputs {
  const pipeline = change.pipeline ?? "baseline";
  return {
    stack: "dev",
    pipeline,
    gpus: 1,
    trainerConfig: { pipeline, training: { seed: 1 } },
    models: { base: "hash of base" },
    datasets: { data: "hash of data" },
    needs: {},
    resultsVersion: "1",
    volumes: { models: { storage: "disk", name: "models" }, datasets: { storage: "disk", name: "datasets" } },
    trackerUrl: "http://tracker",
    experiment: "weighted-mtp/dev/x",
    tags: ["a", "b"],
    effectiveBatch: 8,
    maxDurationSeconds: 60,
    maxParallel: 1,
    retries: 2,
    waitSeconds: null,
    ...change,
  };
}

/** After `check`, with a fingerprint that a person can read. */
export function runInputs(
  change: Partial<RunInputs> = {},
): RunInputs & { name: string; checkpointUri: string; fingerprint: string } {
  const inputs = uncheckedInputs(change);
  const fingerprint = change.fingerprint ?? `fingerprint-${inputs.pipeline}`;
  return {
    ...inputs,
    fingerprint,
    name: `wmtp-dev-${inputs.pipeline}-${fingerprint}`,
    checkpointUri: `fake://dev/${inputs.pipeline}/${fingerprint}`,
  };
}

export class RecordedLog implements ResourceLog {
  readonly lines: string[] = [];
  status(_urn: string, message: string): void {
    if (this.lines.at(-1) !== `status: ${message}`) this.lines.push(`status: ${message}`);
  }
  info(_urn: string, message: string): void {
    this.lines.push(`info: ${message}`);
  }
  warn(_urn: string, message: string): void {
    this.lines.push(`warn: ${message}`);
  }
}

const open = new Set<(reason: Error) => void>();

/** For `afterEach`: whoever still waits when a test is over, or has failed, must not keep jest from ending. */
export function stopAll(): void {
  for (const stop of open) stop(new Error("the test is over"));
  open.clear();
}

export function callContext(): { context: CallContext; log: RecordedLog; stop: (reason: Error) => void } {
  const log = new RecordedLog();
  let stop: (reason: Error) => void = () => undefined;
  const stopped = new Promise<never>((_, reject) => {
    stop = reject;
  });
  stopped.catch(() => undefined);
  open.add(stop);
  return { context: { urn: "urn", log, stopped }, log, stop };
}
