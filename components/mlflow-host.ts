import * as aws from "@pulumi/aws";
import * as command from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import type { ArtifactStore } from "./artifact-store.ts";
import { HostCredentials, type HostCredentialsArgs } from "./host-credentials.ts";
import { HostData, type HostDataArgs } from "./host-data.ts";
import { HostNetwork, type HostNetworkArgs } from "./host-network.ts";
import { hostAccess } from "./host-role.ts";
import { partitionOf, policyDocument, trustOf } from "./iam.ts";
import { userData } from "./mlflow-host/user-data.ts";
import { type Transform, transform } from "./transform.ts";

export interface MlflowHostArgs {
  /** @example "eu-north-1" */
  readonly region: string;
  /** Where artifacts and backups go. */
  readonly store: ArtifactStore;
  /** Blocks that may connect by HTTPS. @example ["203.0.113.0/24"] */
  readonly allowedCidrs: readonly string[];
  /** Host name with a certificate of Let's Encrypt; by default the address, with one of the stack's own CA. */
  readonly domain?: string | undefined;
  /** Route 53 zone of the domain. @default the domain without its first label */
  readonly hostedZone?: string | undefined;
  /** x86-64, of a Nitro family. @example "t3.small" */
  readonly instanceType: string;
  /** GiB of the volume PostgreSQL is on. @example 50 */
  readonly dataVolumeGiB: number;
  /** A VPC and a public subnet that exist already; a VPC of the stack's own by default. */
  readonly network?: HostNetworkArgs["existing"];
  /** Secret; made here by default. */
  readonly adminPassword?: pulumi.Output<string> | undefined;
  /** Nothing is protected: a stack for a test. @default false */
  readonly ephemeral?: boolean;
  readonly transform?: {
    readonly network?: HostNetworkArgs["transform"];
    readonly data?: HostDataArgs["transform"];
    readonly credentials?: HostCredentialsArgs["transform"];
    readonly instance?: Transform<aws.ec2.InstanceArgs>;
    readonly rolePolicy?: Transform<aws.iam.RolePolicyArgs>;
    readonly alarm?: Transform<aws.cloudwatch.MetricAlarmArgs>;
  };
}

/** Debian's own images; which one is newest, Debian says in the account's region. */
const IMAGE_PARAMETER = "/aws/service/debian/release/12/latest/amd64";
const ROOT_GIB = 16;

/**
 * The experiment tracker: MLflow behind nginx on one EC2 instance, its PostgreSQL on a volume that outlives it. A change of what runs
 * on the host replaces the host, which takes some minutes; experiments stay. Runs that log meanwhile wait and try again.
 *
 * ### Cost
 * About 30 USD a month in eu-north-1: t3.small 15.80 (0.0216 an hour), its monitoring 2.10, address 3.65, root volume of 16 GiB 1.34,
 * data volume of 50 GiB with snapshots 5.20, secret 0.40, an alarm 0.10.
 */
export class MlflowHost extends pulumi.ComponentResource {
  /** Resolves once `/health` has answered through TLS, so that whoever reads it meets a tracker that works. */
  readonly url: pulumi.Output<string>;
  /** For Session Manager; another one after every change of what runs on the host. */
  readonly instanceId: pulumi.Output<string>;
  /** PEM of the CA that trainers must trust; empty where the system's CAs do. */
  readonly caCertificate: pulumi.Output<string>;
  /** Secret. */
  readonly adminPassword: pulumi.Output<string>;
  /** Secret; of the user the training runs log in as. */
  readonly runsPassword: pulumi.Output<string>;

  constructor(name: string, args: MlflowHostArgs, opts?: pulumi.ComponentResourceOptions) {
    const { region, store, allowedCidrs, domain, ephemeral, transform: holes = {} } = args;
    super("wmtp:index:MlflowHost", name, { region, allowedCidrs, domain }, opts);
    const own = { parent: this };
    const zone = domain === undefined ? undefined : findZone(domain, args.hostedZone, own);

    const network = new HostNetwork(
      name,
      { region, allowedCidrs, existing: args.network, transform: holes.network },
      own,
    );
    const data = new HostData(
      name,
      {
        region,
        availabilityZone: network.availabilityZone,
        size: args.dataVolumeGiB,
        ephemeral,
        transform: holes.data,
      },
      own,
    );
    const { address, interfaceId } = this.makeAddress(name, network);
    const hostName = domain === undefined ? address : pulumi.output(domain);
    const credentials = new HostCredentials(
      name,
      {
        address: domain === undefined ? address : undefined,
        adminPassword: args.adminPassword,
        ephemeral,
        transform: holes.credentials,
      },
      own,
    );
    const profile = this.makeProfile(name, { region, store, domain, zone, secretArn: credentials.secretArn }, holes);

    const instance = new aws.ec2.Instance(
      ...transform(
        holes.instance,
        name,
        {
          ami: aws.ssm.getParameterOutput({ name: IMAGE_PARAMETER }, own).insecureValue,
          instanceType: args.instanceType,
          primaryNetworkInterface: { networkInterfaceId: interfaceId },
          iamInstanceProfile: profile,
          // One hop, by token: nothing on the host that is talked into fetching an address can fetch the role's keys.
          metadataOptions: { httpEndpoint: "enabled", httpTokens: "required", httpPutResponseHopLimit: 1 },
          rootBlockDevice: { volumeType: "gp3", volumeSize: ROOT_GIB, encrypted: true, deleteOnTermination: true },
          ebsOptimized: true,
          monitoring: true,
          userData: pulumi
            .all([hostName, data.volumeId, credentials.secretArn, zone])
            .apply(([host, dataVolumeId, secretId, hostedZoneId]) =>
              userData({
                region,
                bucket: store.bucketName,
                dataVolumeId,
                secretId,
                hostName: host,
                ...(hostedZoneId === undefined ? {} : { hostedZoneId }),
              }),
            ),
          userDataReplaceOnChange: true,
          tags: { Name: name },
        },
        // The data volume can be attached to one host at a time. A newer Debian image is no reason to replace the
        // host: it updates itself.
        { ...own, deleteBeforeReplace: true, ignoreChanges: ["ami"], dependsOn: [store, credentials] },
      ),
    );
    const attachment = new aws.ec2.VolumeAttachment(
      name,
      // A stopped host has closed its database and unmounted the volume.
      { instanceId: instance.id, volumeId: data.volumeId, deviceName: "/dev/sdf", stopInstanceBeforeDetaching: true },
      { ...own, deleteBeforeReplace: true },
    );
    this.alarm(name, region, instance, holes.alarm);
    const record = zone && domain ? this.record(name, zone, domain, address) : undefined;

    this.caCertificate = credentials.caCertificate ?? pulumi.output("");
    const url = pulumi.interpolate`https://${hostName}`;
    const healthy = new command.local.Command(
      name,
      {
        create: "node tools/wait-for-tracker.ts",
        environment: { TRACKER_URL: url, TRACKER_CA: this.caCertificate },
        triggers: [instance.id],
        addPreviousOutputInEnv: false,
      },
      { ...own, dependsOn: [attachment, ...(record ? [record] : [])] },
    );
    this.url = pulumi.all([url, healthy.id]).apply(([answering]) => answering);
    this.instanceId = instance.id;
    this.adminPassword = credentials.adminPassword;
    this.runsPassword = credentials.runsPassword;
    this.registerOutputs({ url: this.url });
  }

