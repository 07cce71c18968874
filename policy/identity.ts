/** Who may do what on AWS, and what a host may become. */
import { eachStatement, HOLDS_DOCUMENT, type Statement } from "./iam-documents.ts";
import type { Policy } from "./policy.ts";
import { at, between, demand, is, isObject, isText, UNKNOWN, type Value } from "./values.ts";

const INSTANCE = "aws:ec2/instance:Instance";
const TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate";
const BUCKET_POLICY = "aws:s3/bucketPolicy:BucketPolicy";

const metadata: Policy = {
  id: "instance-metadata-by-token",
  demands: "Instance metadata is reached by token, and within one hop",
  severity: "high",
  controls: [
    "CIS AWS 3.0: 5.6",
    "CIS AWS 5.0: 5.7",
    "FSBP EC2.8",
    "cdk-nag EC2IMDSv2Enabled",
    "checkov CKV_AWS_79, 341",
  ],
  remedy: "Set metadataOptions: { httpEndpoint: enabled, httpTokens: required, httpPutResponseHopLimit: 1 }",
  types: [INSTANCE, TEMPLATE],
  eachOf(resource, verdict) {
    const [tokens, hops] = ["metadataOptions.httpTokens", "metadataOptions.httpPutResponseHopLimit"] as const;
    demand(verdict, resource, tokens, is("required"), "is not required");
    demand(verdict, resource, hops, between(1, 1), "is not 1");
    // Without an endpoint the host has no role, and whoever runs it would give it keys instead.
    demand(verdict, resource, "metadataOptions.httpEndpoint", is("enabled"), "is not enabled");
  },
};

const role: Policy = {
  id: "host-role-no-keys",
  demands: "A host has a role, and is reached by Session Manager: no SSH keys, no access keys on it",
  severity: "high",
  controls: ["CIS AWS 3.0: 1.18", "CIS AWS 5.0: 1.17", "FSBP SSM.1", "checkov CKV2_AWS_41"],
  remedy: "Set iamInstanceProfile, and leave out keyName",
  types: [INSTANCE],
  eachOf(resource, verdict) {
    const profile = at(resource.props, "iamInstanceProfile");
    if (profile !== UNKNOWN && !isText(profile)) verdict.violated("it has no iamInstanceProfile");
    if (at(resource.props, "keyName") !== undefined) verdict.violated("it has a key for SSH");
    // A password of Windows, fetched by whoever may ask EC2 for it.
    if (at(resource.props, "getPasswordData") === true) verdict.violated("it hands out a password");
  },
};

const monitored: Policy = {
  id: "host-monitored",
  demands: "A host is watched by the minute, and its disks have their own way to it",
  severity: "low",
  controls: ["cdk-nag EC28", "checkov CKV_AWS_126, 135"],
  remedy: "Set monitoring and ebsOptimized to true",
  types: [INSTANCE],
  eachOf(resource, verdict) {
    for (const flag of ["monitoring", "ebsOptimized"]) demand(verdict, resource, flag, is(true), "is not true");
  },
};

const actions: Policy = {
  id: "iam-action-wildcard",
  demands: "No policy allows actions by a wildcard, or all but some",
  severity: "critical",
  controls: [
    "CIS AWS 3.0: 1.16",
    "CIS AWS 5.0: 1.15",
    "FSBP IAM.1",
    "FSBP IAM.21",
    "cdk-nag IAM5",
    "checkov CKV_AWS_62, 63, 107, 108, 111, 274",
  ],
  remedy: "Name each action; only a Deny may say s3:*",
  types: HOLDS_DOCUMENT,
  eachOf: eachStatement(({ allows, actions: named, excludes }, verdict) => {
    if (!allows) return;
    if (named.some((action) => action.includes("*") || action.includes("?")))
      verdict.violated("a statement allows actions by a wildcard");
    if (named.length === 0 || excludes) verdict.violated("a statement allows what it does not name");
  }),
};

