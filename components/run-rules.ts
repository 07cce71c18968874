/** Rules between keys of the stack file: what each section cannot see by itself. Sections that failed to parse are passed over. */

import { PREFIXES } from "./bucket-layout.ts";
import type { Problem } from "./config-problems.ts";
import type { Section, Sections } from "./config-schema.ts";
import { PIPELINE_NAMES, PIPELINES, type PipelineName } from "./pipelines.ts";
import type { Scalar, TrainerConfigs } from "./trainer-config.ts";

const PATH = "wmtp:pipelines";
const ACCUMULATION = "training.gradient_accumulation_steps";

/** Problems of the launcher and of the runs; empty when there are none. @param experiment owns its runs alone */
export function checkRuns(sections: Sections, trainer: TrainerConfigs, experiment = false): Problem[] {
  const problems: Problem[] = [];
  const { launcher, pipelines, overrides, cost } = sections;
  if (launcher?.target === "vessl" && launcher.vessl.organization === undefined) {
    problems.push({
      path: "wmtp:launcher.vessl.organization",
      message: "is missing; target vessl needs the organization that pays for the GPUs",
    });
  }
  problems.push(...(experiment ? [] : checkBase(sections)), ...checkCritic(sections));
  if (sections.volumes !== undefined) problems.push(...checkVolumes(sections.volumes));
  if (sections.models?.cache !== undefined && sections.models.delivery === "volume") {
    problems.push({ path: "wmtp:models.cache", message: "keeps what is fetched from the bucket; use delivery: s3" });
  }
  if (pipelines === undefined || overrides === undefined) return problems;
  const enabled = PIPELINE_NAMES.filter((pipeline) => pipelines[pipeline] !== undefined);
  // On AWS a stack without runs is the infrastructure alone; on this machine there would be nothing at all.
  if (enabled.length === 0 && (launcher?.target !== "vessl" || sections.base !== undefined)) {
    problems.push({ path: PATH, message: `names no pipeline; add at least one of ${PIPELINE_NAMES.join(", ")}` });
  }
  for (const pipeline of enabled) {
    problems.push(...checkNeeds(pipeline, pipelines, experiment));
    problems.push(...checkTraining(pipeline, { pipelines, overrides }, trainer));
    const gpus = pipelines[pipeline]?.gpus ?? PIPELINES[pipeline].defaultGpus;
    if (cost !== undefined && gpus > cost.maxGpusPerRun) {
      problems.push({
        path: `${PATH}.${pipeline}.gpus`,
        message: `${gpus} is more than wmtp:cost.maxGpusPerRun allows (${cost.maxGpusPerRun})`,
      });
    }
  }
  return dedupe([...problems, ...checkCycles(enabled, pipelines)]);
}

/** Trainer overrides of one run: the stack's, then the pipeline's own, then what the stack file says by names of its own. */
export function runOverrides(
  pipeline: PipelineName,
  sections: Pick<Required<Sections>, "overrides" | "pipelines">,
): Record<string, Scalar> {
  const settings = sections.pipelines[pipeline];
  const merged: Record<string, Scalar> = { ...sections.overrides, ...settings?.overrides };
  if (settings?.effectiveBatch !== undefined) delete merged["training.gradient_accumulation_steps"];
  return merged;
}

/** Pipelines of this stack whose checkpoint `pipeline` reads; a critic named in the stack file comes from elsewhere. */
export function needsOf(pipeline: PipelineName, pipelines: Section<"pipelines">): readonly PipelineName[] {
  const elsewhere = pipeline === "verifiable" && pipelines.verifiable?.criticCheckpoint !== undefined;
  return elsewhere ? [] : PIPELINES[pipeline].needs;
}

/** A name without a slash is another stack's; its critic is taken from its outputs. */
export function isStackName(criticCheckpoint: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(criticCheckpoint);
}

/** @param experiment has its base's critic where it has none of its own */
function checkNeeds(pipeline: PipelineName, pipelines: Section<"pipelines">, experiment: boolean): Problem[] {
  const problems: Problem[] = [];
  const settings = pipelines[pipeline];
  for (const needed of experiment ? [] : needsOf(pipeline, pipelines)) {
    if (pipelines[needed] === undefined) {
      const message = `needs ${needed}: enable ${PATH}.${needed}, or name a checkpoint in ${PATH}.${pipeline}.criticCheckpoint`;
      problems.push({ path: `${PATH}.${pipeline}`, message });
    }
  }
  for (const [index, earlier] of (settings?.after ?? []).entries()) {
    const path = `${PATH}.${pipeline}.after.${index}`;
    if (earlier === pipeline) problems.push({ path, message: "a run cannot come after itself" });
    else if (pipelines[earlier] === undefined)
      problems.push({ path, message: `${earlier} is not enabled in this stack` });
  }
  if (settings !== undefined && "rewards" in settings && settings.rewards === "model") {
    problems.push({
      path: `${PATH}.${pipeline}.rewards`,
      message: 'scoring by a reward model is not available yet; use "tests"',
    });
  }
  return problems;
}

