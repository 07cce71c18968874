/** Bounds on what goes on at a time: requests under way, and the memory that their bodies take. */

export class Gate {
  private requests: number;
  private bytes: number;
  private readonly bytesInAll: number;
  private readonly waiting: { readonly bytes: number; readonly go: () => void }[] = [];

  /** @param bytes may be exceeded by a request that is alone. */
  constructor(requests: number, bytes: number) {
    this.requests = requests;
    this.bytes = bytes;
    this.bytesInAll = bytes;
  }

  /** Runs `work`, which takes `bytes` of memory, when there is room; first come first served. */
  async run<T>(bytes: number, work: () => Promise<T>): Promise<T> {
    const claim = Math.min(bytes, this.bytesInAll);
    await new Promise<void>((go) => {
      this.waiting.push({ bytes: claim, go });
      this.admit();
    });
    try {
      return await work();
    } finally {
      this.requests += 1;
      this.bytes += claim;
      this.admit();
    }
  }

  private admit(): void {
    for (let next = this.waiting[0]; next !== undefined; next = this.waiting[0]) {
      if (this.requests < 1 || this.bytes < next.bytes) return;
      this.waiting.shift();
      this.requests -= 1;
      this.bytes -= next.bytes;
      next.go();
    }
  }
}

/**
 * `work` for every item, so many at a time. After a failure nothing new begins; it is thrown when all that had begun has ended.
 */
export async function forEachOf<T>(
  items: Iterable<T>,
  atATime: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const iterator = items[Symbol.iterator]();
  const failures: unknown[] = [];
  const worker = async (): Promise<void> => {
    while (failures.length === 0) {
      const { value, done } = iterator.next();
      if (done) return;
      await work(value).catch((error: unknown) => failures.push(error));
    }
  };
  await Promise.all(Array.from({ length: atATime }, worker));
  if (failures.length > 0) throw failures[0];
}
