/** How long to wait before a call to a service is repeated. */

export interface Backoff {
  /** Upper bound of the first wait. */
  readonly firstMs: number;
  /** Each bound is this many times the one before. */
  readonly factor: number;
  readonly longestMs: number;
}

/**
 * Full jitter: anything from nothing to a bound that grows, so that many callers who failed together do not come back together.
 * @param failed how many attempts have failed, from 1.
 */
export function jitteredWait({ firstMs, factor, longestMs }: Backoff, failed: number): number {
  return Math.random() * Math.min(longestMs, firstMs * factor ** (failed - 1));
}
