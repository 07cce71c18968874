/**
 * Nested settings as one text, a line each: `critic.gpus = 4`. An output of this form is short on the terminal, where the engine shows
 * three lines of a text and all of anything else, and a person still reads it (`pulumi stack output runs`).
 */

const SEPARATOR = " = ";

/** @param settings mappings and values; no key has a dot */
export function settingsText(settings: object): string {
  return linesOf(settings).join("\n");
}

function linesOf(node: object, prefix = ""): string[] {
  return Object.entries(node).flatMap(([key, value]) => {
    if (value === undefined) return [];
    const deeper =
      value !== null && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length > 0;
    return deeper ? linesOf(value, `${prefix}${key}.`) : [`${prefix}${key}${SEPARATOR}${JSON.stringify(value)}`];
  });
}

/** What `settingsText` was given. @throws Error for a text that it cannot have written. */
export function parseSettings(text: string): Record<string, unknown> {
  const settings: Record<string, unknown> = {};
  for (const line of text.split("\n").filter((line) => line !== "")) {
    const at = line.indexOf(SEPARATOR);
    if (at < 0) throw new Error(`"${line}" is no setting of the form key = value`);
    const path = line.slice(0, at).split(".");
    const leaf = path.pop() as string;
    const parent = path.reduce<Record<string, unknown>>((node, key) => {
      node[key] ??= {};
      return node[key] as Record<string, unknown>;
    }, settings);
    parent[leaf] = JSON.parse(line.slice(at + SEPARATOR.length));
  }
  return settings;
}
