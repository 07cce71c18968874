import type { TrainedCritic } from "./base-outputs.ts";
import type { StackConfig } from "./config.ts";
import type { Ground } from "./ground.ts";
import type { PipelineName } from "./pipelines.ts";
import type { StackContent } from "./stack-content.ts";
import { TrainingRun } from "./training-run.ts";

/** A run per enabled pipeline, in dependency order. @param critic of another stack, where one is read */
export function declareRuns(
  config: StackConfig,
  ground: Ground,
  content: StackContent,
  critic: TrainedCritic | undefined,
): Map<PipelineName, TrainingRun> {
  const runs = new Map<PipelineName, TrainingRun>();
  for (const settings of config.runs) {
    const run = new TrainingRun(settings.pipeline, { settings, config, ground, content, critic, earlier: runs });
    runs.set(settings.pipeline, run);
  }
  return runs;
}
