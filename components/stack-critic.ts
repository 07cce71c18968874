import * as pulumi from "@pulumi/pulumi";
import type { TrainedCritic } from "./base-outputs.ts";
import type { BaseStack } from "./base-stack.ts";

/**
 * The critic that another stack has trained, for `verifiable`.
 * @param readable below it the runs of this stack may read checkpoints
 * @throws pulumi.RunError, when it is read, where the stack has none that is trained, or none that can be read.
 */
export function criticOf(stack: BaseStack, readable: pulumi.Input<string>): pulumi.Output<TrainedCritic> {
  return pulumi.all([stack.optional("critic"), readable]).apply(([critic, below]) => {
    if (critic === undefined) {
      throw new pulumi.RunError(
        `verifiable needs a critic, and the stack ${stack.name} has none that is trained: train it there (wmtp:pipelines.critic, then ` +
          `pulumi up --stack ${stack.name}), or enable wmtp:pipelines.critic here, or name another in wmtp:pipelines.verifiable.criticCheckpoint`,
      );
    }
    if (critic.checkpointUri.startsWith(below)) return critic;
    throw new pulumi.RunError(
      `the critic of the stack ${stack.name} is at ${critic.checkpointUri}, and the runs of this stack read ${below} alone: ` +
        "name a stack that has its checkpoints there in wmtp:pipelines.verifiable.criticCheckpoint",
    );
  });
}

/** `old-critic` of `old-critic/checkpoint_best`, in the volume of checkpoints; undefined for a URI, which is in no volume. */
export function criticDirectory(criticCheckpoint: string | undefined): string | undefined {
  return criticCheckpoint === undefined || criticCheckpoint.includes("://")
    ? undefined
    : criticCheckpoint.split("/")[0];
}
