/** A plan as a table for a terminal. */
import Table from "cli-table3";
import { formatChange } from "./changed-settings.ts";
import { NOT_KNOWN, type Plan, type PlanRow } from "./plan.ts";
import { costText, hoursText, remarksOf, totalLines } from "./plan-text.ts";

/** What a terminal, and the log of a hosted job, shows without folding lines. */
const WIDTH = 120;
/** The longest preset and reason that fit into such a line beside the rest. */
const PRESET_WIDTH = 24;
const REASON_WIDTH = 34;
const STAYS = "stays";
const INDENT = "  ";

/** In lines of at most 120 characters: a row per run, then what does not fit into one, then the sums. */
export function planTable(plan: Plan): string {
  const title = `Plan of ${plan.stack}${plan.base === undefined ? "" : ` on ${plan.base}`}`;
  const lines = [
    title,
    ...(plan.rows.length === 0 ? ["no runs"] : tableOf(plan).split("\n")),
    ...plan.rows.flatMap((row) => detailsOf(row, plan.base)),
    ...totalLines(plan).flatMap(folded),
  ];
  return lines.join("\n");
}

function tableOf({ rows, total, currency }: Plan): string {
  const paid = total !== undefined;
  const table = new Table({
    head: ["pipeline", paid ? "GPUs" : "workers", ...(paid ? ["preset"] : []), "batch", "hours"].concat(
      paid ? ["max cost"] : [],
      "trains",
    ),
    style: { head: [], border: [], compact: true },
  });
  for (const row of rows) {
    const { pipeline, gpus, preset, effectiveBatch, maxHours, cost, trains } = row;
    table.push([
      pipeline,
      gpus,
      ...(preset === undefined ? [] : [shortened(preset, PRESET_WIDTH)]),
      effectiveBatch,
      hoursText(maxHours),
      ...(cost === undefined ? [] : [costText(cost, currency)]),
      trains === undefined ? STAYS : headOf(trains),
    ]);
  }
  return table.toString();
}

function detailsOf(row: PlanRow, base: string | undefined): string[] {
  const { pipeline, trains } = row;
  const reason = trains === undefined || headOf(trains) === trains ? [] : [`${pipeline} ${trains}`];
  const remarks = remarksOf(row, base).map((remark) => `${pipeline}: ${remark}`);
  return [...reason, ...(base === undefined ? [] : changesOf(row, base)), ...remarks].flatMap(folded);
}

function changesOf({ pipeline, changes }: PlanRow, base: string): string[] {
  if (changes === undefined) return [`${pipeline}: ${base} has no such run`];
  if (changes === NOT_KNOWN) return [`${pipeline} against ${base}: ${NOT_KNOWN}`];
  if (changes.length === 0) return [`${pipeline}: as in ${base}`];
  return [`${pipeline} against ${base}:`, ...changes.map((change) => INDENT + formatChange(change))];
}

/** A reason as far as it fits into a cell: up to where its particulars begin. */
function headOf(trains: string): string {
  if (trains.length <= REASON_WIDTH) return trains;
  return shortened(trains.split(/ because |[:;,]/, 1)[0] as string, REASON_WIDTH);
}

function shortened(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, width - 3)}...`;
}

/** Lines of at most `WIDTH` characters, those after the first indented; a word that is longer stays whole. */
function folded(text: string): string[] {
  if (text.length <= WIDTH) return [text];
  const space = text.lastIndexOf(" ", WIDTH);
  const end = space > INDENT.length ? space : text.indexOf(" ", WIDTH);
  return end < 0 ? [text] : [text.slice(0, end), ...folded(INDENT + text.slice(end + 1))];
}
