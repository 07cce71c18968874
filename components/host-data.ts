import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { partitionOf, policyDocument, type Statement, trustOf } from "./iam.ts";
import { type Transform, transform } from "./transform.ts";

export interface HostDataArgs {
  /** @example "eu-north-1" */
  readonly region: string;
  readonly availabilityZone: pulumi.Input<string>;
  /** GiB */
  readonly size: number;
  /** Not protected. @default false */
  readonly ephemeral?: boolean;
  readonly transform?:
    | { readonly volume?: Transform<aws.ebs.VolumeArgs>; readonly snapshots?: Transform<aws.dlm.LifecyclePolicyArgs> }
    | undefined;
}

const SNAPSHOTS_KEPT = 7;

/**
 * The tracker's memory: an encrypted volume that outlives every host it is attached to, with a snapshot each night. It and its
 * snapshots are protected; the host is not, because it can be made again.
 *
 * ### Cost
 * 50 GiB of gp3 at 0.0836 USD are 4.18 USD a month, seven snapshots of what changes about 1 USD.
 */
export class HostData extends pulumi.ComponentResource {
  readonly volumeId: pulumi.Output<string>;

  constructor(name: string, args: HostDataArgs, opts?: pulumi.ComponentResourceOptions) {
    const { size, region, ephemeral = false, transform: holes = {} } = args;
    super("wmtp:index:HostData", name, { size, region, ephemeral }, opts);
    const own = { parent: this };
    const keep = { ...own, protect: !ephemeral };
    // Names the volume to the snapshot policy; another stack's in the same account has another.
    const tags = { Name: name, "wmtp:snapshots": `${pulumi.getProject()}/${pulumi.getStack()}` };
    const volume = new aws.ebs.Volume(
      ...transform(
        holes.volume,
        name,
        { availabilityZone: args.availabilityZone, size, type: "gp3", encrypted: true, tags },
        keep,
      ),
    );
    const role = new aws.iam.Role(`${name}-snapshots`, { assumeRolePolicy: trustOf("dlm.amazonaws.com") }, own);
    const allowed = new aws.iam.RolePolicy(
      `${name}-snapshots`,
      { role: role.id, policy: policyDocument(snapshotAccess(region, tags["wmtp:snapshots"])) },
      own,
    );
    new aws.dlm.LifecyclePolicy(
      ...transform(
        holes.snapshots,
        name,
        {
          description: "Nightly snapshots of the tracker",
          executionRoleArn: role.arn,
          state: "ENABLED",
          policyDetails: {
            resourceTypes: ["VOLUME"],
            targetTags: { "wmtp:snapshots": tags["wmtp:snapshots"] },
            schedules: [
              {
                name: "nightly",
                createRule: { interval: 24, intervalUnit: "HOURS", times: "02:00" },
                retainRule: { count: SNAPSHOTS_KEPT },
                copyTags: true,
              },
            ],
          },
        },
        { ...keep, dependsOn: [allowed] },
      ),
    );
    this.volumeId = volume.id;
    this.registerOutputs({ volumeId: this.volumeId });
  }
}

/** Snapshots of the volumes with this tag; AWS has no resources for the two that look. */
function snapshotAccess(region: string, tag: string): Statement[] {
  const arn = `arn:${partitionOf(region)}:ec2:${region}`;
  const tagged = { StringEquals: { "aws:ResourceTag/wmtp:snapshots": tag } };
  return [
    { Sid: "Find", Action: ["ec2:DescribeSnapshots", "ec2:DescribeVolumes"], Resource: ["*"] },
    { Sid: "Read", Action: ["ec2:CreateSnapshot"], Resource: [`${arn}:*:volume/*`], Condition: tagged },
    { Sid: "Make", Action: ["ec2:CreateSnapshot", "ec2:CreateTags"], Resource: [`${arn}::snapshot/*`] },
    { Sid: "Expire", Action: ["ec2:DeleteSnapshot"], Resource: [`${arn}::snapshot/*`], Condition: tagged },
  ];
}
