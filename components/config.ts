/**
 * The only reader of the stack file. Everything is plain, validated data before the first resource is declared, because what
 * decides which resources exist must not depend on outputs; every problem is reported at once, by path.
 */
import * as pulumi from "@pulumi/pulumi";
import { distance } from "fastest-levenshtein";
import type { z } from "zod";
import { describeIssues, formatProblems, type Problem, suggestion, withoutFollowers } from "./config-problems.ts";
import { DEFAULT_WAIT, SECRET_KEYS, SECTIONS, type SecretKey, type Section, type Sections } from "./config-schema.ts";
import { checkInfrastructure } from "./infrastructure-rules.ts";
import { type InheritedConfig, withInherited } from "./inherited-config.ts";
import { type Gpus, type ModelRole, PIPELINE_NAMES, PIPELINES, type PipelineName } from "./pipelines.ts";
import { checkRuns, isStackName, needsOf, runOverrides } from "./run-rules.ts";
import { parseValue } from "./stack-file.ts";
import { datasetsOf, type TrainerConfig, TrainerConfigs } from "./trainer-config.ts";
import { parseDuration } from "./units.ts";

/** One training run as the stack declares it: all choices made, all defaults filled in. */
export interface RunSettings {
  readonly pipeline: PipelineName;
  readonly gpus: Gpus;
  readonly maxDurationSeconds: number;
  /** Enabled pipelines of this stack whose checkpoint the run reads. */
  readonly needs: readonly PipelineName[];
  /** Pipelines that only have to be over before this one starts. */
  readonly after: readonly PipelineName[];
  /** A critic from elsewhere: a path or an `s3://` URI. */
  readonly criticCheckpoint?: string;
  /** The stack whose trained critic the run reads, where it is not this one. */
  readonly criticStack?: string;
  readonly rerun?: string;
  /** Directory names of the models the run reads, in `models/` of the bucket or volume. */
  readonly models: readonly string[];
  /** Directory names of the data sets the run reads, in `datasets/`. */
  readonly datasets: readonly string[];
  readonly trainerConfig: TrainerConfig;
  /** Sequences per optimizer step: batch size x accumulation steps x GPUs. */
  readonly effectiveBatch: number;
}

export interface StackConfig {
  readonly stack: string;
  readonly base?: string;
  /** Owns its runs alone; what they stand on and read is the base's. */
  readonly experiment: boolean;
  /** `aws:region`; the local target needs none. */
  readonly region?: string;
  /** Nothing is protected: a stack for a test. */
  readonly ephemeral: boolean;
  readonly launcher: Omit<Section<"launcher">, "wait"> & {
    /** Seconds `up` waits for a run; null: until it is over. */
    readonly waitSeconds: number | null;
  };
  readonly storage: Section<"storage">;
  readonly tracking: Section<"tracking"> & { readonly experiment: string };
  readonly image: Section<"image"> & { readonly repository: string };
  readonly volumes: Section<"volumes">;
  readonly models: Section<"models">;
  readonly cost: Section<"cost">;
  readonly waivers: Section<"waivers">;
  readonly resultsVersion: string;
  /** In an order in which every run comes after those it needs. */
  readonly runs: readonly RunSettings[];
}

const PREFIX = "wmtp:";
/** Namespaces of the engine and of the providers that the stack uses. */
const PROVIDERS: readonly string[] = ["aws", "command", "docker", "launcher", "pulumi", "random", "tls"];
const CREDENTIALS: readonly string[] = ["aws:accessKey", "aws:secretKey", "aws:token"];
/** `wtmp` and `mwpt` are ours, misspelled. */
const MAX_NAMESPACE_EDITS = 3;
const KNOWN_KEYS: readonly string[] = [...Object.keys(SECTIONS), ...SECRET_KEYS];

/**
 * Reads the configuration of the current stack.
 * @throws pulumi.RunError listing every problem with its path and what is allowed.
 */
export function readConfig(): StackConfig {
  const stack = pulumi.getStack();
  const raw = pulumi.runtime.allConfig();
  const secrets = secretKeys();
  const region = raw["aws:region"];
  const trainer = new TrainerConfigs();
  const adminPasswordLength = raw["wmtp:mlflowAdminPassword"]?.length;
  const { sections, problems, experiment } = checkConfig(raw, secrets, trainer, { adminPasswordLength });
  if (problems.length > 0) throw new pulumi.RunError(formatProblems(stack, problems));
  return {
    ...resolveConfig(stack, sections as Required<Sections>, trainer, experiment),
    ...(region === undefined ? {} : { region }),
  };
}

export interface CheckedConfig {
  /** Of an experiment with what it takes from its base's file. */
  readonly sections: Sections;
  readonly problems: Problem[];
  /** Whether the stack owns its runs alone. */
  readonly experiment: boolean;
}

/**
 * The sections of a stack file, and every problem that there is: in a section, between two, with what it stands on.
 * @param options.project folder of Pulumi.yaml, where the file of an experiment's base is; the current one by default
 * @param options.adminPasswordLength characters of `wmtp:mlflowAdminPassword`, where it can be read
 */
