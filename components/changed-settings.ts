/** What differs between two sets of settings, by dotted key. The trainer takes null for unset, and so do we. */

export interface Change {
  /** @example "training.learning_rate" */
  readonly key: string;
  /** As people write them; undefined where the key is not set. */
  readonly old: string | undefined;
  readonly new: string | undefined;
}

/** Changed leaves, in the order of `now`; what is gone comes last. */
export function changedSettings(before: object, now: object): Change[] {
  const [olds, news] = [leavesOf(before), leavesOf(now)];
  const keys = [...news.keys(), ...[...olds.keys()].filter((key) => !news.has(key))];
  return keys
    .map((key) => ({ key, old: olds.get(key), new: news.get(key) }))
    .filter((change) => change.old !== change.new);
}

/** `training.learning_rate 0.0003 -> 0.00003`. */
export function formatChange({ key, old, new: now }: Change): string {
  return `${key} ${old ?? "unset"} -> ${now ?? "unset"}`;
}

function leavesOf(node: object, prefix = ""): Map<string, string> {
  return new Map(
    Object.entries(node).flatMap(([key, value]): [string, string][] => {
      if (value === undefined || value === null) return [];
      if (typeof value === "object" && !Array.isArray(value)) {
        return [...leavesOf(value, `${prefix}${key}.`)];
      }
      return [[`${prefix}${key}`, typeof value === "string" ? value : JSON.stringify(value)]];
    }),
  );
}
