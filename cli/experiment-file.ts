/** The stack file of an experiment: what `--set` says becomes what the file says, and what the program would refuse is refused here. */
import { Document, isScalar, type Node, parseDocument, visit } from "yaml";
import { checkConfig, resolveConfig, type StackConfig } from "../components/config.ts";
import type { Problem } from "../components/config-problems.ts";
import type { Sections } from "../components/config-schema.ts";
import { PIPELINE_NAMES } from "../components/pipelines.ts";
import type { TrainerConfigs } from "../components/trainer-config.ts";
import { UserError } from "./state.ts";

/** `verifiable.overrides.training.learning_rate=3e-5`. */
export interface Setting {
  /** As it was written, without the value. */
  readonly path: string;
  readonly pipeline: string;
  /** Below the pipeline; a key of the trainer's config is one key, dots and all. */
  readonly keys: readonly string[];
  /** Keeps how the value was written: 3e-5 stays 3e-5. */
  readonly value: Node;
}

export interface Draft {
  readonly name: string;
  /** The base stack. */
  readonly from: string;
  /** Pipelines to enable besides those that the settings name. */
  readonly pipelines: readonly string[];
  readonly settings: readonly Setting[];
}

const OVERRIDES = "overrides";
/** It becomes part of file names, of runs' names and of tags. */
const NAME = /^[A-Za-z0-9]([A-Za-z0-9-]{0,38}[A-Za-z0-9])?$/;

/** @throws UserError where `name` cannot be a stack's. */
export function checkName(name: string): void {
  if (!NAME.test(name))
    throw new UserError(
      `"${name}" is no name of an experiment: at most 40 letters, digits and dashes, such as lr-3e-5`,
    );
}

/** @param text `PATH=VALUE`; the value is YAML. @throws UserError where it is not of that form. */
export function parseSetting(text: string): Setting {
  const [, path = "", value = ""] = /^([^=\s]+)=(.*)$/s.exec(text) ?? [];
  const [pipeline = "", first = "", ...rest] = path.split(".");
  if (first === "" || value.trim() === "")
    throw new UserError(
      `"${text}" is no setting: write PATH=VALUE, such as critic.gpus=2 or critic.overrides.training.seed=7`,
    );
  const parsed = parseDocument(value);
  if (parsed.errors.length > 0 || parsed.contents === null)
    throw new UserError(`the value of ${path} is not YAML: ${parsed.errors[0]?.code ?? "nothing is there"}; quote it`);
  if (!hasOnlyFinite(parsed.contents))
    throw new UserError(`${path}=${value.trim()}: is no finite number, and no setting takes another; write a number`);
  const keys = first === OVERRIDES && rest.length > 0 ? [OVERRIDES, rest.join(".")] : [[first, ...rest].join(".")];
  return { path, pipeline, keys, value: parsed.contents };
}

/** JSON, which a stack file becomes, would make null of .inf and .nan. */
function hasOnlyFinite(value: Node): boolean {
  let finite = true;
  visit(value, {
    Scalar: (_key, { value: scalar }) => {
      if (typeof scalar === "number" && !Number.isFinite(scalar)) finite = false;
    },
  });
  return finite;
}

/** The value as it was written. */
export function textOf({ value }: Setting): string {
  return isScalar(value) && value.source !== undefined ? value.source : JSON.stringify(value.toJSON());
}

/** The whole file. @param command that wrote it. */
export function fileText(draft: Draft, command: string): string {
  const document = new Document({ config: { "wmtp:base": draft.from, "wmtp:pipelines": {} } });
  document.commentBefore = ` yaml-language-server: $schema=components/config.schema.json\n ${command}`;
  for (const pipeline of enabled(draft)) document.setIn(["config", "wmtp:pipelines", pipeline], null);
  for (const { pipeline, keys, value } of draft.settings) {
    const path = ["config", "wmtp:pipelines", pipeline];
    keys.forEach((_key, depth) => {
      const parent = [...path, ...keys.slice(0, depth)];
      if (document.getIn(parent) === null) document.setIn(parent, document.createNode({}));
    });
    document.setIn([...path, ...keys], value);
  }
  return document.toString({ lineWidth: 0, nullStr: "" });
}

/** @returns what the experiment would be. @throws UserError with every problem, by path. */
export function checkDraft(draft: Draft, trainer: TrainerConfigs): StackConfig {
  const twice = draft.settings.find(
    ({ path }, place) => draft.settings.findIndex((other) => other.path === path) !== place,
  );
  if (twice !== undefined) throw new UserError(`${twice.path} is set twice: say it once`);
  const { config, problems } = configOf(draft, trainer);
  if (config !== undefined) return config;
  const lines = problems.map(({ path, message }) => `  ${path}: ${message}`);
  throw new UserError(
    `Pulumi.${draft.name}.yaml would have ${problems.length === 1 ? "a problem" : `${problems.length} problems`}; nothing was written:\n${lines.join("\n")}`,
  );
}

/** Settings without which the runs would be the same: the base has them so already. The draft has passed every check. */
export function idleSettings(draft: Draft, config: StackConfig, trainer: TrainerConfigs): Setting[] {
  const runs = JSON.stringify(config.runs);
  return draft.settings.filter((setting) => {
    const without = {
      ...draft,
      pipelines: enabled(draft),
      settings: draft.settings.filter((other) => other !== setting),
    };
    const { config: other } = configOf(without, trainer);
    return other !== undefined && JSON.stringify(other.runs) === runs;
  });
}

/** In the order of the whole sequence; unknown ones last, for the check to name them. */
function enabled({ pipelines, settings }: Draft): string[] {
  const named = new Set([...pipelines, ...settings.map(({ pipeline }) => pipeline)]);
  const known = PIPELINE_NAMES.filter((name) => named.delete(name));
  return [...known, ...named];
}

function configOf(draft: Draft, trainer: TrainerConfigs): { config?: StackConfig; problems: readonly Problem[] } {
  const pipelines = Object.fromEntries(enabled(draft).map((name) => [name, {} as Record<string, unknown>]));
  for (const { pipeline, keys, value } of draft.settings) {
    const [first = "", second] = keys;
    const settings = pipelines[pipeline] as Record<string, unknown>;
    settings[first] =
      second === undefined ? value.toJSON() : { ...(settings[first] as object), [second]: value.toJSON() };
  }
  const raw = { "wmtp:base": draft.from, "wmtp:pipelines": JSON.stringify(pipelines) };
  const { sections, problems, experiment } = checkConfig(raw, new Set(), trainer);
  if (problems.length > 0) return { problems };
  return { config: resolveConfig(draft.name, sections as Required<Sections>, trainer, experiment), problems };
}
