/** `wmtp sweep`: the stack files of a grid, one experiment for each combination of its values. */
import Table from "cli-table3";
import type { StackConfig } from "../components/config.ts";
import { formatMoney, gpuCost } from "../components/cost.ts";
import { TrainerConfigs } from "../components/trainer-config.ts";
import { conflict, quoted, write } from "./experiment.ts";
import {
  checkDraft,
  checkName,
  type Draft,
  fileText,
  idleSettings,
  parseSetting,
  type Setting,
  textOf,
} from "./experiment-file.ts";
import { UserError } from "./state.ts";

export interface SweepOptions {
  readonly from: string;
  /** `PATH=V1,V2`, each. */
  readonly grid: readonly string[];
  /** `PATH=VALUE`, each: the same in all of them. */
  readonly set: readonly string[];
  readonly pipelines: readonly string[];
  /** More than `MOST` are meant. */
  readonly yes: boolean;
}

interface Point {
  readonly draft: Draft;
  readonly config: StackConfig;
  /** A value of each grid, as it was written. */
  readonly values: readonly string[];
}

/** Nobody reads the previews of more. */
const MOST = 64;

/** Writes all files or none. @returns a table of them and what comes next. */
export function sweep(name: string, options: SweepOptions): string {
  const { from, grid, set, pipelines, yes } = options;
  checkName(name);
  const axes = grid.map(parseAxis);
  if (axes.length === 0)
    throw new UserError("a sweep needs a grid: --grid verifiable.overrides.training.learning_rate=3e-5,1e-4");
  const combinations = product(axes);
  if (combinations.length > MOST && !yes)
    throw new UserError(
      `the grid has ${combinations.length} combinations, more than ${MOST}: add --yes if they are meant`,
    );
  const fixed = set.map(parseSetting);
  const names = namesOf(name, combinations);
  const trainer = new TrainerConfigs();
  const points: Point[] = [];
  const left: string[] = [];
  const trained = new Map<string, string>();
  for (const [place, combination] of combinations.entries()) {
    const draft = { name: names[place] as string, from, pipelines, settings: [...fixed, ...combination] };
    const values = combination.map(textOf);
    const config = checkDraft(draft, trainer);
    const idle = idleSettings(draft, config, trainer);
    const always = idle.find((setting) => fixed.includes(setting));
    if (always !== undefined)
      throw new UserError(`${always.path}=${textOf(always)}: changes nothing, ${from} has it so already; leave it out`);
    if (idle.length === draft.settings.length) {
      left.push(`left out ${values.join(", ")}: ${from} has it so already`);
      continue;
    }
    // 3e-5 and 0.00003 are one value, however they are written.
    const runs = JSON.stringify(config.runs);
    const same = trained.get(runs);
    if (same !== undefined) {
      left.push(`left out ${values.join(", ")}: ${same} is the same`);
      continue;
    }
    trained.set(runs, draft.name);
    points.push({
      draft: { ...draft, settings: draft.settings.filter((setting) => !idle.includes(setting)) },
      config,
      values,
    });
  }
  const command = commandOf(name, options);
  const files = points.map(({ draft }) => ({ name: draft.name, text: fileText(draft, command) }));
  const problems = files.flatMap((file) => conflict(file.name, file.text) ?? []);
  if (problems.length > 0) throw new UserError(`nothing was written:\n  ${problems.join("\n  ")}`);
  for (const file of files) write(file.name, file.text);
  return [render(axes, points), ...total(points), ...left, ...nextSteps(points)].join("\n");
}

interface Axis {
  readonly path: string;
  readonly settings: readonly Setting[];
}

/** Commas inside brackets and quotes belong to a value. */
function parseAxis(text: string): Axis {
  const [path = "", ...rest] = text.split("=");
  const values = rest.join("=").match(/(?:\[[^\]]*\]|"[^"]*"|'[^']*'|[^,])+/g) ?? [];
  if (new Set(values).size !== values.length) throw new UserError(`${path} has a value twice: say it once`);
  return { path, settings: (values.length === 0 ? [""] : values).map((value) => parseSetting(`${path}=${value}`)) };
}

function product(axes: readonly Axis[]): Setting[][] {
  return axes.reduce<Setting[][]>(
    (combinations, { settings }) => combinations.flatMap((some) => settings.map((setting) => [...some, setting])),
    [[]],
  );
}

/** Names that say the values where that is short and plain; else numbers. */
function namesOf(name: string, combinations: readonly Setting[][]): string[] {
  const spoken = combinations.map((settings) =>
    [name, ...settings.map((setting) => textOf(setting).replaceAll(/[^A-Za-z0-9]+/g, "-"))].join("-"),
  );
  const fine = new Set(spoken.map((one) => one.toLowerCase())).size === spoken.length && spoken.every(isName);
  return fine ? spoken : combinations.map((_settings, place) => `${name}-${place + 1}`);
}

function isName(name: string): boolean {
  try {
    checkName(name);
    return true;
  } catch {
    return false;
  }
}

function render(axes: readonly Axis[], points: readonly Point[]): string {
  const table = new Table({
    head: ["experiment", ...axes.map(({ path }) => path.replace(".overrides.", " ")), "GPUs", "costs at most"],
    style: { head: [], border: [], compact: true },
  });
  for (const { draft, config, values } of points) {
    const gpus = config.runs.map(({ pipeline, gpus: number }) => `${pipeline} ${number}`).join(", ");
    table.push([draft.name, ...values, gpus, costOf(config)]);
  }
  return table.toString();
}

function costOf(config: StackConfig): string {
  if (config.launcher.target === "local") return "nothing";
  const price = gpusOf(config);
  return price === undefined ? "no price" : formatMoney(price, config.cost.currency);
}

/** The GPUs of all its runs, for as long as they may take; what the preview adds to it is small. */
function gpusOf({ launcher, cost, runs }: StackConfig): number | undefined {
  const prices = runs.map(({ gpus, maxDurationSeconds }) =>
    gpuCost(cost, launcher.vessl.presets[gpus], maxDurationSeconds),
  );
  return prices.includes(undefined) ? undefined : prices.reduce<number>((sum, price) => sum + (price ?? 0), 0);
}

/** All points have the same base, and so the same target and, unless a price is missing, the same prices. */
function total(points: readonly Point[]): string[] {
  const [first] = points;
  if (first === undefined || first.config.launcher.target === "local") return [];
  const prices = points.map(({ config }) => gpusOf(config));
  const known = prices.filter((price) => price !== undefined);
  if (known.length === 0) return ["Together: no price"];
  const sum = formatMoney(
    known.reduce((all, price) => all + price, 0),
    first.config.cost.currency,
  );
  const most = known.length === prices.length ? "at most" : "and more, where there is no price,";
  return [`Together: ${sum} ${most} for GPUs alone, without egress`];
}

function nextSteps(points: readonly Point[]): string[] {
  const first = points[0]?.draft.name;
  if (first === undefined) return ["nothing was written"];
  const names = points.map(({ draft }) => draft.name).join(" ");
  return ["Next:", `  make preview STACK=${first}`, `  for stack in ${names}; do make up STACK=$stack; done`];
}

function commandOf(name: string, { from, grid, set, pipelines }: SweepOptions): string {
  const words = ["npx wmtp sweep", name, "--from", from];
  if (pipelines.length > 0) words.push("--pipelines", pipelines.join(","));
  words.push(
    ...grid.flatMap((axis) => ["--grid", quoted(axis)]),
    ...set.flatMap((setting) => ["--set", quoted(setting)]),
  );
  return words.join(" ");
}
