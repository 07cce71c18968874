/** What a preview found, as one comment for a pull request. */
import { UNKNOWN } from "../launcher/values.ts";
import { type Change, type Diagnostic, type EngineEvents, nameOf, type Violation } from "./engine-events.ts";

/** GitHub takes 65536 characters. */
const MOST_CHARACTERS = 60_000;
const MOST_CHANGES = 60;
const MOST_MESSAGES = 20;
const MOST_MESSAGE_CHARACTERS = 2000;
/** Components and providers only repeat what their resources say. */
const REPEATING = /^(wmtp:index:|pulumi:)/;

/** By which the comment of a stack is found again, and edited in place. */
export function markerOf(stack: string): string {
  return `<!-- wmtp:plan:${stack} -->`;
}

/** @param note what a reader must know of how it was made. @returns Markdown. */
export function planComment(stack: string, events: EngineEvents, note?: string): string {
  const errors = events.diagnostics.filter(
    ({ severity, message }) => severity === "error" && message !== "preview failed",
  );
  const parts = [
    markerOf(stack),
    planOf(stack, events.outputs.plan),
    note === undefined ? "" : `_${note}_`,
    verdict(events, errors),
    section("Errors", errors.map(fenced)),
    section("Policies", events.violations.map(violation)),
    changes(events.changes, events.counts),
  ];
  const text = parts.filter((part) => part !== "").join("\n\n");
  const cut = "\n\n_Cut here: the whole is in the log of the job._";
  return text.length <= MOST_CHARACTERS ? `${text}\n` : `${text.slice(0, MOST_CHARACTERS - cut.length)}${cut}\n`;
}

function verdict({ complete, violations }: EngineEvents, errors: readonly Diagnostic[]): string {
  const broken = violations.filter(({ level }) => level === "mandatory").length;
  const found = [
    ...(errors.length > 0 ? [`${errors.length} ${errors.length === 1 ? "error" : "errors"}`] : []),
    ...(broken > 0 ? [`${broken} broken ${broken === 1 ? "policy" : "policies"}`] : []),
  ];
  if (found.length > 0) return `:x: **${found.join(", ")}**: this cannot be deployed.`;
  return complete ? "" : ":x: **The preview was cut off, or never began**: see the log of the job.";
}

/** The stack's own words have a heading; without them it is ours. */
function planOf(stack: string, plan: unknown): string {
  if (typeof plan === "string" && plan !== UNKNOWN) return plan.trim();
  const heading = `### Plan of ${code(stack)}`;
  return plan === undefined ? heading : `${heading}\n\n_What would train hangs on something that is not made yet._`;
}

function changes(all: readonly Change[], counts: Readonly<Record<string, number>>): string {
  const words = Object.entries(counts).map(([op, count]) => `${count} ${op === "same" ? "unchanged" : `to ${op}`}`);
  if (words.length === 0) return "";
  // The engine's order differs from preview to preview.
  const place = ({ type, urn }: Change) => `${type} ${nameOf(urn)}`;
  const told = all.filter(({ type }) => !REPEATING.test(type)).toSorted((a, b) => (place(a) < place(b) ? -1 : 1));
  const lines = told.slice(0, MOST_CHANGES).map(({ op, type, urn, keys }) => {
    const why = op === "create" || keys.length === 0 ? "" : `: ${keys.map(code).join(", ")}`;
    return `- ${op} ${code(type)} ${code(nameOf(urn))}${why}`;
  });
  if (told.length > MOST_CHANGES) lines.push(`- and ${told.length - MOST_CHANGES} more`);
  const list = lines.length === 0 ? "" : `\n\n${lines.join("\n")}`;
  return `<details><summary>Changes: ${words.join(", ")}</summary>${list}\n\n</details>`;
}

function violation({ policy, level, urn, message }: Violation): string {
  return `**${level}** ${code(policy)} on ${code(nameOf(urn))}\n\n${fence(message)}`;
}

function fenced({ urn, message }: Diagnostic): string {
  return urn === "" ? fence(message) : `${code(nameOf(urn))}\n\n${fence(message)}`;
}

function section(title: string, items: readonly string[]): string {
  if (items.length === 0) return "";
  const more = items.length > MOST_MESSAGES ? [`and ${items.length - MOST_MESSAGES} more`] : [];
  return [`#### ${title}`, ...items.slice(0, MOST_MESSAGES), ...more].join("\n\n");
}

/** As it is, whatever is in it: nothing in a message is Markdown, nor calls anybody. */
function fence(message: string): string {
  const text = message.length > MOST_MESSAGE_CHARACTERS ? `${message.slice(0, MOST_MESSAGE_CHARACTERS)} ...` : message;
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([ticks]) => ticks.length));
  const ticks = "`".repeat(longest + 1);
  return `${ticks}text\n${text}\n${ticks}`;
}

function code(name: string): string {
  return `\`${name.replaceAll(/[`\s]+/g, " ").trim()}\``;
}
