/** VPC, addresses and DNS. */
import type { ResourceType } from "../package.ts";
import type { Properties } from "../wire.ts";
import { account } from "./account.ts";
import { attached, hash, numbered, withoutRegion } from "./invent.ts";

/** What EC2 tells of everything that has an owner. */
export function owned(kind: string, id: string, inputs: Properties): Properties {
  return { arn: account.arn("ec2", `${kind}/${id}`), ownerId: account.id, tagsAll: account.tagsAll(inputs) };
}

/** The things that AWS makes along with a VPC. */
export function vpcDefaults(vpcId: string): Properties {
  const id = (prefix: string) => `${prefix}-${hash(`${vpcId} ${prefix}`, 17)}`;
  return {
    defaultNetworkAclId: id("acl"),
    defaultRouteTableId: id("rtb"),
    defaultSecurityGroupId: id("sg"),
    dhcpOptionsId: id("dopt"),
    mainRouteTableId: id("rtb"),
  };
}

function ruleOutputs(id: string, inputs: Properties): Properties {
  return {
    arn: account.arn("ec2", `security-group-rule/${id}`),
    securityGroupRuleId: id,
    tagsAll: account.tagsAll(inputs),
  };
}

/** Addresses for documentation (RFC 5737), so that a mistake reaches nobody. The first one given out is .10. */
const ADDRESSES = Array.from({ length: 245 }, (_, index) => `203.0.113.${index + 10}`);
const givenOut = new Set<unknown>();

const DESCRIPTION = "Managed by Pulumi";
const rule = numbered("sgr", { replaces: ["securityGroupId"] }, ruleOutputs);

export const networkTypes: Readonly<Record<string, ResourceType>> = {
  "aws:ec2/vpc:Vpc": numbered("vpc", { replaces: ["cidrBlock", "ipv4IpamPoolId"] }, (id, inputs) => ({
    ...owned("vpc", id, inputs),
    ...vpcDefaults(id),
  })),
  "aws:ec2/subnet:Subnet": numbered(
    "subnet",
    { replaces: ["availabilityZone", "availabilityZoneId", "cidrBlock", "vpcId", "outpostArn"] },
    (id, inputs) => ({
      availabilityZone: inputs.availabilityZone ?? `${account.region}a`,
      ...owned("subnet", id, inputs),
    }),
  ),
  "aws:ec2/internetGateway:InternetGateway": numbered("igw", { replaces: [] }, (id, inputs) =>
    owned("internet-gateway", id, inputs),
  ),
  "aws:ec2/routeTable:RouteTable": numbered("rtb", { replaces: ["vpcId"] }, (id, inputs) =>
    owned("route-table", id, inputs),
  ),
  "aws:ec2/routeTableAssociation:RouteTableAssociation": numbered("rtbassoc", { replaces: ["subnetId", "gatewayId"] }),
  "aws:ec2/route:Route": attached(
    ["routeTableId", "destinationCidrBlock", "destinationIpv6CidrBlock", "destinationPrefixListId"],
    { replaces: ["routeTableId", "destinationCidrBlock", "destinationIpv6CidrBlock", "destinationPrefixListId"] },
    () => ({ origin: "CreateRoute", state: "active" }),
  ),
  "aws:ec2/vpcEndpoint:VpcEndpoint": numbered(
    "vpce",
    { replaces: ["vpcId", "serviceName", "vpcEndpointType"] },
    (id, inputs) => ({
      ...owned("vpc-endpoint", id, inputs),
      prefixListId: `pl-${hash(String(inputs.serviceName), 8)}`,
      state: "available",
    }),
  ),
  "aws:ec2/securityGroup:SecurityGroup": numbered(
    "sg",
    {
      replaces: ["name", "namePrefix", "vpcId", "description"],
      autoName: "name",
      check: (inputs) => ({ description: DESCRIPTION, ...inputs }),
    },
    (id, inputs) => owned("security-group", id, inputs),
  ),
  "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": {
    ...numbered("sg", { replaces: ["vpcId"] }, (id, inputs) => ({
      ...owned("security-group", id, inputs),
      description: "default VPC security group",
      name: "default",
    })),
    create: async (inputs) => ({
      id: vpcDefaults(String(inputs.vpcId)).defaultSecurityGroupId as string,
      outputs: {},
    }),
  },
  "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": rule,
  "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": rule,

  "aws:ec2/eip:Eip": {
    ...numbered(
      "eipalloc",
      { replaces: ["address", "domain", "networkBorderGroup", "publicIpv4Pool"] },
      (id, inputs) => ({
        allocationId: id,
        arn: account.arn("ec2", `elastic-ip/${id}`),
        tagsAll: account.tagsAll(inputs),
      }),
    ),
    seen: (old) => givenOut.add(old.publicIp),
    create: async (_, context) => {
      const publicIp = ADDRESSES.find((address) => !givenOut.has(address));
      if (publicIp === undefined) throw new Error("the stand-in has no public addresses left");
      givenOut.add(publicIp);
      const host = `ec2-${publicIp.replaceAll(".", "-")}.${account.region}.compute.amazonaws.com`;
      return { id: `eipalloc-${context.suffix("eipalloc", 17)}`, outputs: { publicIp, publicDns: host } };
    },
  },
  "aws:ec2/networkInterface:NetworkInterface": numbered(
    "eni",
    { replaces: ["subnetId", "interfaceType"] },
    (id, inputs) => ({ ...owned("network-interface", id, inputs), privateIp: "10.42.0.10", sourceDestCheck: true }),
  ),
  "aws:ec2/eipAssociation:EipAssociation": numbered("eipassoc", {
    replaces: [
      "allocationId",
      "instanceId",
      "networkInterfaceId",
      "privateIpAddress",
      "publicIp",
      "allowReassociation",
    ],
  }),

  "aws:route53/record:Record": withoutRegion(
    attached(["zoneId", "name", "type"], { replaces: ["zoneId", "name", "setIdentifier"] }, (_, inputs) => ({
      fqdn: inputs.name,
    })),
  ),
};
