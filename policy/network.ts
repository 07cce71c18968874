/** Who can reach what. */
import { isAbout, ofType } from "./linked.ts";
import type { Policy, Resource, Verdict } from "./policy.ts";
import {
  at,
  demand,
  hasUnknown,
  is,
  isText,
  list,
  notLiteral,
  type Properties,
  UNKNOWN,
  type Value,
} from "./values.ts";

const GROUP = "aws:ec2/securityGroup:SecurityGroup";
const DEFAULT_GROUP = "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup";
const INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule";
const EGRESS = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule";
const OLD_RULE = "aws:ec2/securityGroupRule:SecurityGroupRule";
const INSTANCE = "aws:ec2/instance:Instance";
const SUBNET = "aws:ec2/subnet:Subnet";
const TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate";

/** More addresses than these are the internet under another name. */
const MOST_ADDRESSES = 2 ** 24;
const [SSH, RDP, POSTGRES, MLFLOW, HTTPS, HTTP] = [22, 3389, 5432, 5000, 443, 80] as const;
const LAST_PORT = 65_535;

/** A rule of a security group, whichever way it is written. */
interface Rule {
  readonly cidrs: readonly Value[];
  readonly protocol: Value;
  readonly from: Value;
  readonly to: Value;
  /** A list of blocks that somebody else writes, or nobody at all: who that is, is known to nobody here. */
  readonly anybody: boolean;
}

/** Where a rule names a security group in place of a block. */
const GROUPS = ["referencedSecurityGroupId", "sourceSecurityGroupId", "securityGroups", "self"] as const;

function ruleOf(rule: Value): Rule {
  const single = ["cidrIpv4", "cidrIpv6"].map((key) => at(rule, key)).filter((cidr) => cidr !== undefined);
  const many = ["cidrBlocks", "ipv6CidrBlocks"].flatMap((key): readonly Value[] => {
    const cidrs = at(rule, key);
    return cidrs === UNKNOWN ? [UNKNOWN] : list(cidrs);
  });
  const cidrs = [...single, ...many];
  const says = (key: string) => {
    const value = at(rule, key);
    return value !== undefined && value !== false && !(Array.isArray(value) && value.length === 0);
  };
  const prefixLists = ["prefixListId", "prefixListIds"].some(says);
  const groups = GROUPS.some(says);
  return {
    cidrs,
    protocol: at(rule, "ipProtocol") ?? at(rule, "protocol"),
    from: at(rule, "fromPort"),
    to: at(rule, "toPort"),
    anybody: prefixLists || (cidrs.length === 0 && !groups),
  };
}

/** Rules that the resource brings for this direction. */
function rulesOf({ type, props }: Resource, direction: "ingress" | "egress"): Rule[] | typeof UNKNOWN {
  if (type === (direction === "ingress" ? INGRESS : EGRESS)) return [ruleOf(props)];
  if (type === OLD_RULE) {
    const said = at(props, "type");
    return said === UNKNOWN ? UNKNOWN : said === direction ? [ruleOf(props)] : [];
  }
  if (type !== GROUP && type !== DEFAULT_GROUP) return [];
  const inline = at(props, direction);
  return inline === UNKNOWN ? UNKNOWN : list(inline).map(ruleOf);
}

/** How many addresses a block has, of IPv4's number; one of IPv6 that is larger than a provider's counts as everything. */
export function addressesIn(cidr: Value): number {
  if (!isText(cidr)) return Number.POSITIVE_INFINITY;
  const [, length = ""] = cidr.split("/");
  if (!/^\d+$/.test(length)) return Number.POSITIVE_INFINITY;
  if (cidr.includes(":")) return Number(length) < 32 ? Number.POSITIVE_INFINITY : 0;
  return 2 ** (32 - Number(length));
}

const isOpen = ({ cidrs, anybody }: Pick<Rule, "cidrs" | "anybody">) =>
  anybody || cidrs.reduce<number>((sum, cidr) => sum + addressesIn(cidr), 0) > MOST_ADDRESSES;

/** Ports from and to; everything for protocols that have no ports, and for what is not a number. */
function ports({ protocol, from, to }: Rule): [from: number, to: number] {
  const all = protocol === "-1" || protocol === "all" || protocol === undefined;
  if (all || typeof from !== "number" || typeof to !== "number") return [0, LAST_PORT];
  return from <= 0 && to <= 0 ? [0, LAST_PORT] : [from, to];
}
const lets = (rule: Rule, port: number) => ports(rule)[0] <= port && port <= ports(rule)[1];
const onlyHttps = (rule: Rule) => ports(rule)[0] === HTTPS && ports(rule)[1] === HTTPS;

const RULES_IN: readonly string[] = [GROUP, DEFAULT_GROUP, INGRESS, OLD_RULE];