/** AWS has no resources to name for these: docs/decisions.md, "Where a policy says `*`". */
const WITHOUT_RESOURCES: readonly string[] = [
  "ec2:DescribeSnapshots",
  "ec2:DescribeVolumes",
  "route53:ListHostedZones",
  "ssm:UpdateInstanceInformation",
  "ssmmessages:CreateControlChannel",
  "ssmmessages:CreateDataChannel",
  "ssmmessages:OpenControlChannel",
  "ssmmessages:OpenDataChannel",
];

/** Names that are known only once there is one: of snapshots, of the volumes with a tag, of a change of Route 53. */
const NAMED_LATER: readonly { readonly resource: RegExp; readonly actions: readonly string[] }[] = [
  { resource: /^arn:aws[a-z-]*:ec2:[a-z0-9-]+:\*:volume\/\*$/, actions: ["ec2:CreateSnapshot"] },
  {
    resource: /^arn:aws[a-z-]*:ec2:[a-z0-9-]+::snapshot\/\*$/,
    actions: ["ec2:CreateSnapshot", "ec2:CreateTags", "ec2:DeleteSnapshot"],
  },
  { resource: /^arn:aws[a-z-]*:route53:::change\/\*$/, actions: ["route53:GetChange"] },
];
/** Objects below a prefix that has a name: never those of a whole bucket. */
const BELOW_PREFIX = /^arn:aws[a-z-]*:s3:::[a-z0-9.-]+\/[A-Za-z0-9][A-Za-z0-9._/-]*\/\*$/;

function mayBeWild(action: string, resource: string): boolean {
  if (resource === "*") return WITHOUT_RESOURCES.includes(action);
  if (action.startsWith("s3:")) return BELOW_PREFIX.test(resource);
  return NAMED_LATER.some((one) => one.resource.test(resource) && one.actions.includes(action));
}

const resources: Policy = {
  id: "iam-resource-wildcard",
  demands:
    "A policy names its resources; `*` stands only for actions that AWS has none for, and below a prefix of a bucket",
  severity: "high",
  controls: ["FSBP IAM.21", "cdk-nag IAM5", "checkov CKV_AWS_355, 356"],
  remedy: 'Name the resource. docs/decisions.md has the list of what may say `*`, under "Where a policy says `*`"',
  types: HOLDS_DOCUMENT.filter((type) => type !== "aws:iam/role:Role"),
  eachOf: eachStatement((statement, verdict, resource) => {
    if (!statement.allows) return;
    const wild = statement.resources.filter((one) => one.includes("*") || one.includes("?"));
    if (statement.actions.some((action) => wild.some((one) => !mayBeWild(action, one))))
      verdict.violated("a statement allows its actions on more than it names");
    const own = resource.type !== "aws:ecr/repositoryPolicy:RepositoryPolicy";
    if (own && (statement.resources.length === 0 || statement.excludes))
      verdict.violated("a statement allows its actions on what it does not name");
  }),
};

/** What bounds an action where its resources do not: the keys of a condition, one of which must be there. */
const BOUNDED_BY: Readonly<Record<string, { readonly keys: readonly string[]; readonly on?: RegExp }>> = {
  "s3:ListBucket": { keys: ["s3:prefix"] },
  "s3:ListBucketMultipartUploads": { keys: ["s3:prefix"] },
  "ec2:CreateSnapshot": { keys: ["aws:ResourceTag/"], on: /:volume\/\*$/ },
  "ec2:DeleteSnapshot": { keys: ["aws:ResourceTag/"] },
  "route53:ChangeResourceRecordSets": { keys: ["route53:ChangeResourceRecordSetsNormalizedRecordNames"] },
};
const TEXTS = /^(ForAllValues:)?(String|Arn)(Equals|Like)$/;

/** Whether the condition compares one of the keys with texts that are not everything. */
function bounds(condition: Value, keys: readonly string[]): boolean {
  if (!isObject(condition)) return false;
  return Object.entries(condition).some(
    ([operator, compared]) =>
      TEXTS.test(operator) &&
      isObject(compared) &&
      Object.entries(compared).some(([key, wanted]) => keys.some((one) => key.startsWith(one)) && isNarrow(wanted)),
  );
}