  /** An address of its own and the interface that has it: both are there before the host, and stay when it is replaced. */
  private makeAddress(name: string, network: HostNetwork) {
    const own = { parent: this };
    const ip = new aws.ec2.Eip(name, { domain: "vpc", tags: { Name: name } }, own);
    const networkInterface = new aws.ec2.NetworkInterface(
      name,
      { subnetId: network.subnetId, securityGroups: [network.securityGroupId], description: "MLflow tracker" },
      own,
    );
    const association = new aws.ec2.EipAssociation(
      name,
      { allocationId: ip.allocationId, networkInterfaceId: networkInterface.id },
      own,
    );
    // Without its address a host could not fetch a single package at its first boot.
    const interfaceId = pulumi.all([networkInterface.id, association.id]).apply(([id]) => id);
    return { address: ip.publicIp, interfaceId };
  }

  private makeProfile(
    name: string,
    access: {
      readonly region: string;
      readonly store: ArtifactStore;
      readonly secretArn: pulumi.Output<string>;
      readonly domain: string | undefined;
      readonly zone: pulumi.Output<string> | undefined;
    },
    holes: NonNullable<MlflowHostArgs["transform"]>,
  ): pulumi.Output<string> {
    const { region, store, domain } = access;
    const own = { parent: this };
    const role = new aws.iam.Role(name, { assumeRolePolicy: trustOf("ec2.amazonaws.com") }, own);
    const policy = pulumi.all([access.secretArn, access.zone]).apply(([secretArn, hostedZoneId]) =>
      policyDocument(
        hostAccess({
          region,
          bucketArn: store.bucketArn,
          kmsKeyArn: store.kmsKeyArn,
          secretArn,
          hostedZoneId,
          domain,
        }),
      ),
    );
    const allowed = new aws.iam.RolePolicy(...transform(holes.rolePolicy, name, { role: role.id, policy }, own));
    const profile = new aws.iam.InstanceProfile(name, { role: role.name }, own);
    return pulumi.all([profile.name, allowed.id]).apply(([profileName]) => profileName);
  }

  /** A failing machine under the host: AWS moves the host to another one, with its address and its volumes. */
  private alarm(
    name: string,
    region: string,
    instance: aws.ec2.Instance,
    hole: Transform<aws.cloudwatch.MetricAlarmArgs> | undefined,
  ): void {
    new aws.cloudwatch.MetricAlarm(
      ...transform(
        hole,
        name,
        {
          alarmDescription: "The machine under the tracker fails: recover the instance",
          namespace: "AWS/EC2",
          metricName: "StatusCheckFailed_System",
          dimensions: { InstanceId: instance.id },
          statistic: "Maximum",
          period: 60,
          evaluationPeriods: 2,
          threshold: 1,
          comparisonOperator: "GreaterThanOrEqualToThreshold",
          alarmActions: [`arn:${partitionOf(region)}:automate:${region}:ec2:recover`],
        },
        { parent: this },
      ),
    );
  }

  private record(name: string, zoneId: pulumi.Output<string>, domain: string, address: pulumi.Output<string>) {
    return new aws.route53.Record(
      name,
      { zoneId, name: domain, type: "A", ttl: 60, records: [address] },
      { parent: this },
    );
  }
}

/** Id of the zone; the invoke fails the preview when the account has no such zone. */
function findZone(domain: string, hostedZone: string | undefined, opts: pulumi.InvokeOptions): pulumi.Output<string> {
  return aws.route53.getZoneOutput({ name: hostedZone ?? domain.slice(domain.indexOf(".") + 1) }, opts).zoneId;
}