/** A policy against rules that let the internet in on some port. */
function closed(
  policy: Pick<Policy, "id" | "demands" | "severity" | "controls" | "remedy">,
  breaks: (rule: Rule) => boolean,
  message: (rule: Rule) => string,
): Policy {
  return {
    ...policy,
    types: RULES_IN,
    eachOf(resource, verdict) {
      const rules = rulesOf(resource, "ingress");
      if (rules === UNKNOWN) return verdict.violated(notLiteral("ingress"));
      for (const rule of rules) {
        const unknown = [...rule.cidrs, rule.protocol, rule.from, rule.to].includes(UNKNOWN);
        if (unknown) verdict.violated(notLiteral("a rule's block, protocol or port"));
        else if (isOpen(rule) && breaks(rule)) verdict.violated(message(rule));
      }
    },
  };
}

const remedy = "Name the blocks that may come in; operators come by Session Manager, users by HTTPS";
const open = (what: string) => () => `the internet reaches ${what}`;

const ssh = closed(
  {
    id: "ssh-open-to-internet",
    demands: "The internet cannot reach SSH (22) or remote desktop (3389)",
    severity: "critical",
    controls: [
      "CIS AWS 3.0: 5.2, 5.3",
      "CIS AWS 5.0: 5.3, 5.4",
      "FSBP EC2.13",
      "cdk-nag EC23",
      "checkov CKV_AWS_24, 25",
    ],
    remedy,
  },
  (rule) => lets(rule, SSH) || lets(rule, RDP),
  open("port 22 or 3389"),
);

const postgres = closed(
  {
    id: "postgres-open-to-internet",
    demands: "The internet cannot reach PostgreSQL (5432)",
    severity: "critical",
    controls: ["FSBP EC2.19", "cdk-nag EC23"],
    remedy,
  },
  (rule) => lets(rule, POSTGRES),
  open("port 5432"),
);

const mlflow = closed(
  {
    id: "mlflow-open-to-internet",
    demands: "The internet cannot reach MLflow itself (5000), which knows neither TLS nor a lock-out",
    severity: "critical",
    controls: ["FSBP EC2.18", "cdk-nag EC23"],
    remedy,
  },
  (rule) => lets(rule, MLFLOW),
  open("port 5000"),
);

const ports443 = closed(
  {
    id: "port-open-to-internet",
    demands: "The internet can reach no port but HTTPS (443)",
    severity: "high",
    controls: ["FSBP EC2.18", "FSBP EC2.19", "cdk-nag EC23", "checkov CKV_AWS_260, 277"],
    remedy,
  },
  (rule) => !onlyHttps(rule),
  (rule) => `the internet reaches ports ${ports(rule).join(" to ")}`,
);

const tracker: Policy = {
  id: "tracker-open-to-internet",
  demands: "The blocks that reach the tracker's login have no more addresses together than a /8",
  severity: "high",
  controls: ["FSBP EC2.18", "cdk-nag EC23"],
  remedy: "Name narrower blocks in wmtp:tracking.allowedCidrs, or take the risk on record with a waiver that expires",
  stackTypes: [GROUP],
  wholeStack(resources, verdict) {
    for (const group of ofType(resources, GROUP)) {
      const rules = [
        group,
        ...ofType(resources, INGRESS, OLD_RULE).filter((rule) => isAbout(rule, "securityGroupId", group, "id")),
      ]
        .map((resource) => rulesOf(resource, "ingress"))
        .flatMap((found) => (found === UNKNOWN ? [] : found))
        .filter(onlyHttps);
      const cidrs = rules.flatMap((rule) => rule.cidrs);
      if (cidrs.includes(UNKNOWN)) verdict.violated(notLiteral("a rule's block"), group);
      else if (isOpen({ cidrs, anybody: rules.some((rule) => rule.anybody) }))
        verdict.violated("the internet reaches the login, on port 443", group);
    }
  },
};

const https: Policy = {
  id: "ingress-https-only",
  demands: "Nobody comes in but by HTTPS (443), from wherever",
  severity: "medium",
  controls: ["FSBP EC2.18"],
  remedy: "Open 443 by tcp alone; operators come by Session Manager",
  types: RULES_IN,
  eachOf(resource, verdict) {
    const rules = rulesOf(resource, "ingress");
    // What is not known is said by the policies before this one.
    for (const rule of rules === UNKNOWN ? [] : rules)
      if (!onlyHttps(rule) || rule.protocol !== "tcp") verdict.violated(`ports ${ports(rule).join(" to ")} are let in`);
  },
};

const INTERFACE = "aws:ec2/networkInterface:NetworkInterface";

const guarded: Policy = {
  id: "interface-guarded",
  demands: "Every interface, and every host without one of its own, is in a security group of the stack",
  severity: "medium",
  controls: [],
  remedy: "Name a SecurityGroup of the stack in securityGroups, or in vpcSecurityGroupIds",
  stackTypes: [INTERFACE, INSTANCE],
  wholeStack(resources, verdict) {
    const groups = ofType(resources, GROUP);
    for (const one of ofType(resources, INTERFACE, INSTANCE)) {
      if (one.type === INSTANCE && at(one.props, "primaryNetworkInterface") !== undefined) continue;
      const property = one.type === INSTANCE ? "vpcSecurityGroupIds" : "securityGroups";
      const named = at(one.props, property);
      const own = one.propertyDependencies[property]?.some((group) => groups.includes(group)) === true;
      if (!own || (named !== UNKNOWN && list(named).length === 0))
        verdict.violated(`${property} names no security group of the stack`, one);
    }
  },
};

