/** Other legal shapes of the same thing, and values as AWS makes them up: no way around a policy, and no refusal without a cause. */
import { userData } from "../../components/mlflow-host/user-data.ts";
import { unpacked } from "../../policy/packed-text.ts";
import { secretIn } from "../../policy/secret-patterns.ts";
import { UNKNOWN } from "../../policy/values.ts";
import { byHand, judge } from "./support.ts";

const ARN = "arn:aws:secretsmanager:eu-north-1:123456789012:secret:tracker-1a2b3c4-AbCdEf";

const judged = (type: string, props: Record<string, unknown>) =>
  judge([byHand(type, "x", props as never)], {
    "wmtp:launcher": { vessl: { organization: "my-org" } },
    "wmtp:ephemeral": true,
  });
const admin = JSON.stringify({ Version: "2012-10-17", Statement: [{ Effect: "Allow", Action: "*", Resource: "*" }] });
const trust = JSON.stringify({
  Version: "2012-10-17",
  Statement: [{ Effect: "Allow", Principal: { Service: "ec2.amazonaws.com" }, Action: "sts:AssumeRole" }],
});

test("what the host is given, with identifiers as AWS makes them up, holds no secret", () => {
  const text = userData({
    region: "eu-north-1",
    bucket: "wmtp",
    dataVolumeId: "vol-0a1b2c3d4e5f67890",
    secretId: ARN,
    hostName: "203.0.113.7",
  });
  expect(unpacked(text)?.map(secretIn)).toEqual([undefined, undefined]);
  expect(secretIn(ARN)).toBeUndefined();
  expect(secretIn(`${ARN}\nDB_PASSWORD=abcd1234`)).toBe("a literal value of password");
});

test.each<[string, string, Record<string, unknown>, string]>([
  [
    "permissions inside a role",
    "aws:iam/role:Role",
    { assumeRolePolicy: trust, inlinePolicies: [{ name: "all", policy: admin }] },
    "iam-action-wildcard",
  ],
  [
    "a policy on the secret itself",
    "aws:secretsmanager/secret:Secret",
    { policy: admin.replace('"Effect"', '"Principal":"*","Effect"') },
    "iam-action-wildcard",
  ],
  [
    "an old rule of a direction that is not known",
    "aws:ec2/securityGroupRule:SecurityGroupRule",
    { type: UNKNOWN, protocol: "-1", fromPort: 0, toPort: 0, cidrBlocks: ["0.0.0.0/0"], description: "x" },
    "port-open-to-internet",
  ],
])("%s is a violation", (_, type, props, id) => {
  expect(judged(type, props).violations.map((violation) => violation.split(":")[0])).toContain(id);
});

test("a key of a map that is a secret is not repeated", () => {
  const token = `ghp_${"a1B2".repeat(10)}`;
  const { violations, messages } = judged("command:local:Command", { environment: { [token]: "password=hunter22" } });
  expect(violations).toContain("secret-in-input: x");
  expect(messages.join("\n")).not.toContain(token);
});

test("a rule whose empty lists say nothing is judged by its blocks", () => {
  const rule = { protocol: "tcp", fromPort: 443, toPort: 443, cidrBlocks: ["203.0.113.0/24"], prefixListIds: [] };
  const group = { description: "x", ingress: [{ ...rule, description: "y" }], egress: [] };
  expect(judged("aws:ec2/securityGroup:SecurityGroup", group).violations).not.toContain("port-open-to-internet: x");
});
