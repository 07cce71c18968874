/** `wmtp doctor`: whether what a stack file says of the GPU cloud is so, before anything is made or rented. */
import { checkConfig, resolveConfig, type StackConfig } from "../components/config.ts";
import type { Sections } from "../components/config-schema.ts";
import { cacheVolume } from "../components/model-cache.ts";
import { SECRET_VARIABLES, type SecretVariable, secretName } from "../components/run-access.ts";
import { criticDirectory } from "../components/stack-critic.ts";
import { TrainerConfigs } from "../components/trainer-config.ts";
import { messageOf } from "../launcher/errors.ts";
import { Checks } from "./checks.ts";
import { checkCloud, type Wanted } from "./cloud-checks.ts";
import { readStackFile, type StackFile } from "./stack-file.ts";
import { pulumi } from "./state.ts";

/** Looks at everything it can; a stack file with problems still has its login looked at. */
export async function doctor(stack: string): Promise<Checks> {
  const checks = new Checks();
  const file = readStackFile(stack);
  const trainer = new TrainerConfigs();
  const { sections, problems, experiment } = checkConfig(file.raw, file.secrets, trainer);
  for (const { path, message } of problems) checks.add("stack file", "failed", `${file.name}: ${path}: ${message}`);
  if (problems.length === 0) checks.add("stack file", "ok", file.name);
  if (sections.launcher?.target === "local") {
    checks.add("target", "ok", "local: runs are processes of this machine and need no login");
    return checks;
  }
  if (sections.launcher === undefined) checks.skip(["target"], "correct the stack file first");
  else checks.add("target", "ok", "vessl: runs go to the GPU cloud");
  const sound = problems.length === 0;
  await checkCloud(
    checks,
    sound ? await wantedBy(file, resolveConfig(stack, sections as Required<Sections>, trainer, experiment)) : undefined,
  );
  return checks;
}

async function wantedBy(file: StackFile, config: StackConfig): Promise<Wanted> {
  const { organization, project, cluster, presets } = config.launcher.vessl;
  const enabled = config.runs.length > 0;
  const used = new Map<string, string[]>();
  for (const { pipeline, gpus } of config.runs) used.set(presets[gpus], [...(used.get(presets[gpus]) ?? []), pipeline]);
  return {
    organization: organization as string, // checked with everything else
    project,
    cluster,
    presets: used,
    volumes: enabled ? volumesOf(config) : [],
    volumesRemedy: config.experiment ? `run pulumi up --stack ${config.base}` : undefined,
    secrets: await secretsOf(file, config),
  };
}

/** An experiment has its base's, and needs the checkpoints only where a critic in them is named. */
function volumesOf({ volumes: { storage, names }, models, experiment, runs }: StackConfig): Wanted["volumes"] {
  const named = runs.some(({ criticCheckpoint }) => criticDirectory(criticCheckpoint) !== undefined);
  const kinds = [
    ...(models.delivery === "volume" ? (["models"] as const) : []),
    "datasets" as const,
    ...(!experiment || named ? (["checkpoints"] as const) : []),
  ];
  const cache = cacheVolume(models);
  return [...kinds.map((kind) => ({ storage, name: names[kind] })), ...(cache === undefined ? [] : [cache])];
}

/** Of a stack on a base they are the base's, which says which there are; a stack's own are made by its `up`. */
async function secretsOf({ secrets }: StackFile, { stack, base }: StackConfig): Promise<Wanted["secrets"]> {
  if (base === undefined) {
    const variables = SECRET_VARIABLES.filter((variable) => variable !== "HF_TOKEN" || secrets.has("wmtp:hfToken"));
    return { names: variables.map((variable) => secretName(stack, variable)), remedy: undefined };
  }
  const remedy = `run pulumi up --stack ${base}`;
  try {
    const variables: SecretVariable[] = JSON.parse(
      await pulumi(["stack", "output", "runSecrets", "--json", "--stack", base]),
    );
    return { names: variables.map((variable) => secretName(base, variable)), remedy };
  } catch (error) {
    return {
      problem: `which secrets the base stack ${base} has cannot be read (${messageOf(error)}): ${remedy} first`,
    };
  }
}
