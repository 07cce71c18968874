/** Whether a run is completed: the truth is what lies at its checkpoint URI, not what a state or a process list says. */
import type { Backend, Completion } from "./backend.ts";

/** The checkpoint that others read of a run. */
export function bestOf(checkpointUri: string): string {
  return `${checkpointUri}/checkpoint_best`;
}

/** The marker of a run that completed with this very content and whose checkpoint is there; else undefined. */
export async function findCompletion(
  backend: Backend,
  checkpointUri: string,
  fingerprint: string,
): Promise<Completion | undefined> {
  const completion = await backend.readCompletion(checkpointUri);
  if (completion?.fingerprint !== fingerprint) return undefined;
  return (await backend.hasCheckpoint(bestOf(checkpointUri))) ? completion : undefined;
}
