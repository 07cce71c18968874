/** Runs of earlier days, for tests that turn pages. */
import { RunFiles } from "./run-files.ts";
import type { RunRecord, Store } from "./state.ts";

/** Below those of the runs that are made through the API. */
const OLDEST_ID = 250000000000;
const DAY_MS = 86_400_000;

/** Adds `count` completed runs, `TITLE-0`, `TITLE-1`, ..., the last one newest. */
export function addOldRuns(store: Store, count: number, title: string): void {
  const old: RunRecord[] = [];
  const begin = Date.now() - DAY_MS;
  for (let index = 0; index < count; index++) {
    const run: RunRecord = {
      id: OLDEST_ID + store.newId(),
      organization: "acme",
      project: "infra",
      yaml: `name: ${title}-${index}\nresources: {preset: cpu-small}\nimage: busybox\n`,
      createdAt: new Date(begin + index).toISOString(),
      message: "",
      tags: [],
    };
    old.push(run);
    const files = new RunFiles(store.directory, run.id);
    files.create();
    for (const status of ["queued", "pending", "initializing", "running", "completed"])
      files.happened(status, undefined, begin + index);
  }
  store.state.runs.unshift(...old);
  store.save();
}