export function checkConfig(
  raw: Readonly<Record<string, string>>,
  secrets: ReadonlySet<string>,
  trainer: TrainerConfigs,
  options: { readonly project?: string; readonly adminPasswordLength?: number | undefined } = {},
): CheckedConfig {
  const inherited = withInherited(raw, options.project ?? ".");
  const { experiment } = inherited;
  const { sections, problems } = parseSections(inherited.raw, secrets);
  // Without its base an experiment misses what it would have taken from there: that would only repeat the cause.
  if (experiment && inherited.raw === raw)
    return { sections, problems: [...inherited.problems, ...problems], experiment };
  problems.push(...checkRuns(sections, trainer, experiment));
  const today = new Date().toISOString().slice(0, 10);
  const surroundings = { region: raw["aws:region"], secrets, today, adminPasswordLength: options.adminPasswordLength };
  problems.push(...withoutFollowers(problems, checkInfrastructure(sections, surroundings)));
  const named = problems.map((problem) => withOrigin(problem, inherited));
  return { sections, problems: [...inherited.problems, ...named], experiment };
}

/** A problem of a value that an experiment has from its base says so: it is not in the file that has the problem. */
function withOrigin({ path, message }: Problem, { fileOf }: InheritedConfig): Problem {
  const file = fileOf(path);
  return { path, message: file === undefined ? message : `${message} (in ${file}, the base's file)` };
}

/** A secret of the stack file, encrypted wherever it goes; undefined when it is not set. */
export function readSecret(key: SecretKey): pulumi.Output<string> | undefined {
  return new pulumi.Config("wmtp").getSecret(key);
}

/** Parses each section by itself, so that a mistake in one does not hide those of the others. */
export function parseSections(
  raw: Readonly<Record<string, string>>,
  secrets: ReadonlySet<string>,
): { sections: Sections; problems: Problem[] } {
  const problems: Problem[] = [];
  const values = new Map<string, unknown>();
  for (const [key, text] of Object.entries(raw)) {
    if (!key.startsWith(PREFIX)) {
      problems.push(...foreignKey(key, secrets.has(key)));
      continue;
    }
    const section = key.slice(PREFIX.length);
    const secret = secrets.has(key);
    if ((SECRET_KEYS as readonly string[]).includes(section)) {
      if (!secret)
        problems.push({
          path: key,
          message: `is stored in plain text; set it with: pulumi config set --secret ${key}`,
        });
    } else if (!Object.hasOwn(SECTIONS, section)) {
      problems.push({
        path: key,
        message: `unknown key; ${suggestion(section, KNOWN_KEYS)}`,
      });
    } else if (secret) {
      problems.push({
        path: key,
        message: `holds a secret value; secrets go only under ${SECRET_KEYS.map((name) => PREFIX + name).join(", ")}`,
      });
    } else {
      values.set(section, section === "base" ? text : parseValue(text));
    }
  }
  const sections: Record<string, unknown> = {};
  for (const [name, schema] of Object.entries(SECTIONS)) {
    const value = values.get(name);
    const result = schema.safeParse(value);
    if (result.success) sections[name] = result.data;
    else {
      problems.push(...describeIssues(PREFIX + name, schema, value, result.error.issues));
      // What is left without the mistakes goes on to the rules between keys, so that these are reported as well.
      const rest = schema.safeParse(without(value, result.error.issues));
      if (rest.success) sections[name] = rest.data;
    }
  }
  return { sections: sections as Sections, problems };
}

/** Fills in what follows from other keys. The sections have passed every check. */
export function resolveConfig(
  stack: string,
  sections: Required<Sections>,
  trainer: TrainerConfigs,
  experiment = false,
): StackConfig {
  const { wait, ...launcher } = sections.launcher;
  const waiting = wait ?? (process.env.CI ? DEFAULT_WAIT.ci : DEFAULT_WAIT.terminal);
  return {
    stack,
    ...(sections.base === undefined ? {} : { base: sections.base }),
    experiment,
    launcher: { ...launcher, waitSeconds: parseDuration(waiting) ?? null },
    storage: sections.storage,
    tracking: { ...sections.tracking, experiment: sections.tracking.experiment ?? `weighted-mtp/${stack}` },
    // Without one the stack has a registry of its own, or no image at all.
    image: { ...sections.image, repository: sections.image.repository ?? "wmtp" },
    volumes: sections.volumes,
    models: sections.models,
    cost: sections.cost,
    waivers: sections.waivers,
    ephemeral: sections.ephemeral,
    resultsVersion: trainer.resultsVersion,
    runs: inOrder(sections).map((pipeline) => resolveRun(pipeline, sections, trainer, experiment)),
  };
}

