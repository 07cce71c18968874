/** The plan of a stack: shown at the end of a preview, and given to pull requests as an output. */
import * as pulumi from "@pulumi/pulumi";
import type { StackConfig } from "./config.ts";
import type { PipelineName } from "./pipelines.ts";
import { type BaseRuns, NOT_KNOWN, planOf } from "./plan.ts";
import { planMarkdown } from "./plan-markdown.ts";
import { planTable } from "./plan-table.ts";
import type { TrainingRun } from "./training-run.ts";

export interface StackPlanArgs {
  readonly config: StackConfig;
  readonly runs: ReadonlyMap<PipelineName, Pick<TrainingRun, "trains">>;
  /** Runs of the base; a value of undefined: the base is too old to say. Left out: there is no base. */
  readonly baseRuns?: pulumi.Output<BaseRuns | undefined> | undefined;
  /** Bytes of each model by its directory; a value of undefined: nobody has counted them. */
  readonly modelBytes?: pulumi.Output<Readonly<Record<string, number>> | undefined> | undefined;
  /** Bucket and tracker are this stack's. */
  readonly ownsInfrastructure: boolean;
}

/**
 * The plan as Markdown, without secrets; a preview also logs it as a table, when all runs are declared. What is not known yet is
 * called so. In an update it says nothing of why runs train, and so is there whatever becomes of them.
 */
export function declarePlan(args: StackPlanArgs): pulumi.Output<string> {
  const plan = collect(args).then(planOf);
  if (pulumi.runtime.isDryRun()) return pulumi.output(plan.then(logged).then(planMarkdown));
  return pulumi.output(plan.then(planMarkdown));
}

async function logged(plan: ReturnType<typeof planOf>): Promise<ReturnType<typeof planOf>> {
  await pulumi.log.info(`\n${planTable(plan)}`);
  return plan;
}

async function collect({ config, runs, baseRuns, modelBytes, ownsInfrastructure }: StackPlanArgs) {
  const trains = pulumi.runtime.isDryRun()
    ? // Of a run that stays as it is, the engine gives the old outputs, which have no reason: to the SDK that is unknown.
      await Promise.all([...runs].map(async ([pipeline, run]) => [pipeline, await known(run.trains)] as const))
    : [];
  return {
    config,
    baseRuns: baseRuns === undefined ? undefined : ((await known(baseRuns)) ?? NOT_KNOWN),
    modelBytes: (modelBytes === undefined ? undefined : await known(modelBytes)) ?? NOT_KNOWN,
    trains: Object.fromEntries(trains),
    ownsInfrastructure,
  } as const;
}

/** Members of an output that the SDK's types leave out; nothing else tells what is unknown in a preview. */
interface Inside<T> {
  readonly isKnown: Promise<boolean>;
  promise(): Promise<T>;
}

/** The value; undefined where it is not known yet, or never will be: what failed is reported by whoever declared it. */
async function known<T>(output: pulumi.Output<T>): Promise<T | undefined> {
  const inside = output as unknown as Inside<T>;
  try {
    return (await inside.isKnown) ? await inside.promise() : undefined;
  } catch {
    return undefined;
  }
}
