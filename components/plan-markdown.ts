/** A plan as Markdown, for a comment on a pull request. */
import type { Change } from "./changed-settings.ts";
import { NOT_KNOWN, type Plan, type PlanRow } from "./plan.ts";
import { costText, hoursText, remarksOf, totalLines } from "./plan-text.ts";

/**
 * The same facts as `planTable`. Why a run trains is left out where nobody knows: in an `up`, and of runs that stay; so the output of a
 * stack does not change with a preview of nothing.
 */
export function planMarkdown(plan: Plan): string {
  const { stack, base, rows } = plan;
  const blocks = [
    `### Plan of ${code(stack)}${base === undefined ? "" : ` on ${code(base)}`}`,
    ...(rows.length === 0 ? ["No runs."] : [tableOf(plan)]),
    listOf(rows.flatMap((row) => detailsOf(row, base))),
    totalLines(plan).map(plain).join("\\\n"),
  ];
  return blocks.filter((block) => block !== "").join("\n\n");
}

function tableOf({ rows, total, currency }: Plan): string {
  const paid = total !== undefined;
  const told = rows.some(({ trains }) => trains !== undefined);
  const head = ["pipeline", paid ? "GPUs" : "workers", ...(paid ? ["preset"] : []), "effective batch", "max hours"];
  head.push(...(paid ? ["max cost"] : []), ...(told ? ["trains"] : []));
  const lines = rows.map(({ pipeline, gpus, preset, effectiveBatch, maxHours, cost, trains }) => [
    pipeline,
    String(gpus),
    ...(preset === undefined ? [] : [code(preset)]),
    String(effectiveBatch),
    hoursText(maxHours),
    ...(cost === undefined ? [] : [costText(cost, currency)]),
    ...(told ? [plain(trains ?? "stays")] : []),
  ]);
  return [head, head.map(() => "---"), ...lines].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

function detailsOf(row: PlanRow, base: string | undefined): string[] {
  const { pipeline, changes } = row;
  const remarks = remarksOf(row, base).map((remark) => `**${pipeline}**: :warning: ${plain(remark)}`);
  if (base === undefined) return remarks;
  if (changes === undefined) return [`**${pipeline}**: ${code(base)} has no such run`, ...remarks];
  const against = `**${pipeline}** against ${code(base)}:`;
  if (changes === NOT_KNOWN) return [`${against} ${NOT_KNOWN}`, ...remarks];
  if (changes.length === 0) return [`**${pipeline}** as in ${code(base)}`, ...remarks];
  return [`${against} ${changes.map(changeOf).join(", ")}`, ...remarks];
}

function changeOf({ key, old, new: now }: Change): string {
  const value = (text: string | undefined) => (text === undefined ? "unset" : code(text));
  return `${code(key)} ${value(old)} → ${value(now)}`;
}

function listOf(items: readonly string[]): string {
  return items.map((item) => `- ${item}`).join("\n");
}

/** Text that is nobody's markup, link or mention. */
function plain(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll("@", "&#64;")
    .replaceAll(/[\\`*|[\]]/g, "\\$&")
    .replaceAll(/\s+/g, " ");
}

/** In a code span, where only backticks, and in a table `|`, mean anything. */
function code(text: string): string {
  return `\`${text.replaceAll("`", "'").replaceAll(/\s+/g, " ").replaceAll("|", "\\|")}\``;
}
