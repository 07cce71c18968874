/** Look-ups. Whatever is asked for exists: that it really does, only AWS can say. */
import { type Properties, secret } from "../wire.ts";
import { account } from "./account.ts";
import { hash } from "./invent.ts";
import { owned, vpcDefaults } from "./network.ts";
import { policyDocument } from "./policy-document.ts";
import { bucketOutputs, registryHost } from "./storage.ts";

const zones = () => ["a", "b", "c"].map((letter) => `${account.region}${letter}`);

export const functions: Readonly<Record<string, (args: Properties) => Properties>> = {
  "aws:index/getCallerIdentity:getCallerIdentity": () => ({
    id: account.id,
    accountId: account.id,
    arn: account.globalArn("iam", "user/stand-in"),
    userId: "AIDASTANDIN",
  }),
  "aws:index/getRegion:getRegion": (args) => {
    const region = (args.region ?? args.name ?? account.region) as string;
    return { id: region, name: region, region, description: region, endpoint: `ec2.${region}.amazonaws.com` };
  },
  "aws:index/getPartition:getPartition": () => ({
    id: account.partition,
    partition: account.partition,
    dnsSuffix: "amazonaws.com",
    reverseDnsPrefix: "com.amazonaws",
  }),
  "aws:index/getAvailabilityZones:getAvailabilityZones": (args) => ({
    ...args,
    id: account.region,
    region: account.region,
    names: zones(),
    zoneIds: zones().map((_, index) => `az${index + 1}`),
    groupNames: [account.region],
  }),

  // As in the real provider `value` is a secret whatever it is; `insecureValue` is for what is none, like an image's id.
  "aws:ssm/getParameter:getParameter": (args) => {
    const value = /ami|image|\/aws\/service\//.test(String(args.name))
      ? imageId(String(args.name))
      : hash(String(args.name), 12);
    const arn = account.arn("ssm", `parameter${args.name}`);
    return { ...args, id: args.name, arn, type: "String", version: 1, value: secret(value), insecureValue: value };
  },
  "aws:ec2/getAmi:getAmi": (args) => {
    const id = imageId(JSON.stringify(args));
    return {
      ...args,
      id,
      imageId: id,
      arn: `arn:${account.partition}:ec2:${account.region}::image/${id}`,
      architecture: "x86_64",
      rootDeviceName: "/dev/xvda",
      rootDeviceType: "ebs",
      state: "available",
      virtualizationType: "hvm",
    };
  },
  "aws:ec2/getVpc:getVpc": (args) => {
    const id = (args.id ?? `vpc-${hash(JSON.stringify(args), 17)}`) as string;
    const { defaultRouteTableId: _, defaultNetworkAclId: __, defaultSecurityGroupId: ___, ...rest } = vpcDefaults(id);
    return {
      cidrBlock: "172.31.0.0/16",
      default: false,
      state: "available",
      ...args,
      id,
      ...owned("vpc", id, args),
      ...rest,
    };
  },
  "aws:ec2/getSubnet:getSubnet": (args) => {
    const id = (args.id ?? `subnet-${hash(JSON.stringify(args), 17)}`) as string;
    return {
      availabilityZone: zones()[0],
      cidrBlock: "172.31.0.0/20",
      mapPublicIpOnLaunch: true,
      state: "available",
      vpcId: `vpc-${hash(id, 17)}`,
      ...args,
      id,
      ...owned("subnet", id, args),
    };
  },
  "aws:s3/getBucket:getBucket": (args) => ({
    ...args,
    id: args.bucket,
    region: account.region,
    ...bucketOutputs(String(args.bucket)),
  }),
  "aws:route53/getZone:getZone": (args) => {
    const name = (args.name ?? "example.org") as string;
    const zoneId = (args.zoneId ?? `Z${hash(name, 20).toUpperCase()}`) as string;
    return {
      privateZone: false,
      ...args,
      id: zoneId,
      zoneId,
      name,
      arn: `arn:${account.partition}:route53:::hostedzone/${zoneId}`,
    };
  },
  "aws:ecr/getAuthorizationToken:getAuthorizationToken": (args) => {
    const password = hash("password of the registry", 40);
    return {
      ...args,
      id: account.region,
      region: account.region,
      userName: "AWS",
      password: secret(password),
      authorizationToken: secret(Buffer.from(`AWS:${password}`).toString("base64")),
      expiresAt: "2124-01-01T00:00:00Z",
      proxyEndpoint: `https://${registryHost()}`,
    };
  },
  "aws:iam/getPolicyDocument:getPolicyDocument": (args) => {
    const document = policyDocument(args);
    const json = JSON.stringify(document, null, 2);
    return { ...args, id: hash(json, 10), json, minifiedJson: JSON.stringify(document) };
  },
};

function imageId(of: string): string {
  return `ami-${hash(`${account.region} ${of}`, 17)}`;
}
