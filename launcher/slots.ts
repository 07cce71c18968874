/** `launcher.maxParallel`: how many runs of a stack are active at a time. */
import { setTimeout as sleep } from "node:timers/promises";

const POLL_MS = 500;

/**
 * Counts what this process has admitted and what an earlier one left running: runs survive the launcher, so its own count is not
 * the whole truth.
 */
export class Slots {
  private readonly admitted = new Set<string>();
  private readonly queue: string[] = [];

  /**
   * Waits for a slot, first come first served.
   * @param active names of the runs that are active now, whoever started them.
   * @param waiting is told, at every look, who is ahead.
   * @returns releases the slot.
   */
  async acquire(
    name: string,
    limit: number,
    active: () => Promise<readonly string[]>,
    stopped: Promise<never>,
    waiting: (ahead: readonly string[]) => void,
  ): Promise<() => void> {
    this.queue.push(name);
    try {
      for (;;) {
        const running = await active();
        // No await from here to `add`: two callers must not both find the last slot free.
        const others = new Set([...this.admitted, ...running]);
        const attached = others.delete(name); // it runs already: nothing to wait for
        if (attached || (this.queue[0] === name && others.size < limit)) {
          this.admitted.add(name);
          return () => this.admitted.delete(name);
        }
        waiting([...others, ...this.queue.slice(0, this.queue.indexOf(name))]);
        await Promise.race([sleep(POLL_MS), stopped]);
      }
    } finally {
      this.queue.splice(this.queue.indexOf(name), 1);
    }
  }
}
