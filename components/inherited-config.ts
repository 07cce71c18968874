/**
 * What an experiment takes from the file of its base. An experiment is a stack with `wmtp:base` and without `wmtp:volumes`: its file
 * says what differs, and only that. Secrets, and what the base owns alone, stay with the base.
 */
import type { Problem } from "./config-problems.ts";
import { parseValue, readStackFile, StackFileError } from "./stack-file.ts";

export interface InheritedConfig {
  /** Flat keys, structured values as JSON text: the experiment's own, and its base's below them. */
  readonly raw: Readonly<Record<string, string>>;
  /** What keeps the experiment from having a base at all; `raw` is then its own. */
  readonly problems: readonly Problem[];
  /** Whether the stack is an experiment; the others stand by themselves, and `raw` is their own. */
  readonly experiment: boolean;
  /** Name of the base's file where the value at `path` comes from there. */
  fileOf(path: string): string | undefined;
}

type Mapping = Readonly<Record<string, unknown>>;

const BASE = "wmtp:base";
const PIPELINES = "wmtp:pipelines";
const OVERRIDES = "wmtp:overrides";
/** Taken over whole, the experiment's own keys on top; of the pipelines only those that it names. */
const INHERITED = ["launcher", "models", "overrides", "cost", "volumes", "policies"].map((name) => `wmtp:${name}`);
/** What the base has made and an experiment uses as it is; the keys an experiment has of its own in these sections. */
const OF_THE_BASE: Readonly<Record<string, readonly string[]>> = {
  "wmtp:storage": [],
  "wmtp:image": ["pullCredential"],
  "wmtp:tracking": ["experiment"],
};
/** In inherited sections, where runs are and where the base has put what they read. */
const FIXED = [
  ["wmtp:launcher", "target"],
  ["wmtp:launcher", "vessl", "organization"],
  ["wmtp:models", "delivery"],
  ["wmtp:models", "cache"],
] as const;
const ACCUMULATION = "training.gradient_accumulation_steps";

/**
 * @param raw the stack's own config, as the engine hands it over
 * @param project folder of Pulumi.yaml, where the base's file is
 */
export function withInherited(raw: Readonly<Record<string, string>>, project: string): InheritedConfig {
  const base = raw[BASE];
  if (base === undefined || base === "" || raw["wmtp:volumes"] !== undefined) {
    return { raw, problems: [], experiment: false, fileOf: () => undefined };
  }
  const refused = (message: string): InheritedConfig => {
    return { raw, problems: [{ path: BASE, message }], experiment: true, fileOf: () => undefined };
  };
  const file = baseFile(base, project);
  if (typeof file === "string") return refused(file);
  const above = file.raw[BASE];
  if (above === base) return refused(`${base} is the stack itself: name another`);
  if (above !== undefined) return refused(`${base} has a base itself (${above}): name a stack without one`);
  const inherited = [...INHERITED, PIPELINES].filter((key) => file.raw[key] !== undefined);
  const secret = inherited.filter((key) => file.secrets.has(key));
  if (secret.length > 0) return refused(`${secret.join(", ")} of ${file.name} holds a secret value: take it out there`);

  const own = Object.fromEntries(Object.entries(raw).map(([key, text]) => [key, parseValue(text)]));
  const theirs = Object.fromEntries(inherited.map((key) => [key, parseValue(file.raw[key] as string)]));
  const result: Record<string, string> = { ...raw };
  for (const key of inherited) {
    const value = key === PIPELINES ? pipelinesOf(own, theirs[key]) : mergerOf(key)(theirs[key], own[key]);
    if (value !== undefined && value !== null) result[key] = JSON.stringify(value);
  }
  return {
    raw: result,
    problems: ofTheBase(own, theirs, file.name),
    experiment: true,
    fileOf: (path) => (!holds(own, path) && holds(theirs, path) ? file.name : undefined),
  };
}

function baseFile(base: string, project: string) {
  try {
    return readStackFile(base, project);
  } catch (error) {
    if (error instanceof StackFileError) return error.message;
    throw error;
  }
}

