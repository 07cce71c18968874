/** The compiled pack knows what it was made from, so that one older than its sources is never taken for the policies of today. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Beside PulumiPolicy.yaml in the compiled pack: source below the project -> its hash. */
export const SOURCES_FILE = "sources.json";

export function hashOf(file: string): string {
  return createHash("sha256").update(readFileSync(file)).digest("hex");
}

/** A source that is not what the pack was compiled from, or has gone; undefined when all are. */
export function staleSource(pack: string, project: string): string | undefined {
  const sources: Record<string, string> = JSON.parse(readFileSync(join(pack, SOURCES_FILE), "utf8"));
  return Object.entries(sources).find(([source, hash]) => {
    const file = join(project, source);
    return !existsSync(file) || hashOf(file) !== hash;
  })?.[0];
}
