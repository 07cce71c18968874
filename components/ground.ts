import type * as pulumi from "@pulumi/pulumi";
import type { Place } from "../launcher/by-place.ts";
import type { StackConfig } from "./config.ts";
import type { RunAccess } from "./run-access.ts";

/** What the runs of a stack stand on, its own or its base's. */
export interface Ground {
  readonly place: pulumi.Input<Place>;
  /** Resolves when the tracker is usable. */
  readonly trackerUrl: pulumi.Output<string>;
  /** The rest on the GPU cloud alone. */
  readonly image?: pulumi.Output<string>;
  /** The stack's own bucket, which its models go to. */
  readonly bucket?: { readonly uri: string; readonly after: readonly pulumi.Resource[] };
  readonly access?: RunAccess;
}

/** @param checkpoints prefix in the bucket below which the stack's own are */
export function cloudPlace({ launcher }: StackConfig, region: string, bucket: string, checkpoints: string): Place {
  const { organization, project } = launcher.vessl;
  return { target: "vessl", organization: organization as string, project, bucket, region, checkpoints };
}
