/** What the tracker's host may do on AWS. */
import { PREFIXES } from "./bucket-layout.ts";
import { partitionOf, prefixAccess, type Statement } from "./iam.ts";

export interface HostAccess {
  /** @example "eu-north-1" */
  readonly region: string;
  readonly bucketArn: string;
  readonly kmsKeyArn?: string | undefined;
  /** The one secret it reads. */
  readonly secretArn: string;
  /** Zone in which it proves to Let's Encrypt that the domain is its own. */
  readonly hostedZoneId?: string | undefined;
  /** The host name that is proved. @example "mlflow.example.org" */
  readonly domain?: string | undefined;
}

/** Statements of the host's role. Three have no resource to name: AWS offers none for their actions. */
export function hostAccess(access: HostAccess): Statement[] {
  const { region, bucketArn, kmsKeyArn, secretArn } = access;
  return [
    ...prefixAccess({ bucketArn, kmsKeyArn, read: [], write: [PREFIXES.trackerArtifacts, PREFIXES.trackerBackups] }),
    { Sid: "ReadOwnSecret", Action: ["secretsmanager:GetSecretValue"], Resource: [secretArn] },
    { Sid: "SessionManager", Action: SESSION_MANAGER, Resource: ["*"] },
    ...(access.hostedZoneId === undefined ? [] : proveDomain(partitionOf(region), access.hostedZoneId, access.domain)),
  ];
}

/** What an operator's session needs, of the many things in AmazonSSMManagedInstanceCore. */
const SESSION_MANAGER = [
  "ssm:UpdateInstanceInformation",
  "ssmmessages:CreateControlChannel",
  "ssmmessages:CreateDataChannel",
  "ssmmessages:OpenControlChannel",
  "ssmmessages:OpenDataChannel",
];

function proveDomain(partition: string, zone: string, domain: string | undefined): Statement[] {
  return [
    { Sid: "FindZone", Action: ["route53:ListHostedZones"], Resource: ["*"] },
    { Sid: "SeeChange", Action: ["route53:GetChange"], Resource: [`arn:${partition}:route53:::change/*`] },
    {
      Sid: "ProveDomain",
      Action: ["route53:ChangeResourceRecordSets"],
      Resource: [`arn:${partition}:route53:::hostedzone/${zone}`],
      Condition: {
        "ForAllValues:StringEquals": {
          "route53:ChangeResourceRecordSetsNormalizedRecordNames": [`_acme-challenge.${domain}`],
          "route53:ChangeResourceRecordSetsRecordTypes": ["TXT"],
        },
      },
    },
  ];
}