/** A stack on a base that is no experiment owns its volumes and its runs; the rest is the base's. */
function checkBase({ base, launcher, models }: Sections): Problem[] {
  if (base === undefined) return [];
  const problems: Problem[] = [];
  if (launcher?.target === "local") {
    const message = "with volumes of its own it needs a base on the cloud; leave wmtp:volumes out, or use target vessl";
    problems.push({ path: "wmtp:base", message });
  }
  // Filling the bucket's models/ from here would take the base's models for leftovers.
  if (models?.delivery === "s3") {
    problems.push({
      path: "wmtp:models.delivery",
      message: `models in the bucket are those of ${base}; use delivery: volume, with a volume of this stack's own`,
    });
  }
  return problems;
}

/** Where a run on the GPU cloud can get a critic from: its checkpoints volume, or what it may read of the bucket. */
function checkCritic({ launcher, pipelines, storage, base }: Sections): Problem[] {
  const critic = pipelines?.verifiable?.criticCheckpoint;
  if (critic === undefined || isStackName(critic) || launcher?.target !== "vessl") return [];
  const path = `${PATH}.verifiable.criticCheckpoint`;
  if (!critic.includes("://")) {
    const climbs = critic.startsWith("/") || critic.split("/").some((part) => ["", ".", ".."].includes(part));
    const message = `"${critic}" is not a stack's name, nor a path below wmtp:volumes.sources.checkpoints, such as old-critic/checkpoint_best`;
    return climbs ? [{ path, message }] : [];
  }
  const readable = base === undefined ? `s3://${storage?.bucket}/${PREFIXES.checkpoints}` : "s3://";
  if (critic.startsWith(readable) && /^s3:\/\/[^/]+\/[^/](.*[^/])?$/.test(critic)) return [];
  return [
    {
      path,
      message: `"${critic}" is not in the bucket; write ${readable}<stack>/critic/<fingerprint>/checkpoint_best`,
    },
  ];
}

/** Two kinds in one volume would overwrite each other's directories. */
function checkVolumes({ names }: Section<"volumes">): Problem[] {
  return Object.entries(names).flatMap(([kind, name], index, all) => {
    const twin = all.slice(0, index).find(([, other]) => other === name);
    return twin === undefined
      ? []
      : [{ path: `wmtp:volumes.names.${kind}`, message: `"${name}" is the ${twin[0]} volume's name already` }];
  });
}

function checkTraining(
  pipeline: PipelineName,
  sections: Pick<Required<Sections>, "overrides" | "pipelines">,
  trainer: TrainerConfigs,
): Problem[] {
  const path = `${PATH}.${pipeline}`;
  const settings = sections.pipelines[pipeline];
  // The stack's own overrides are checked with the pipeline's: a key may be fine alone and wrong together with another.
  const problems = trainer
    .check(pipeline, { ...sections.overrides, ...settings?.overrides }, `${path}.overrides`)
    .map((problem) => {
      const key = problem.path.slice(`${path}.overrides.`.length);
      return !Object.hasOwn(settings?.overrides ?? {}, key) && Object.hasOwn(sections.overrides, key)
        ? { ...problem, path: `wmtp:overrides.${key}` }
        : problem;
    });
  const wanted = settings?.effectiveBatch;
  if (wanted === undefined || problems.length > 0) return problems;
  if (settings?.overrides[ACCUMULATION] !== undefined) {
    problems.push({
      path: `${path}.effectiveBatch`,
      message: `stands in place of overrides.${ACCUMULATION}; keep one of the two`,
    });
  }
  const gpus = settings?.gpus ?? PIPELINES[pipeline].defaultGpus;
  const batch = trainer.resolve(pipeline, runOverrides(pipeline, sections)).training?.batch_size as number;
  const step = batch * gpus;
  if (wanted % step !== 0) {
    const below = Math.floor(wanted / step) * step;
    const nearest = below > 0 ? `${below} or ${below + step}` : `${step}`;
    problems.push({
      path: `${path}.effectiveBatch`,
      message: `${wanted} cannot be divided by batch_size ${batch} x ${gpus} gpus; nearest: ${nearest}`,
    });
  }
  return problems;
}

function checkCycles(enabled: readonly PipelineName[], pipelines: Section<"pipelines">): Problem[] {
  const earlier = (pipeline: PipelineName) => [...needsOf(pipeline, pipelines), ...(pipelines[pipeline]?.after ?? [])];
  const reaches = (from: PipelineName, to: PipelineName, seen = new Set<PipelineName>()): boolean =>
    earlier(from).some((next) => next === to || (!seen.has(next) && reaches(next, to, seen.add(next))));
  return enabled
    .filter((pipeline) => !pipelines[pipeline]?.after.includes(pipeline) && reaches(pipeline, pipeline))
    .map((pipeline) => ({
      path: `${PATH}.${pipeline}.after`,
      message: `waits for itself by way of ${earlier(pipeline).join(", ")}`,
    }));
}

function dedupe(problems: readonly Problem[]): Problem[] {
  return [...new Map(problems.map((problem) => [problem.path + problem.message, problem])).values()];
}
