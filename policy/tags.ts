/** Whose a resource is. */
import type { Policy } from "./policy.ts";
import { at, isObject, isText, notLiteral, parsed, UNKNOWN, type Value } from "./values.ts";

/** Types of AWS that take tags, of those that a stack may declare; a test holds the list to what AWS's SDK says. */
export const TAGGED: readonly string[] = [
  "aws:cloudwatch/metricAlarm:MetricAlarm",
  "aws:dlm/lifecyclePolicy:LifecyclePolicy",
  "aws:ebs/volume:Volume",
  "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
  "aws:ec2/eip:Eip",
  "aws:ec2/instance:Instance",
  "aws:ec2/internetGateway:InternetGateway",
  "aws:ec2/launchTemplate:LaunchTemplate",
  "aws:ec2/networkInterface:NetworkInterface",
  "aws:ec2/routeTable:RouteTable",
  "aws:ec2/securityGroup:SecurityGroup",
  "aws:ec2/subnet:Subnet",
  "aws:ec2/vpc:Vpc",
  "aws:ec2/vpcEndpoint:VpcEndpoint",
  "aws:ecr/repository:Repository",
  "aws:iam/instanceProfile:InstanceProfile",
  "aws:iam/policy:Policy",
  "aws:iam/role:Role",
  "aws:iam/user:User",
  "aws:s3/bucket:Bucket",
  "aws:secretsmanager/secret:Secret",
  "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
  "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
];

/** The provider's default tags come as a mapping, or as its JSON. */
function defaultTags(provider: Value): Value {
  const given = at(provider, "defaultTags");
  if (given === UNKNOWN) return UNKNOWN;
  return at(isText(given) ? parsed(given) : given, "tags");
}

const tagged: Policy = {
  id: "tags-project-stack",
  demands: "Everything on AWS that takes tags says its project and its stack",
  severity: "low",
  controls: ["AWS Resource Tagging Standard (IAM.24 and others)"],
  remedy: "Set aws:defaultTags in the stack file: {tags: {project: <project>, stack: <stack>}}",
  types: TAGGED,
  eachOf({ props, provider }, verdict, { project, stack }) {
    const own = at(props, "tags");
    const common = defaultTags(provider);
    if (own === UNKNOWN || common === UNKNOWN) return verdict.violated(notLiteral("tags"));
    const tags: Readonly<Record<string, Value>> = {
      ...(isObject(common) ? common : {}),
      ...(isObject(own) ? own : {}),
    };
    for (const [key, wanted] of Object.entries({ project, stack })) {
      if (tags[key] === undefined) verdict.violated(`it has no tag ${key}`);
      else if (tags[key] !== wanted) verdict.violated(`its tag ${key} names another ${key}`);
    }
  },
};

export const tags: readonly Policy[] = [tagged];
