/**
 * The trainer's config, resolved and checked without Python: the trainer exports its pydantic schema and the defaults of every
 * pipeline to `trainer/schema.json` (a test holds the two in step), so that a preview knows a run's whole config - and with it
 * its identity - and refuses a bad override before a GPU is rented.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv2020, type ErrorObject, type ValidateFunction } from "ajv/dist/2020.js";
import { type Problem, suggestion } from "./config-problems.ts";
import type { PipelineName } from "./pipelines.ts";

export type Scalar = string | number | boolean | null | readonly (string | number)[];
export type TrainerConfig = Record<string, Record<string, unknown>>;

interface TrainerSchema {
  readonly results_version: string;
  readonly json_schema: object;
  readonly pipelines: Readonly<Record<PipelineName, Record<string, unknown>>>;
}

const SCHEMA_FILE = join(import.meta.dirname, "..", "trainer", "schema.json");
/** Where files are is not what a run is: these keys belong to the place, so they are no part of the config a fingerprint covers. */
const PLACES = "paths";
/** Keys that have a name of their own in the stack file: two ways to say one thing would be one too many. */
const STACK_KEYS: Readonly<Record<string, string>> = {
  "models.base": "wmtp:models.base",
  "models.reference": "wmtp:models.reference",
  "models.critic_trunk": "wmtp:models.criticTrunk",
};

/** Knows the trainer's schema; read once a program. */
export class TrainerConfigs {
  readonly resultsVersion: string;
  private readonly defaults: TrainerSchema["pipelines"];
  private readonly validate: ValidateFunction;

  constructor(schema: TrainerSchema = JSON.parse(readFileSync(SCHEMA_FILE, "utf8"))) {
    this.resultsVersion = schema.results_version;
    this.defaults = schema.pipelines;
    this.validate = new Ajv2020({ allErrors: true, strict: false, verbose: true }).compile(schema.json_schema);
  }

  /** Why these overrides (at `path` of the stack file) are refused for `pipeline`; empty when they are fine. */
  check(pipeline: PipelineName, overrides: Readonly<Record<string, Scalar>>, path: string): Problem[] {
    const problems: Problem[] = [];
    const known = leafPaths(this.defaults[pipeline]);
    for (const key of Object.keys(overrides)) {
      const ofStack = key === "pipeline" || key.startsWith(`${PLACES}.`);
      const owner = Object.hasOwn(STACK_KEYS, key) ? STACK_KEYS[key] : ofStack ? "the stack" : undefined;
      if (owner !== undefined)
        problems.push({ path: `${path}.${key}`, message: `is set by ${owner}, not by an override` });
      else if (!known.includes(key))
        problems.push({ path: `${path}.${key}`, message: `unknown trainer key; ${suggestion(key, known)}` });
    }
    const refused = new Set(problems.map((problem) => problem.path.slice(path.length + 1)));
    const usable = Object.fromEntries(Object.entries(overrides).filter(([key]) => !refused.has(key)));
    if (this.validate(withOverrides(this.defaults[pipeline], usable))) return problems;
    return [...problems, ...describeErrors(this.validate.errors ?? [], usable, path)];
  }

  /** Defaults of `pipeline` with `overrides` on top, without the places; check the overrides first. */
  resolve(pipeline: PipelineName, overrides: Readonly<Record<string, Scalar>>): TrainerConfig {
    const { [PLACES]: _places, ...config } = withOverrides(this.defaults[pipeline], overrides);
    return config as TrainerConfig;
  }
}

/** Names of the directories below the data sets' root that a config reads: `codecontests/processed/train.jsonl` -> `codecontests`. */
export function datasetsOf(config: TrainerConfig): string[] {
  const files = [config.data?.train, config.data?.valid].filter((file): file is string => typeof file === "string");
  return [...new Set(files.map((file) => file.split("/")[0] as string))].sort();
}

function withOverrides(
  defaults: Record<string, unknown>,
  overrides: Readonly<Record<string, Scalar>>,
): Record<string, unknown> {
  const config = structuredClone(defaults);
  for (const [key, value] of Object.entries(overrides)) {
    const path = key.split(".");
    const leaf = path.pop() as string;
    const parent = path.reduce<Record<string, unknown>>((node, part) => node[part] as Record<string, unknown>, config);
    parent[leaf] = value;
  }
  return config;
}

function leafPaths(node: Record<string, unknown>, prefix = ""): string[] {
  return Object.entries(node).flatMap(([key, value]) =>
    value !== null && typeof value === "object" && !Array.isArray(value)
      ? leafPaths(value as Record<string, unknown>, `${prefix}${key}.`)
      : [`${prefix}${key}`],
  );
}

/** ajv reports each branch of an `anyOf` too ("must be null"); one sentence per key is enough, the allowed forms joined. */
function describeErrors(
  errors: readonly ErrorObject[],
  overrides: Readonly<Record<string, Scalar>>,
  path: string,
): Problem[] {
  const reasons = new Map<string, Set<string>>();
  for (const error of errors) {
    if (error.keyword === "anyOf" || error.keyword === "oneOf") continue;
    const place = error.instancePath.slice(1).replaceAll("/", ".");
    const key = place.replace(/(\.\d+)+$/, ""); // of a wrong list element, the override that holds the list
    reasons.set(key, (reasons.get(key) ?? new Set()).add(allowedBy(error)));
  }
  return [...reasons].map(([key, allowed]) => {
    const said = overrides[key] === undefined ? "" : `${JSON.stringify(overrides[key])} `;
    return { path: `${path}.${key}`, message: `${said}${[...allowed].join(" or ")}` };
  });
}

function allowedBy({ keyword, params, message }: ErrorObject): string {
  if (keyword === "const") return `must be ${JSON.stringify(params.allowedValue)}`;
  if (keyword === "enum") return `must be one of ${(params.allowedValues as unknown[]).join(", ")}`;
  return message ?? "is invalid";
}
