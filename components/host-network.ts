import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { type Transform, transform } from "./transform.ts";

export interface HostNetworkArgs {
  /** @example "eu-north-1" */
  readonly region: string;
  /** Blocks that may connect by HTTPS. */
  readonly allowedCidrs: readonly string[];
  /** A VPC and a public subnet that exist already; a VPC of the stack's own by default. */
  readonly existing?: { readonly vpcId: string; readonly subnetId: string } | undefined;
  readonly transform?:
    | {
        readonly vpc?: Transform<aws.ec2.VpcArgs>;
        readonly subnet?: Transform<aws.ec2.SubnetArgs>;
        readonly securityGroup?: Transform<aws.ec2.SecurityGroupArgs>;
      }
    | undefined;
}

const VPC_BLOCK = "10.42.0.0/24";
const EVERYWHERE = "0.0.0.0/0";

/** What the host asks of the internet: packages of Debian by HTTP (they are signed), everything else by HTTPS. */
const EGRESS = [
  { port: 443, description: "AWS, PyPI, certificates" },
  { port: 80, description: "Debian packages" },
] as const;

/**
 * Where the tracker's host lives: one public subnet, S3 by a gateway endpoint, and a security group that lets HTTPS in from the allowed
 * blocks and nothing else. There is no SSH: an operator comes in by Session Manager.
 *
 * ### Cost
 * None: a gateway endpoint is free, and so is the VPC.
 */
export class HostNetwork extends pulumi.ComponentResource {
  readonly subnetId: pulumi.Output<string>;
  readonly availabilityZone: pulumi.Output<string>;
  readonly securityGroupId: pulumi.Output<string>;

  constructor(name: string, args: HostNetworkArgs, opts?: pulumi.ComponentResourceOptions) {
    const { transform: holes = {}, ...plain } = args;
    super("wmtp:index:HostNetwork", name, plain, opts);
    const own = { parent: this };
    const { vpcId, subnetId, availabilityZone } = args.existing
      ? adopt(args.existing, own)
      : this.makeVpc(name, args.region, holes);
    const group = new aws.ec2.SecurityGroup(
      ...transform(holes.securityGroup, name, { vpcId, description: "MLflow tracker: HTTPS from allowed blocks" }, own),
    );
    for (const cidr of args.allowedCidrs) {
      new aws.vpc.SecurityGroupIngressRule(
        `${name}-from-${cidr}`,
        {
          securityGroupId: group.id,
          cidrIpv4: cidr,
          ipProtocol: "tcp",
          fromPort: 443,
          toPort: 443,
          description: "wmtp:tracking.allowedCidrs",
        },
        own,
      );
    }
    for (const { port, description } of EGRESS) {
      new aws.vpc.SecurityGroupEgressRule(
        `${name}-to-${port}`,
        {
          securityGroupId: group.id,
          cidrIpv4: EVERYWHERE,
          ipProtocol: "tcp",
          fromPort: port,
          toPort: port,
          description,
        },
        own,
      );
    }
    this.subnetId = subnetId;
    this.availabilityZone = availabilityZone;
    this.securityGroupId = group.id;
    this.registerOutputs({});
  }

  private makeVpc(name: string, region: string, holes: NonNullable<HostNetworkArgs["transform"]>) {
    const own = { parent: this };
    const vpc = new aws.ec2.Vpc(
      ...transform(holes.vpc, name, { cidrBlock: VPC_BLOCK, enableDnsHostnames: true, tags: { Name: name } }, own),
    );
    const vpcId = vpc.id;
    // Without rules: whatever is started in this VPC by mistake reaches nothing and is reached by nobody.
    new aws.ec2.DefaultSecurityGroup(name, { vpcId }, own);
    const gateway = new aws.ec2.InternetGateway(name, { vpcId }, own);
    const zones = aws.getAvailabilityZonesOutput(
      // Local Zones that somebody has opted into sort first, and have neither t3 nor gp3.
      { state: "available", filters: [{ name: "opt-in-status", values: ["opt-in-not-required"] }] },
      own,
    );
    const subnet = new aws.ec2.Subnet(
      ...transform(
        holes.subnet,
        name,
        {
          vpcId,
          cidrBlock: VPC_BLOCK,
          availabilityZone: zones.names.apply((names) => names[0] as string),
          mapPublicIpOnLaunch: false,
          tags: { Name: name },
        },
        // The data volume is bound to its zone; a zone that AWS adds must not move the host.
        { ...own, ignoreChanges: ["availabilityZone"] },
      ),
    );
    const routes = new aws.ec2.RouteTable(name, { vpcId }, own);
    const way = new aws.ec2.Route(
      name,
      { routeTableId: routes.id, destinationCidrBlock: EVERYWHERE, gatewayId: gateway.id },
      own,
    );
    const association = new aws.ec2.RouteTableAssociation(
      name,
      { subnetId: subnet.id, routeTableId: routes.id },
      { ...own, dependsOn: [way] },
    );
    new aws.ec2.VpcEndpoint(
      name,
      { vpcId, serviceName: `com.amazonaws.${region}.s3`, vpcEndpointType: "Gateway", routeTableIds: [routes.id] },
      own,
    );
    // The subnet is of use once it has a way out.
    const subnetId = pulumi.all([subnet.id, association.id]).apply(([id]) => id);
    return { vpcId, subnetId, availabilityZone: subnet.availabilityZone };
  }
}

function adopt(existing: { readonly vpcId: string; readonly subnetId: string }, opts: pulumi.InvokeOptions) {
  // The invoke fails the preview when the subnet is not there, or not in this VPC.
  const subnet = aws.ec2.getSubnetOutput({ id: existing.subnetId, vpcId: existing.vpcId }, opts);
  return { vpcId: existing.vpcId, subnetId: subnet.id, availabilityZone: subnet.availabilityZone };
}
