/** Faults that tests order, and which request meets which. */

export interface Fault {
  readonly method?: string;
  /** Regular expression on the path with its query; without it, any. */
  readonly path?: string;
  /** For this many requests. @default 1 */
  times?: number;
  readonly effect: FaultEffect;
}

export type FaultEffect =
  | { readonly status: number; readonly retryAfter?: number }
  /** No answer, ever. */
  | "hang"
  /** Executed, and the connection closed without an answer. */
  | "drop"
  /** The connection closed before anything is executed. */
  | "refuse"
  /** Executed, and half of the answer sent. */
  | "truncate"
  | { readonly delayMs: number }
  /** S3 only: the connection closed after this many bytes of the body, whichever way it goes. */
  | { readonly cutAfterBytes: number };

export class Faults {
  private faults: Fault[] = [];

  add(faults: readonly Fault[]): void {
    this.faults.push(...faults.map((fault) => ({ times: 1, ...fault })));
  }

  clear(): void {
    this.faults = [];
  }

  /** The fault that this request meets; used up by it. */
  take(method: string, path: string): FaultEffect | undefined {
    const fault = this.faults.find(
      (one) =>
        (one.times as number) > 0 &&
        (one.method ?? method) === method &&
        (one.path === undefined || new RegExp(one.path).test(path)),
    );
    if (fault === undefined) return undefined;
    fault.times = (fault.times as number) - 1;
    return fault.effect;
  }
}
