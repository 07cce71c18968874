/** `launcher.maxParallel`: how many runs of a stack are active at a time. */
import { pause } from "./pause.ts";

/**
 * Counts what this process has admitted and what an earlier one left running: runs survive the launcher, so its own count is not
 * the whole truth.
 */
export class Slots {
  private readonly admitted = new Set<string>();
  private readonly queue: string[] = [];
  /** Aborted, and made anew, whenever a slot is taken or given back. */
  private changed = new AbortController();

  /**
   * Waits for a slot, first come first served. A stack has one run of a pipeline at a time, so pipelines name them.
   * @param active pipelines of the runs that are active now, whoever started them.
   * @param pollMs milliseconds until the next look, after so many; what this process takes or releases is seen at once.
   * @param waiting is told, at every look, who is ahead.
   * @returns releases the slot.
   */
  async acquire(
    pipeline: string,
    limit: number,
    active: () => Promise<readonly string[]>,
    pollMs: (looks: number) => number,
    stop: AbortSignal,
    waiting: (ahead: readonly string[]) => void,
  ): Promise<() => void> {
    this.queue.push(pipeline);
    try {
      for (let looks = 0; ; looks += 1) {
        const running = await active();
        // No await from here to `add`: two callers must not both find the last slot free.
        const others = new Set([...this.admitted, ...running]);
        const attached = others.delete(pipeline); // it runs already: nothing to wait for
        if (attached || (this.queue[0] === pipeline && others.size < limit)) {
          this.admitted.add(pipeline);
          return () => {
            this.admitted.delete(pipeline);
            this.wakeOthers();
          };
        }
        waiting([...others, ...this.queue.slice(0, this.queue.indexOf(pipeline))]);
        await pause(pollMs(looks), stop, this.changed.signal);
      }
    } finally {
      this.queue.splice(this.queue.indexOf(pipeline), 1);
      this.wakeOthers();
    }
  }

  private wakeOthers(): void {
    this.changed.abort();
    this.changed = new AbortController();
  }
}
