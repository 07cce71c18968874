/** What a run or a transfer is doing, as one line: how far, how fast, how long still. */
import { formatDuration } from "../components/units.ts";
import { parseEvent } from "./trainer-events.ts";

/**
 * The latest state told by a run's log: `critic 12/40, loss 0.6931, 5.2k tokens/s, ETA 8s`, and what is wrong meanwhile. Undefined when
 * it has told nothing.
 */
export function progressLine(pipeline: string, log: readonly string[]): string | undefined {
  const line = latestLine(pipeline, log);
  const upload = log.map(parseEvent).findLast((event) => String(event?.event).startsWith("upload_"));
  return line === undefined || upload?.event !== "upload_failing"
    ? line
    : `${line}; CHECKPOINTS ARE NOT UPLOADED (${String(upload.message)})`;
}

function latestLine(pipeline: string, log: readonly string[]): string | undefined {
  for (const line of log.toReversed()) {
    const event = parseEvent(line);
    if (event?.event === "progress") {
      const {
        step,
        steps,
        loss,
        tokens_per_second: rate,
        eta_seconds: eta,
      } = event as unknown as Record<string, number>;
      return `${pipeline} ${step}/${steps}, loss ${loss?.toFixed(4)}, ${formatRate(rate ?? 0)} tokens/s, ETA ${formatDuration(eta ?? 0)}`;
    }
    if (event?.event === "phase") return `${pipeline}: ${String(event.name)}`;
    if (event?.event === "start")
      return `${pipeline}: ${Number(event.steps)} steps, effective batch ${Number(event.effective_batch)}`;
  }
  return undefined;
}

/** `1.2 GB of 63.0 GB, 210 MB/s, ETA 4m 54s`. */
export function transferLine(moved: number, total: number, seconds: number): string {
  const rate = moved / Math.max(seconds, 0.001);
  const eta = rate > 0 ? formatDuration((total - moved) / rate) : "unknown";
  return `${formatBytes(moved)} of ${formatBytes(total)}, ${formatBytes(rate)}/s, ETA ${eta}`;
}

export function formatBytes(bytes: number): string {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(1)} GB`;
  if (bytes >= 1e6) return `${(bytes / 1e6).toFixed(1)} MB`;
  return `${(bytes / 1e3).toFixed(1)} kB`;
}

function formatRate(perSecond: number): string {
  return perSecond >= 1000 ? `${(perSecond / 1000).toFixed(1)}k` : perSecond.toFixed(0);
}
