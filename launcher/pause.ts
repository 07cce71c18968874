import { setTimeout as sleep } from "node:timers/promises";

/**
 * Waits between two looks. A race against a promise that seldom settles would keep every turn of a day-long loop in memory.
 * @param wake ends the wait early.
 * @throws the reason of `stop` when that is aborted.
 */
export async function pause(milliseconds: number, stop: AbortSignal, wake?: AbortSignal): Promise<void> {
  const signal = wake === undefined ? stop : AbortSignal.any([stop, wake]);
  try {
    await sleep(milliseconds, undefined, { signal });
  } catch (error) {
    if (stop.aborted) throw stop.reason;
    if (!signal.aborted) throw error;
  }
}
