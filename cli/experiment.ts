/** `wmtp experiment`: writes the stack file of an experiment. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { parse } from "yaml";
import { stackFileName } from "../components/stack-file.ts";
import { TrainerConfigs } from "../components/trainer-config.ts";
import { checkDraft, checkName, type Draft, fileText, idleSettings, parseSetting, textOf } from "./experiment-file.ts";
import { UserError } from "./state.ts";

export interface ExperimentOptions {
  readonly from: string;
  /** `PATH=VALUE`, each. */
  readonly set: readonly string[];
  readonly pipelines: readonly string[];
}

/** @returns what was written and what comes next. @throws UserError where nothing was. */
export function experiment(name: string, { from, set, pipelines }: ExperimentOptions): string {
  checkName(name);
  const draft: Draft = { name, from, pipelines, settings: set.map(parseSetting) };
  if (draft.settings.length === 0)
    throw new UserError(
      `${name} would be ${from} once more: say what differs, such as --set critic.overrides.training.seed=7`,
    );
  const trainer = new TrainerConfigs();
  const config = checkDraft(draft, trainer);
  const idle = idleSettings(draft, config, trainer);
  if (idle.length > 0) {
    const named = idle.map((setting) => `${setting.path}=${textOf(setting)}`);
    throw new UserError(`${named.join(", ")}: changes nothing, ${from} has it so already; leave it out`);
  }
  const words = ["npx wmtp experiment", name, "--from", from];
  if (pipelines.length > 0) words.push("--pipelines", pipelines.join(","));
  const command = [...words, ...set.flatMap((setting) => ["--set", quoted(setting)])].join(" ");
  const written = write(name, fileText(draft, command));
  return [written, "Next:", `  make preview STACK=${name}`, `  make up STACK=${name}`].join("\n");
}

/** Refuses to replace a file that says something else. */
export function conflict(name: string, text: string): string | undefined {
  const file = stackFileName(name);
  if (!existsSync(file)) return undefined;
  const config = parse(readFileSync(file, "utf8"))?.config;
  if (isDeepStrictEqual(config, parse(text).config)) return undefined;
  const remedy =
    config?.["wmtp:base"] === undefined
      ? "choose another name"
      : `choose another name, or remove it (make down STACK=${name} first, if it was deployed)`;
  return `there is a ${file} already, and it says something else: ${remedy}`;
}

/** @returns what was done. @throws UserError where there is such a file with another content. */
export function write(name: string, text: string): string {
  const file = stackFileName(name);
  const problem = conflict(name, text);
  if (problem !== undefined) throw new UserError(problem);
  if (existsSync(file)) return `${file} says this already`;
  writeFileSync(file, text);
  return `wrote ${file}`;
}

/** For a shell. */
export function quoted(word: string): string {
  return /^[\w.,=:/@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
