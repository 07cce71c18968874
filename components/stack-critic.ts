import * as pulumi from "@pulumi/pulumi";
import type { TrainedCritic } from "./base-outputs.ts";
import { BaseStack } from "./base-stack.ts";
import { PREFIXES } from "./bucket-layout.ts";
import type { StackConfig } from "./config.ts";
import type { TrainerConfig } from "./trainer-config.ts";

/** Below it runs on this machine read checkpoints. */
export const READABLE_HERE = "local://checkpoints/";

/** Below it the runs of `stack`, and of the experiments on it, may read checkpoints. */
export function readableIn(bucket: string, stack: string): string {
  return `s3://${bucket}/${PREFIXES.checkpoints}${stack}/`;
}

const KEY = "wmtp:pipelines.verifiable.criticCheckpoint";

/**
 * The critic of another stack that this one's `verifiable` reads; undefined where it has its own, or names a checkpoint.
 * @param readable below it the runs of this stack may read checkpoints
 * @param base of this stack, if it has one
 * @throws pulumi.RunError where the other stack has no trained critic, or none that can be read.
 */
export async function otherCritic(
  { runs }: StackConfig,
  readable: string,
  base?: BaseStack,
): Promise<TrainedCritic | undefined> {
  const reader = runs.find(({ criticStack }) => criticStack !== undefined);
  const name = reader?.criticStack;
  if (name === undefined) return undefined;
  const stack = name === base?.name ? base : await BaseStack.read(name, KEY); // there is one reference to a stack
  const critic = stack.find("critic");
  if (critic === undefined) {
    throw new pulumi.RunError(
      `verifiable needs a critic, and the stack ${name} has none that is trained: train it there (wmtp:pipelines.critic, then pulumi up ` +
        `--stack ${name}), or enable wmtp:pipelines.critic here, or name another in ${KEY}`,
    );
  }
  const trunkOf = (trainerConfig: TrainerConfig | undefined) => trainerConfig?.models?.critic_trunk;
  const [wanted, trained] = [trunkOf(reader?.trainerConfig), trunkOf(stack.find("runs")?.critic?.trainerConfig)];
  if (trained !== undefined && wanted !== trained) {
    throw new pulumi.RunError(
      `the critic of the stack ${name} was trained on the trunk ${trained}, and verifiable has ${wanted}: say wmtp:models.criticTrunk: ` +
        `${trained}, or enable wmtp:pipelines.critic here`,
    );
  }
  if (critic.checkpointUri.startsWith(readable)) return critic;
  throw new pulumi.RunError(
    `the critic of the stack ${name} is at ${critic.checkpointUri}, and the runs of this stack read ${readable} alone: name a stack ` +
      `that has its checkpoints there in ${KEY}`,
  );
}

/** `old-critic` of `old-critic/checkpoint_best`, in the volume of checkpoints; undefined for a URI, which is in no volume. */
export function criticDirectory(criticCheckpoint: string | undefined): string | undefined {
  return criticCheckpoint === undefined || criticCheckpoint.includes("://")
    ? undefined
    : criticCheckpoint.split("/")[0];
}
