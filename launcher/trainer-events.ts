/** What the trainer says to programs: `[wmtp] {json}` among the lines of its log, the same on every target. */

const EVENT_PREFIX = "[wmtp] ";

export interface TrainerEvent {
  readonly event: string;
  readonly [key: string]: unknown;
}

/** The event of a line; undefined when it has none, or is still being written. */
export function parseEvent(line: string): TrainerEvent | undefined {
  const start = line.indexOf(EVENT_PREFIX);
  if (start < 0) return undefined;
  try {
    return JSON.parse(line.slice(start + EVENT_PREFIX.length));
  } catch {
    return undefined;
  }
}

/** The latest event of this name in a log. */
export function latestEvent(name: string, log: readonly string[]): TrainerEvent | undefined {
  for (const line of log.toReversed()) {
    const event = parseEvent(line);
    if (event?.event === name) return event;
  }
  return undefined;
}

/** The log up to the trainer's own end: what torchrun adds to it is a page of traceback of its own. */
export function lastWords(log: readonly string[]): readonly string[] {
  const end = log.findLastIndex((line) => parseEvent(line)?.event === "exit");
  return end < 0 ? log : log.slice(0, end);
}