/** The pipelines that the experiment names, each with what the base says of it below what the experiment says. */
function pipelinesOf(own: Mapping, theirs: unknown): unknown {
  const named = own[PIPELINES];
  if (!isMapping(named)) return named;
  const everywhere = mapping(own[OVERRIDES]);
  return Object.fromEntries(
    Object.entries(named).map(([pipeline, settings]) => {
      const inherited = isMapping(theirs) && Object.hasOwn(theirs, pipeline) ? theirs[pipeline] : undefined;
      if (!isMapping(inherited) || (settings !== null && !isMapping(settings)))
        return [pipeline, settings ?? inherited ?? null];
      const below = withoutConflicts(inherited, mapping(settings), everywhere, Object.keys(named));
      const overrides = withOverrides(below.overrides, mapping(settings).overrides);
      return [pipeline, { ...mapping(merged(below, settings)), ...(overrides === undefined ? {} : { overrides }) }];
    }),
  );
}

/**
 * The base's settings of a pipeline without those that the experiment says otherwise under another name, and without the runs and the
 * critic that it has, or has not, of its own.
 */
function withoutConflicts(base: Mapping, own: Mapping, everywhere: Mapping, enabled: readonly string[]): Mapping {
  const overrides = { ...mapping(base.overrides) };
  // An override for all pipelines of the experiment was meant for this one too, whatever the base says of it.
  for (const key of Object.keys(everywhere)) delete overrides[key];
  if (own.effectiveBatch !== undefined) delete overrides[ACCUMULATION];
  const accumulates = Object.hasOwn(everywhere, ACCUMULATION) || Object.hasOwn(mapping(own.overrides), ACCUMULATION);
  const dropped = [
    "overrides",
    ...(accumulates ? ["effectiveBatch"] : []),
    ...(enabled.includes("critic") ? ["criticCheckpoint"] : []),
  ];
  const rest = Object.fromEntries(Object.entries(base).filter(([key]) => !dropped.includes(key)));
  const { after } = rest;
  return {
    ...rest,
    ...(Array.isArray(after) ? { after: after.filter((earlier) => enabled.includes(earlier)) } : {}),
    ...(Object.keys(overrides).length === 0 ? {} : { overrides }),
  };
}

/** What an experiment cannot have of its own. */
function ofTheBase(own: Mapping, theirs: Mapping, file: string): Problem[] {
  const sections = Object.entries(OF_THE_BASE).flatMap(([section, allowed]) =>
    Object.keys(mapping(own[section]))
      .filter((key) => !allowed.includes(key))
      .map((key) => `${section}.${key}`),
  );
  const at = (config: Mapping, path: readonly string[]) =>
    path.reduce<unknown>((node, key) => mapping(node)[key], config);
  const fixed = FIXED.filter((path) => {
    const value = at(own, path);
    return value !== undefined && JSON.stringify(value) !== JSON.stringify(at(theirs, path));
  }).map((path) => path.join("."));
  const message = `an experiment has its base's: leave it out, or change it in ${file}`;
  return [...sections, ...fixed].map((path) => ({ path, message }));
}

function mergerOf(section: string): (base: unknown, own: unknown) => unknown {
  return section === OVERRIDES ? withOverrides : merged;
}

/** Keys of the trainer's config: null is a value of theirs, as of `training.max_steps`, and wins as any other. */
function withOverrides(base: unknown, own: unknown): unknown {
  return isMapping(base) && isMapping(own) ? { ...base, ...own } : (own ?? base);
}

/** `own` wins; a key with nothing after it says nothing. Lists are values: one stands in place of the other. */
function merged(base: unknown, own: unknown): unknown {
  if (own === undefined || own === null) return base;
  if (!isMapping(base) || !isMapping(own)) return own;
  const keys = [...new Set([...Object.keys(base), ...Object.keys(own)])];
  const value = (of: Mapping, key: string) => (Object.hasOwn(of, key) ? of[key] : undefined);
  return Object.fromEntries(keys.map((key) => [key, merged(value(base, key), value(own, key))]));
}

/** Whether there is a value at the path; keys of the trainer's config have dots in them. */
function holds(node: unknown, path: string): boolean {
  if (path === "") return true;
  if (Array.isArray(node)) return true; // an entry of a list comes from where the list does
  return Object.entries(mapping(node)).some(
    ([key, inner]) => path === key || (path.startsWith(`${key}.`) && holds(inner, path.slice(key.length + 1))),
  );
}

function isMapping(value: unknown): value is Mapping {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function mapping(value: unknown): Mapping {
  return isMapping(value) ? value : {};
}
