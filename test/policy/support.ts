/** Asks all policies about resources, without an engine: those that the program registers on mocks, or some made by hand. */
import { join } from "node:path";
import { POLICIES } from "../../policy/all.ts";
import { Enforcement } from "../../policy/enforcement.ts";
import type { StackResource } from "../../policy/policy.ts";
import { readSettings } from "../../policy/stack-settings.ts";
import { type Properties, UNKNOWN, type Value } from "../../policy/values.ts";
import { type ProgramOptions, type Registration, runProgram } from "../support/program.ts";
import { rawConfig, stackFile } from "../support/stack-config.ts";

const PROJECT = join(import.meta.dirname, "..", "..");
export type Config = Readonly<Record<string, unknown>>;
/** A resource that a test may change. */
export type Changeable = { -readonly [Key in keyof StackResource]: StackResource[Key] } & {
  props: Record<string, Value>;
};

export interface Judgement {
  /** `id: name`, for each violation, in the order of the policies. */
  readonly violations: readonly string[];
  readonly messages: readonly string[];
  readonly waived: readonly string[];
  readonly undecided: readonly string[];
}

export interface Situation {
  readonly stack?: string;
  readonly preview?: boolean;
  /** Ask these policies about single resources no more than about these. */
  readonly only?: readonly StackResource[];
}

/** What the pack says of a stack with these resources and this config. */
export function judge(resources: readonly StackResource[], config: Config, situation: Situation = {}): Judgement {
  const settings = readSettings(environment(config, situation), PROJECT);
  const enforcement = new Enforcement(settings);
  const names = new Map(resources.map(({ urn, name }) => [urn, name]));
  const [violations, messages, waived]: string[][] = [[], [], []];
  const reporter = (id: string) => (message: string, urn?: string) => {
    violations?.push(urn === undefined ? id : `${id}: ${names.get(urn)}`);
    messages?.push(message);
  };
  for (const policy of POLICIES) {
    if (enforcement.levelOf(policy) === "disabled") continue;
    for (const resource of situation.only ?? resources) enforcement.eachOf(policy, resource, reporter(policy.id));
    enforcement.wholeStack(policy, resources, reporter(policy.id));
  }
  enforcement.reportWaivers(reporter("waivers-valid"));
  enforcement.reportWaived((message) => waived?.push(message));
  return {
    violations: violations ?? [],
    messages: messages ?? [],
    waived: waived ?? [],
    undecided: enforcement.undecided(),
  };
}

/** As the engine gives it to a pack. */
export function environment(config: Config, { stack = "prod", preview = false }: Situation = {}) {
  return {
    PULUMI_CONFIG: JSON.stringify(rawConfig(config)),
    PULUMI_PROJECT: "wmtp",
    PULUMI_STACK: stack,
    PULUMI_DRY_RUN: String(preview),
  };
}

export const prod: Config = stackFile("prod").config;

/** The resources of a stack, as the program registers them. */
export async function resourcesOf(config: Config = prod, options: ProgramOptions = {}): Promise<Changeable[]> {
  process.env.VESSL_ACCESS_TOKEN ??= "a token";
  const { registered } = await runProgram(config, { stack: "prod", ...options });
  return linked(registered, config, options.stack ?? "prod");
}

/** Registrations with their references to each other, as a pack is given them at the end of a preview. */
function linked(registered: readonly Registration[], config: Config, stack: string): Changeable[] {
  const root: Registration | undefined = registered.find(({ type }) => type === "pulumi:pulumi:Stack");
  const provider = { defaultTags: JSON.stringify(config["aws:defaultTags"] ?? {}) };
  const made = registered.map(({ type, name, urn, inputs, protect }) =>
    byHand(type, name, known(inputs) as Properties, {
      urn,
      protect,
      provider: type.startsWith("aws:") ? provider : undefined,
    }),
  );
  if (root === undefined) made.unshift(byHand("pulumi:pulumi:Stack", `wmtp-${stack}`, {}));
  const byUrn = new Map(made.map((one) => [one.urn, one]));
  const find = (urns: readonly string[]) => urns.flatMap((urn) => byUrn.get(urn) ?? []);
  for (const { urn, parent, dependencies, propertyDependencies } of registered) {
    const one = byUrn.get(urn) as Changeable;
    one.parent = byUrn.get(parent);
    one.dependencies = find(dependencies);
    one.propertyDependencies = Object.fromEntries(
      Object.entries(propertyDependencies).map(([property, urns]) => [property, find(urns)]),
    );
  }
  return made;
}

/** A resource that no program made. */
export function byHand(
  type: string,
  name: string,
  props: Properties,
  rest: Partial<Omit<StackResource, "type" | "name" | "props">> = {},
): Changeable {
  return {
    type,
    name,
    urn: `urn:pulumi:prod::wmtp::${type}::${name}`,
    props: { ...props },
    protect: false,
    provider: undefined,
    parent: undefined,
    dependencies: [],
    propertyDependencies: {},
    ...rest,
  };
}

const SECRET = "4dabf18193072939515e22adb298388d";

/** The mocks mark what is not known as the SDK does. */
function known(value: unknown): Value {
  if (Array.isArray(value)) return value.map(known);
  if (value === null || typeof value !== "object") return value as Value;
  if ("__pulumiUnknown" in value) return UNKNOWN;
  if (SECRET in value) return known((value as { value?: unknown }).value); // a pack sees secrets as they are
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, known(inner)]));
}
