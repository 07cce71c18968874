/** Units of the stack file. */

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 } as const;
const DURATION = /^(\d+(?:\.\d+)?)(s|m|h|d)$/;

/** What a duration looks like, for error messages. */
export const DURATION_FORM = 'a number and a unit s, m, h or d, for example "30m" or "24h"';

/** Seconds of a duration such as `"30m"`; undefined when it is not one or not above zero. */
export function parseDuration(text: string): number | undefined {
  const match = DURATION.exec(text);
  if (!match) return undefined;
  const seconds = Number(match[1]) * SECONDS[match[2] as keyof typeof SECONDS];
  return seconds > 0 ? seconds : undefined;
}

/** `4000` -> `"1h 6m"`: two units at most, for people. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${whole % 60}s`;
  return `${Math.floor(whole / 3600)}h ${Math.floor((whole % 3600) / 60)}m`;
}

/** `48h`, where `formatDuration` says `48h 0m`: as a stack file has it. */
export function formatHours(seconds: number): string {
  return formatDuration(seconds).replace(/ 0[ms]$/, "");
}
