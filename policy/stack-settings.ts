/** What the stack file says that policies go by, read from the environment that the engine gives a pack. */
import { SECTIONS, type Section } from "../components/config-schema.ts";
import { withInherited } from "../components/inherited-config.ts";
import { parseValue } from "../components/stack-file.ts";

const READ = ["base", "launcher", "storage", "tracking", "image", "cost", "policies", "waivers", "ephemeral"] as const;
type Read = (typeof READ)[number];

export type StackSettings = { readonly [Name in Read]: Section<Name> } & {
  readonly project: string;
  readonly stack: string;
  /** Folder of Pulumi.yaml. */
  readonly folder: string;
  readonly preview: boolean;
  /** Whether the stack owns its runs alone. */
  readonly experiment: boolean;
  /** Day on which the policies are asked, as 2026-12-31. */
  readonly today: string;
};

/** A stack file that the policies cannot go by; what is wrong with each value is the program's to say. */
export class SettingsError extends Error {}

/**
 * @param env of the pack's process
 * @param folder of Pulumi.yaml
 * @throws SettingsError where there is no config, or a section of it is not valid.
 */
export function readSettings(env: Readonly<Record<string, string | undefined>>, folder: string): StackSettings {
  const { PULUMI_CONFIG: config, PULUMI_PROJECT: project, PULUMI_STACK: stack } = env;
  if (config === undefined || project === undefined || stack === undefined) {
    throw new SettingsError(
      "the engine did not tell the policies what stack this is, nor its config: use pulumi 3.220",
    );
  }
  const { raw, problems, experiment } = withInherited(JSON.parse(config), folder);
  if (problems.length > 0) {
    throw new SettingsError(problems.map(({ path, message }) => `${path}: ${message}`).join("; "));
  }
  const sections = Object.fromEntries(READ.map((name) => [name, parse(name, raw[`wmtp:${name}`])])) as {
    [Name in Read]: Section<Name>;
  };
  return {
    ...sections,
    project,
    stack,
    folder,
    preview: env.PULUMI_DRY_RUN === "true",
    experiment,
    today: new Date().toISOString().slice(0, 10),
  };
}

function parse(name: Read, text: string | undefined): unknown {
  const result = SECTIONS[name].safeParse(text === undefined ? undefined : parseValue(text));
  if (result.success) return result.data;
  throw new SettingsError(`wmtp:${name} is not valid, so no policy can go by it: see the errors of the stack file`);
}
