/** What a backend is told of a run: its inputs without what only this process cares for. */
import type { RunSpec } from "../backend.ts";
import { bestOf } from "../completion.ts";
import type { RunInputs } from "./run.ts";

/** @param inputs as `check` has filled them. */
export function specOf(inputs: RunInputs): RunSpec {
  return {
    name: inputs.name as string,
    stack: inputs.stack,
    pipeline: inputs.pipeline,
    fingerprint: inputs.fingerprint as string,
    gpus: inputs.gpus,
    trainerConfig: inputs.trainerConfig,
    checkpointUri: inputs.checkpointUri as string,
    ...criticOf(inputs),
    volumes: inputs.volumes,
    models: inputs.models,
    maxDurationSeconds: inputs.maxDurationSeconds,
    trackerUrl: inputs.trackerUrl,
    experiment: inputs.experiment,
    tags: inputs.tags,
    ...(inputs.image === undefined ? {} : { image: inputs.image }),
    ...(inputs.cloud === undefined ? {} : { cloud: inputs.cloud }),
  };
}

function criticOf({ needs, criticCheckpoint }: RunInputs): { criticCheckpointUri?: string } {
  const uri = criticCheckpoint ?? (needs.critic === undefined ? undefined : bestOf(needs.critic.checkpointUri));
  return uri === undefined ? {} : { criticCheckpointUri: uri };
}