function isNarrow(wanted: Value): boolean {
  const texts = Array.isArray(wanted) ? wanted : [wanted];
  return texts.length > 0 && texts.every((text) => typeof text === "string" && /^[^*?]/.test(text));
}

const conditions: Policy = {
  id: "iam-condition-missing",
  demands: "What resources cannot narrow, a condition does: prefixes of a bucket, tags of a volume, records of a zone",
  severity: "medium",
  controls: ["cdk-nag IAM5"],
  remedy: `Add the condition: ${Object.entries(BOUNDED_BY)
    .map(([action, { keys }]) => `${action} by ${keys.join(" or ")}`)
    .join(", ")}`,
  types: HOLDS_DOCUMENT,
  eachOf: eachStatement(({ allows, actions: named, resources: on, condition }, verdict) => {
    if (!allows) return;
    for (const action of named) {
      const bound = BOUNDED_BY[action];
      const applies = bound !== undefined && (bound.on === undefined || on.some((one) => bound.on?.test(one)));
      if (applies && !bounds(condition, bound.keys)) verdict.violated(`${action} is allowed without a condition`);
    }
  }),
};

const SOURCES = ["aws:SourceArn", "aws:SourceAccount"] as const;

function trustsWhom(statement: Statement, of: string): string | undefined {
  const { principals, condition } = statement;
  if (principals === undefined) return undefined;
  if (principals === "*") return "everybody is allowed";
  if (principals.some((who) => !who.startsWith("Service ")))
    return "another account, or somebody by a login elsewhere, is allowed";
  // Otherwise a service of AWS could be sent here by somebody else's resource.
  if (of === BUCKET_POLICY && !bounds(condition, SOURCES))
    return "a service of AWS is allowed for whatever account it works";
  return undefined;
}

const principals: Policy = {
  id: "iam-principal-narrow",
  demands: "Roles and buckets trust services of AWS, for this stack's resources, and nobody else",
  severity: "critical",
  controls: ["FSBP S3.2", "FSBP S3.6", "cdk-nag ECR1", "checkov CKV_AWS_60, 61, 70"],
  remedy: `Name the service; in a bucket's policy with a condition on ${SOURCES.join(" or ")}`,
  types: HOLDS_DOCUMENT,
  eachOf: eachStatement((statement, verdict, { type }) => {
    const trusted = statement.allows ? trustsWhom(statement, type) : undefined;
    if (trusted !== undefined) verdict.violated(trusted);
    if (
      statement.allows &&
      type === "aws:iam/role:Role" &&
      statement.actions.some((action) => action !== "sts:AssumeRole")
    )
      verdict.violated("the role may be taken otherwise than by a service of AWS");
  }),
};

const managed: Policy = {
  id: "iam-managed-policy",
  demands:
    "No managed policy of AWS is attached, nobody has a password for the console, and permissions are written here",
  severity: "high",
  controls: ["CIS AWS 3.0: 1.16", "CIS AWS 5.0: 1.15", "FSBP IAM.1", "cdk-nag IAM4", "checkov CKV_AWS_274"],
  remedy:
    "Write a RolePolicy or UserPolicy with what is needed; AWS's managed policies allow more, and change by themselves",
  types: [
    "aws:iam/role:Role",
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
    "aws:iam/userPolicyAttachment:UserPolicyAttachment",
    "aws:iam/groupPolicyAttachment:GroupPolicyAttachment",
    "aws:iam/policyAttachment:PolicyAttachment",
    "aws:iam/userLoginProfile:UserLoginProfile",
  ],
  eachOf(resource, verdict) {
    if (resource.type !== "aws:iam/role:Role")
      verdict.violated("permissions, or a login, come from outside this stack");
    else if (at(resource.props, "managedPolicyArns") !== undefined) verdict.violated("it has managed policies");
  },
};

export const identity: readonly Policy[] = [
  metadata,
  role,
  monitored,
  actions,
  resources,
  conditions,
  principals,
  managed,
];
