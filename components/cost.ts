/** What a stack costs at most, worked out from its config and never asked of a cloud: the same numbers in previews, policies and reports. */
import type { Section } from "./config-schema.ts";

type Prices = Pick<Section<"cost">, "currency" | "perHour" | "egressPerGb">;

const BYTES_PER_GB = 1e9;
const SECONDS_PER_HOUR = 3600;

/** Price of `seconds` on a preset, all of its GPUs; undefined where `wmtp:cost.perHour` does not name the preset. */
export function gpuCost({ perHour }: Pick<Prices, "perHour">, preset: string, seconds: number): number | undefined {
  const price = Object.hasOwn(perHour, preset) ? perHour[preset] : undefined;
  return price === undefined ? undefined : (price * seconds) / SECONDS_PER_HOUR;
}

/** Price of what leaves the bucket when each of `attempts` containers fetches `bytes` of models. */
export function egressCost({ egressPerGb }: Pick<Prices, "egressPerGb">, bytes: number, attempts: number): number {
  return (egressPerGb * bytes * attempts) / BYTES_PER_GB;
}

/** Most GPUs at a time when at most `maxParallel` of the runs are active together. */
export function peakGpus(runs: readonly { readonly gpus: number }[], maxParallel: number): number {
  const largest = runs.map(({ gpus }) => gpus).sort((a, b) => b - a);
  return largest.slice(0, maxParallel).reduce((sum, gpus) => sum + gpus, 0);
}

/** `1,234.50 USD`; whole numbers from 100 on. */
export function formatMoney(amount: number, currency: string): string {
  const digits = amount >= 100 ? 0 : 2;
  return `${amount.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })} ${currency}`;
}
