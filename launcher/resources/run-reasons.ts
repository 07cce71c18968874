/** Why a run trains, for people: told from its inputs before and now, so that a preview can say it. */
import { changedSettings, formatChange } from "../../components/changed-settings.ts";
import { formatHours } from "../../components/units.ts";
import type { Subtrees } from "../backend.ts";
import { hasUnknown } from "../values.ts";
import type { RunInputs } from "./run.ts";

/** Reasons named one by one; more would hide the first. */
const NAMED = 5;

/** Of a run that has not completed: whether its last attempt still runs is not looked at for a preview. */
const GOES_ON = "goes on or is resumed";

/** What an update merely records: told to people and to the tracker, no part of what is trained. */
export const DESCRIPTION = ["trackerUrl", "experiment", "tags", "effectiveBatch", "maxDurationSeconds"] as const;
const DESCRIPTION_NAMES: Readonly<Record<(typeof DESCRIPTION)[number], string>> = {
  trackerUrl: "the tracker's address",
  experiment: "experiment",
  tags: "tags",
  effectiveBatch: "effective batch",
  maxDurationSeconds: "maxDuration",
};

/**
 * Whether the run was trained before with its present content; undefined where nobody can look, as without a login. Asked only where
 * the answer makes a difference.
 */
export type Look = () => Promise<boolean | undefined>;

/**
 * Why the engine, should it find that the run changes, makes or updates it. Only the old outputs tell how the run was last seen, and those
 * are not known here: one of which nothing differs is updated only if it was not seen completed, and may have completed since.
 * @param now as `check` has filled them
 */
export async function whyItTrains(before: RunInputs | undefined, now: RunInputs, trainedBefore: Look): Promise<string> {
  const unknown = hasUnknown(now.fingerprint);
  if (before !== undefined && !unknown && isSameRun(before, now)) return whyItIsUpdated(before, now, trainedBefore);
  const trained = unknown ? undefined : await trainedBefore();
  if (trained) return "adopted: trained before";
  const doubt = trained === undefined ? ", unless it was trained before" : "";
  if (before === undefined) return `first time${doubt}`;
  const reasons = differences(before, now);
  if (reasons.length === 0 && unknown) return "not known yet: it depends on what the update finds";
  return `re-trains because ${joined(reasons.length === 0 ? ["its content changed"] : reasons)}${doubt}`;
}

/** Of the same content under the same name in the same place: nothing trains again but what did not complete. */
export function isSameRun(before: RunInputs, now: RunInputs): boolean {
  return (["fingerprint", "name", "checkpointUri"] as const).every((key) => before[key] === now[key]);
}

/** What is recorded anew; a value that is not known yet is not another one. */
export function changedDescription(before: RunInputs, now: RunInputs): (typeof DESCRIPTION)[number][] {
  return DESCRIPTION.filter((key) => !hasUnknown(now[key]) && JSON.stringify(before[key]) !== JSON.stringify(now[key]));
}

async function whyItIsUpdated(before: RunInputs, now: RunInputs, trainedBefore: Look): Promise<string> {
  const recorded = changedDescription(before, now);
  // Nobody looks: nearly all of these were seen completed, and stay as they are.
  if (recorded.length === 0) return `${GOES_ON}, unless it completed meanwhile`;
  const trained = await trainedBefore();
  const records = `records ${recorded.map((key) => describe(key, before, now)).join(", ")}`;
  if (trained) return records;
  return trained === undefined ? `${records}; ${GOES_ON}, unless it completed` : `${GOES_ON}; ${records}`;
}

function describe(key: (typeof DESCRIPTION)[number], before: RunInputs, now: RunInputs): string {
  const name = DESCRIPTION_NAMES[key];
  if (key === "maxDurationSeconds") return `${name} ${formatHours(before[key])} -> ${formatHours(now[key])}`;
  return key === "effectiveBatch" ? `${name} ${before[key]} -> ${now[key]}` : name;
}

/** What makes another run of it, as far as it is known; what one had named first comes first. */
function differences(before: RunInputs, now: RunInputs): string[] {
  return [
    ...changedSettings(before.trainerConfig, now.trainerConfig).map(formatChange),
    ...(before.gpus === now.gpus ? [] : [`gpus ${before.gpus} -> ${now.gpus}`]),
    ...changedContent("model", before.models, now.models),
    ...changedContent("data", before.datasets, now.datasets),
    ...changedCritic(before, now),
    ...changedContent("checkpoint", before.checkpoints, now.checkpoints),
    ...(before.resultsVersion === now.resultsVersion
      ? []
      : [`the trainer computes otherwise (results version ${before.resultsVersion} -> ${now.resultsVersion})`]),
    ...(before.rerun === now.rerun ? [] : [`rerun ${before.rerun ?? "unset"} -> ${now.rerun ?? "unset"}`]),
    ...(before.stack === now.stack ? [] : [`the stack was ${before.stack}`]),
    ...(JSON.stringify(before.place) === JSON.stringify(now.place) ? [] : ["its checkpoints are in another place"]),
  ];
}

/** Directories of both; one that is named instead of another is a change of the trainer's config. */
function changedContent(kind: string, before: Subtrees = {}, now: Subtrees = {}): string[] {
  if (hasUnknown(now)) return [];
  return Object.keys(now)
    .filter((name) => before[name] !== undefined && before[name] !== now[name])
    .map((name) => `${kind} ${name} changed`);
}

function changedCritic(before: RunInputs, now: RunInputs): string[] {
  const [old, latest] = [before.needs.critic, now.needs.critic];
  if (before.criticCheckpoint !== now.criticCheckpoint) {
    const from = (checkpoint: string | undefined) => checkpoint ?? "the stack's own";
    return [`critic ${from(before.criticCheckpoint)} -> ${from(now.criticCheckpoint)}`];
  }
  if (hasUnknown(latest?.fingerprint)) return [];
  return old?.fingerprint === latest?.fingerprint ? [] : ["the critic it needs changed"];
}

function joined(reasons: readonly string[]): string {
  const more = reasons.length - NAMED;
  return [...reasons.slice(0, NAMED), ...(more > 0 ? [`and ${more} more`] : [])].join(", ");
}
