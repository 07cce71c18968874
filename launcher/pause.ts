import { setTimeout as sleep } from "node:timers/promises";

/**
 * Waits between two looks. A race against a promise that seldom settles would keep every turn of a day-long loop in memory.
 * @throws the signal's reason when it is aborted.
 */
export async function pause(milliseconds: number, stop: AbortSignal): Promise<void> {
  try {
    await sleep(milliseconds, undefined, { signal: stop });
  } catch (error) {
    throw stop.aborted ? stop.reason : error;
  }
}