function resolveRun(
  pipeline: PipelineName,
  sections: Required<Sections>,
  trainer: TrainerConfigs,
  experiment: boolean,
): RunSettings {
  const settings = sections.pipelines[pipeline] ?? raise(pipeline);
  const gpus = settings.gpus ?? PIPELINES[pipeline].defaultGpus;
  const names = modelNames(sections.models);
  const overrides = runOverrides(pipeline, sections);
  for (const role of PIPELINES[pipeline].models) overrides[TRAINER_MODEL_KEYS[role]] = names[role];
  const batch = trainer.resolve(pipeline, overrides).training?.batch_size as number;
  if (settings.effectiveBatch !== undefined)
    overrides["training.gradient_accumulation_steps"] = settings.effectiveBatch / (batch * gpus);
  const config = trainer.resolve(pipeline, overrides);
  const needs = needsOf(pipeline, sections.pipelines);
  const own = needs.filter((needed) => sections.pipelines[needed] !== undefined);
  return {
    pipeline,
    gpus,
    maxDurationSeconds: parseDuration(settings.maxDuration) ?? raise(pipeline),
    needs: own,
    after: settings.after,
    // An experiment without a critic of its own has its base's.
    ...(experiment && own.length < needs.length ? { criticStack: sections.base as string } : {}),
    ...(pipeline === "verifiable" ? criticFrom(sections.pipelines.verifiable?.criticCheckpoint) : {}),
    ...(settings.rerun === undefined ? {} : { rerun: settings.rerun }),
    models: [...new Set(PIPELINES[pipeline].models.map((role) => names[role]))].sort(),
    datasets: datasetsOf(config),
    trainerConfig: config,
    effectiveBatch: batch * gpus * (config.training?.gradient_accumulation_steps as number),
  };
}

function criticFrom(named: string | undefined): Pick<RunSettings, "criticCheckpoint" | "criticStack"> {
  if (named === undefined) return {};
  return isStackName(named) ? { criticStack: named } : { criticCheckpoint: named };
}

const TRAINER_MODEL_KEYS: Readonly<Record<ModelRole, string>> = {
  base: "models.base",
  reference: "models.reference",
  criticTrunk: "models.critic_trunk",
};

function modelNames(models: Section<"models">): Record<ModelRole, string> {
  return { base: models.base, reference: models.reference, criticTrunk: models.criticTrunk ?? models.base };
}

/** Enabled pipelines, each after those it needs or follows; `checkRuns` has refused cycles. */
function inOrder({ pipelines }: Required<Sections>): PipelineName[] {
  const ordered: PipelineName[] = [];
  const place = (pipeline: PipelineName): void => {
    const settings = pipelines[pipeline];
    if (settings === undefined || ordered.includes(pipeline)) return;
    for (const earlier of [...needsOf(pipeline, pipelines), ...settings.after]) place(earlier);
    ordered.push(pipeline);
  };
  for (const pipeline of PIPELINE_NAMES) place(pipeline);
  return ordered;
}

/** Keys of the providers are theirs to check, but for two: a namespace that nobody reads, and credentials in clear. */
function foreignKey(key: string, secret: boolean): Problem[] {
  const [namespace, name] = key.split(":") as [string, string | undefined];
  if (CREDENTIALS.includes(key) && !secret) {
    return [
      {
        path: key,
        message: `is stored in plain text; leave it to the environment, or set it with: pulumi config set --secret ${key}`,
      },
    ];
  }
  if (PROVIDERS.includes(namespace)) return [];
  const ours = name !== undefined && KNOWN_KEYS.includes(name) && distance(namespace, "wmtp") <= MAX_NAMESPACE_EDITS;
  const hint = ours ? `did you mean "${PREFIX}${name}"?` : `known: wmtp, ${PROVIDERS.join(", ")}`;
  return [{ path: key || "(a key without a name)", message: `unknown namespace; ${hint}` }];
}

/** Keys whose value, or part of it, is encrypted in the stack file; the engine hands them to the program in this variable. */
function secretKeys(): ReadonlySet<string> {
  return new Set<string>(JSON.parse(process.env.PULUMI_CONFIG_SECRET_KEYS ?? "[]"));
}

/** `value` without the keys that `issues` are about. */
function without(value: unknown, issues: readonly z.core.$ZodIssue[]): unknown {
  const rest = structuredClone(value);
  for (const issue of issues) {
    const paths = issue.code === "unrecognized_keys" ? issue.keys.map((key) => [...issue.path, key]) : [issue.path];
    for (const path of paths) {
      const list = path.findIndex((key) => typeof key === "number"); // a list with one wrong entry goes as a whole
      const keys = path.slice(0, list < 0 ? undefined : list);
      const leaf = keys.pop();
      const parent = keys.reduce<unknown>(
        (node, key) => (node as Record<PropertyKey, unknown> | undefined)?.[key],
        rest,
      );
      if (leaf !== undefined && parent !== null && typeof parent === "object")
        delete (parent as Record<PropertyKey, unknown>)[leaf];
    }
  }
  return rest;
}

function raise(pipeline: PipelineName): never {
  throw new Error(`pipeline ${pipeline} was resolved before it was checked`);
}
