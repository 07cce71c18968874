/** Instances, their volumes, and what looks after them. */
import type { ResourceType } from "../package.ts";
import { account } from "./account.ts";
import { hash, named, numbered } from "./invent.ts";
import { owned } from "./network.ts";

const INSTANCE_REPLACES = [
  "ami",
  "associatePublicIpAddress",
  "availabilityZone",
  "cpuOptions",
  "ebsBlockDevices",
  "ephemeralBlockDevices",
  "hibernation",
  "instanceMarketOptions",
  "ipv6AddressCount",
  "ipv6Addresses",
  "keyName",
  "networkInterfaces",
  "placementGroup",
  "privateIp",
  "securityGroups",
  "subnetId",
  "tenancy",
];
/** Without `userDataReplaceOnChange` they are an update, which stops and starts the instance. */
const USER_DATA = ["userData", "userDataBase64"];

export const computeTypes: Readonly<Record<string, ResourceType>> = {
  "aws:ec2/instance:Instance": {
    ...numbered("i", { replaces: INSTANCE_REPLACES }, (id, inputs) => {
      const privateIp = inputs.privateIp ?? `10.0.0.${10 + (Number.parseInt(hash(id, 4), 16) % 200)}`;
      return {
        arn: account.arn("ec2", `instance/${id}`),
        availabilityZone: inputs.availabilityZone ?? `${account.region}a`,
        instanceState: "running",
        primaryNetworkInterfaceId: `eni-${hash(id, 17)}`,
        privateDns: `ip-${String(privateIp).replaceAll(".", "-")}.${account.region}.compute.internal`,
        privateIp,
        tagsAll: account.tagsAll(inputs),
      };
    }),
    mustReplace: (changed, inputs) => {
      const replaces = ["region", ...INSTANCE_REPLACES, ...(inputs.userDataReplaceOnChange === true ? USER_DATA : [])];
      return changed.filter((property) => replaces.includes(property));
    },
  },
  "aws:ec2/launchTemplate:LaunchTemplate": {
    ...numbered("lt", { replaces: ["name", "namePrefix"], autoName: "name" }, (id, inputs) => ({
      arn: account.arn("ec2", `launch-template/${id}`),
      tagsAll: account.tagsAll(inputs),
    })),
    create: async (_, context) => ({
      id: `lt-${context.suffix("lt", 17)}`,
      outputs: { latestVersion: 1, defaultVersion: 1 },
    }),
    update: async (_, old) => ({ latestVersion: Number(old.latestVersion) + 1 }),
  },
  "aws:ebs/volume:Volume": numbered(
    "vol",
    { replaces: ["availabilityZone", "encrypted", "kmsKeyId", "snapshotId", "outpostArn", "multiAttachEnabled"] },
    (id, inputs) => {
      const { arn, tagsAll } = owned("volume", id, inputs);
      return { arn, tagsAll };
    },
  ),
  "aws:ec2/volumeAttachment:VolumeAttachment": numbered("vai", { replaces: ["deviceName", "instanceId", "volumeId"] }),
  "aws:dlm/lifecyclePolicy:LifecyclePolicy": numbered("policy", { replaces: [] }, (id, inputs) => ({
    arn: account.arn("dlm", `policy/${id}`),
    tagsAll: account.tagsAll(inputs),
  })),
  "aws:cloudwatch/metricAlarm:MetricAlarm": named("name", { replaces: ["name"] }, (id, inputs) => ({
    arn: account.arn("cloudwatch", `alarm:${id}`),
    tagsAll: account.tagsAll(inputs),
  })),
};
