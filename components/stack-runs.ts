import * as pulumi from "@pulumi/pulumi";
import type { BaseStack } from "./base-stack.ts";
import type { StackConfig } from "./config.ts";
import type { Ground } from "./ground.ts";
import type { PipelineName } from "./pipelines.ts";
import type { StackContent } from "./stack-content.ts";
import { criticOf } from "./stack-critic.ts";
import { TrainingRun } from "./training-run.ts";

/** A run per enabled pipeline, in dependency order. @param stack makes the reference to another stack, or gives the one that there is */
export function declareRuns(
  config: StackConfig,
  ground: Ground,
  content: StackContent,
  stack: (name: string) => BaseStack,
): Map<PipelineName, TrainingRun> {
  const criticStack = config.runs.find((run) => run.criticStack !== undefined)?.criticStack;
  const critic = criticStack === undefined ? undefined : criticOf(stack(criticStack), ground.readable);
  // No run starts as long as another one is to be refused.
  const place = critic === undefined ? ground.place : pulumi.all([ground.place, critic]).apply(([known]) => known);
  const runs = new Map<PipelineName, TrainingRun>();
  for (const settings of config.runs) {
    const args = { settings, config, ground: { ...ground, place }, content, critic, earlier: runs };
    runs.set(settings.pipeline, new TrainingRun(settings.pipeline, args));
  }
  return runs;
}