const DESCRIBED = { type: [GROUP, INGRESS, EGRESS, OLD_RULE], path: "description" } as const;

const described: Policy = {
  id: "security-group-described",
  demands: "Every security group and every rule of one says what it is for",
  severity: "low",
  controls: ["cdk-nag EC27", "checkov CKV_AWS_23"],
  remedy: "Give it a description",
  types: DESCRIBED.type,
  eachOf(resource, verdict) {
    demand(verdict, resource, DESCRIBED.path, isText, "is missing");
    for (const direction of ["ingress", "egress"]) {
      for (const [index, rule] of list(at(resource.props, direction)).entries())
        if (!isText(at(rule, DESCRIBED.path)))
          verdict.violated(`rule ${index + 1} of its ${direction} has no description`);
    }
  },
};

const egress: Policy = {
  id: "egress-limited",
  demands: "Hosts reach the internet by HTTPS (443) and HTTP (80) alone",
  severity: "medium",
  controls: ["checkov CKV_AWS_382"],
  remedy: "Name the port, 443 or 80, and the protocol, tcp",
  types: [GROUP, EGRESS, OLD_RULE],
  eachOf(resource, verdict) {
    const rules = rulesOf(resource, "egress");
    if (rules === UNKNOWN) return verdict.violated(notLiteral("egress"));
    for (const rule of rules) {
      if ([...rule.cidrs, rule.protocol, rule.from, rule.to].includes(UNKNOWN))
        verdict.violated(notLiteral("a rule's block, protocol or port"));
      else if (
        isOpen(rule) &&
        !(rule.protocol === "tcp" && rule.from === rule.to && [HTTPS, HTTP].some((port) => rule.from === port))
      )
        verdict.violated(`ports ${ports(rule).join(" to ")} of the whole internet can be reached from inside`);
    }
  },
};

const VPC = "aws:ec2/vpc:Vpc";

const defaultGroup: Policy = {
  id: "default-security-group-closed",
  demands: "The default security group of every VPC of the stack is there and has no rules",
  severity: "medium",
  controls: ["CIS AWS 3.0: 5.4", "CIS AWS 5.0: 5.5", "FSBP EC2.2", "checkov CKV2_AWS_12"],
  remedy: "Declare a DefaultSecurityGroup of the VPC, without ingress and egress",
  types: [DEFAULT_GROUP],
  eachOf(resource, verdict) {
    for (const direction of ["ingress", "egress"])
      demand(verdict, resource, direction, (rules) => list(rules).length === 0, "has rules");
  },
  stackTypes: [VPC],
  wholeStack(resources, verdict) {
    const groups = ofType(resources, DEFAULT_GROUP);
    for (const vpc of ofType(resources, VPC))
      if (!groups.some((group) => isAbout(group, "vpcId", vpc, "id")))
        verdict.violated("its default security group is AWS's, which lets everything out", vpc);
  },
};

const GIVES_ADDRESSES: Readonly<Record<string, (verdict: Verdict, resource: Resource, props: Properties) => void>> = {
  [SUBNET]: (verdict, resource) =>
    demand(verdict, resource, "mapPublicIpOnLaunch", is(false), "is not false: what is started there gets an address"),
  [INSTANCE](verdict, resource, props) {
    // An interface of its own has the address that was given to it, and no other.
    const own = at(props, "primaryNetworkInterface") !== undefined || list(at(props, "networkInterfaces")).length > 0;
    const fine = (value: Value) => value === false || (own && value === undefined);
    demand(verdict, resource, "associatePublicIpAddress", fine, "is not false");
  },
  [TEMPLATE](verdict, _resource, props) {
    const interfaces = at(props, "networkInterfaces");
    if (hasUnknown(interfaces)) verdict.violated(notLiteral("networkInterfaces"));
    else if (
      list(interfaces).length === 0 ||
      list(interfaces).some((one) => at(one, "associatePublicIpAddress") !== "false")
    )
      verdict.violated("associatePublicIpAddress of its interfaces is not false");
  },
};

const address: Policy = {
  id: "public-address-on-purpose",
  demands: "A public address is an Elastic IP that somebody declared, never one that a subnet hands out",
  severity: "medium",
  controls: ["FSBP EC2.9", "FSBP EC2.15", "FSBP EC2.25", "cdk-nag EC2InstanceNoPublicIp", "checkov CKV_AWS_88, 130"],
  remedy: "Set associatePublicIpAddress and mapPublicIpOnLaunch to false; declare an Eip where an address is meant",
  types: Object.keys(GIVES_ADDRESSES),
  eachOf: (resource, verdict) => GIVES_ADDRESSES[resource.type]?.(verdict, resource, resource.props),
};

export const network: readonly Policy[] = [
  ssh,
  postgres,
  mlflow,
  ports443,
  tracker,
  https,
  guarded,
  described,
  egress,
  defaultGroup,
  address,
];
