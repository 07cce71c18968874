/** The plan of a stack: shown at the end of a preview, and given to pull requests as an output. */
import * as pulumi from "@pulumi/pulumi";
import type { BaseStack } from "./base-stack.ts";
import type { StackConfig } from "./config.ts";
import { known } from "./known.ts";
import type { PipelineName } from "./pipelines.ts";
import { NOT_KNOWN, type Plan, type PlanFacts, planOf } from "./plan.ts";
import { planMarkdown } from "./plan-markdown.ts";
import { planTable } from "./plan-table.ts";
import type { TrainingRun } from "./training-run.ts";

export interface StackPlanArgs {
  readonly config: StackConfig;
  readonly runs: ReadonlyMap<PipelineName, Pick<TrainingRun, "trains">>;
  /** Of an experiment: what its runs are compared with. */
  readonly base?: BaseStack | undefined;
  /** Bytes of each model by its directory; a value of undefined: nobody has counted them. */
  readonly modelBytes?: pulumi.Input<Readonly<Record<string, number>> | undefined>;
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

async function logged(plan: Plan): Promise<Plan> {
  await pulumi.log.info(`\n${planTable(plan)}`);
  return plan;
}

async function collect({ config, runs, base, modelBytes }: StackPlanArgs): Promise<PlanFacts> {
  const trains = pulumi.runtime.isDryRun()
    ? // Of a run that stays as it is, the engine gives the old outputs, which have no reason: to the SDK that is unknown.
      await Promise.all([...runs].map(async ([pipeline, run]) => [pipeline, await known(run.trains)] as const))
    : undefined;
  return {
    config,
    baseRuns: base === undefined ? undefined : (base.find("runs") ?? NOT_KNOWN),
    modelBytes: (await known(pulumi.output(modelBytes))) ?? NOT_KNOWN,
    trains: trains && Object.fromEntries(trains),
    ownsInfrastructure: config.base === undefined,
  };
}
