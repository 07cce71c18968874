/** Rules for what a stack asks of AWS and of the image's registry: what can be known before a resource exists. */
import { POLICY_IDS } from "../policy/ids.ts";
import { type Problem, suggestion } from "./config-problems.ts";
import type { Section, Sections } from "./config-schema.ts";
import { partitionOf } from "./iam.ts";

/** The waiver that lets the whole internet reach the tracker's login. */
export const OPEN_TRACKER = { policy: "tracker-open-to-internet", resource: "tracker" } as const;

/** More addresses than these, in one block or in many, are the internet under another name. */
const MOST_ADDRESSES = 2 ** 24;
/** MLflow refuses shorter ones. */
const SHORTEST_PASSWORD = 12;

/**
 * Regions whose buckets can have Transfer Acceleration. Source: Amazon S3 User Guide, "Configuring fast, secure file
 * transfers using Amazon S3 Transfer Acceleration" (docs.aws.amazon.com/AmazonS3/latest/userguide/transfer-acceleration.html).
 */
export const ACCELERATED_REGIONS: readonly string[] = [
  "ap-northeast-1",
  "ap-northeast-2",
  "ap-south-1",
  "ap-southeast-1",
  "ap-southeast-2",
  "ca-central-1",
  "eu-central-1",
  "eu-west-1",
  "eu-west-2",
  "eu-west-3",
  "sa-east-1",
  "us-east-1",
  "us-east-2",
  "us-west-1",
  "us-west-2",
];

export interface Surroundings {
  /** `aws:region` of the stack file. */
  readonly region: string | undefined;
  /** Secret keys that are set, without their values. */
  readonly secrets: ReadonlySet<string>;
  /** Characters of `wmtp:mlflowAdminPassword`, if it is set. */
  readonly adminPasswordLength?: number | undefined;
  /** Day on which the stack is deployed, as 2026-12-31. */
  readonly today: string;
}

/** Problems of waivers, in every stack, and of a stack that declares its own infrastructure: not the local target, nor one on a base. */
export function checkInfrastructure(sections: Sections, surroundings: Surroundings): Problem[] {
  const { launcher, storage, tracking, image, waivers } = sections;
  const onWaivers = waivers === undefined ? [] : checkWaivers(waivers, surroundings.today);
  if (launcher?.target !== "vessl" || sections.base !== undefined) return onWaivers;
  return [
    ...checkRegion(surroundings.region),
    ...(storage === undefined ? [] : checkStorage(storage, surroundings.region)),
    ...(tracking === undefined || waivers === undefined ? [] : checkTracking(tracking, waivers, surroundings.today)),
    ...checkPassword(surroundings.adminPasswordLength),
    ...(image === undefined ? [] : checkImage(image, surroundings.secrets)),
    ...onWaivers,
  ];
}

function checkRegion(region: string | undefined): Problem[] {
  if (region === undefined) {
    return [{ path: "aws:region", message: "is missing; set it with: pulumi config set aws:region eu-north-1" }];
  }
  if (region.startsWith("cn-")) {
    return [
      { path: "aws:region", message: `${region} is not supported: AWS in China has other services and addresses` },
    ];
  }
  return /^[a-z]{2}(-[a-z]+)+-\d$/.test(region)
    ? []
    : [{ path: "aws:region", message: `"${region}" is not a region such as eu-north-1` }];
}

function checkStorage(storage: Section<"storage">, region: string | undefined): Problem[] {
  const problems: Problem[] = [];
  const add = (key: string, message: string) => problems.push({ path: `wmtp:storage.${key}`, message });
  if (storage.transferAcceleration && region !== undefined && !ACCELERATED_REGIONS.includes(region)) {
    add(
      "transferAcceleration",
      `S3 has no Transfer Acceleration in ${region}; it has in ${ACCELERATED_REGIONS.join(", ")}`,
    );
  }
  if (storage.transferAcceleration && storage.bucket.includes(".")) {
    add("transferAcceleration", `S3 cannot accelerate a bucket with a dot in its name (${storage.bucket})`);
  }
  if (storage.transferAcceleration && storage.adopt) {
    add(
      "transferAcceleration",
      "an adopted bucket keeps the settings of its owner: switch it on there, or adopt: false",
    );
  }
  if (
    storage.kmsKeyArn !== undefined &&
    region !== undefined &&
    !storage.kmsKeyArn.startsWith(`arn:${partitionOf(region)}:kms:${region}:`)
  ) {
    add("kmsKeyArn", `the key must be in the bucket's region, ${region}`);
  }
  const twin = storage.accessKeys.find((name, index, all) => all.indexOf(name) < index);
  if (twin !== undefined) add("accessKeys", `"${twin}" stands there twice; each key needs a name of its own`);
  return problems;
}

function checkTracking(tracking: Section<"tracking">, waivers: Section<"waivers">, today: string): Problem[] {
  const problems: Problem[] = [];
  const add = (key: string, message: string) => problems.push({ path: `wmtp:tracking.${key}`, message });
  const { policy, resource } = OPEN_TRACKER;
  const waived = waivers.some(
    (waiver) => waiver.policy === policy && waiver.resource === resource && waiver.expires >= today,
  );
  if (tracking.allowedCidrs.length === 0) {
    add("allowedCidrs", "names nobody; list the blocks that runs and people come from, for example [203.0.113.0/24]");
  }
  let addresses = 0;
  for (const [index, cidr] of tracking.allowedCidrs.entries()) {
    const [address = "", prefix = ""] = cidr.split("/");
    const network = networkOf(address, Number(prefix));
    const size = 2 ** (32 - Number(prefix));
    const tooMany = addresses <= MOST_ADDRESSES && addresses + size > MOST_ADDRESSES;
    addresses += size;
    if (tracking.allowedCidrs.indexOf(cidr) < index) {
      add(`allowedCidrs.${index}`, `${cidr} stands there twice`);
    } else if (tooMany && !waived) {
      add(
        `allowedCidrs.${index}`,
        `${index > 0 ? "with the blocks before it " : ""}${cidr} lets the whole internet reach the tracker's login; name narrower blocks, or take the risk on record: ` +
          `wmtp:waivers: [{policy: ${policy}, resource: ${resource}, reason: ..., expires: 2026-12-31}]`,
      );
    } else if (network !== address) {
      add(
        `allowedCidrs.${index}`,
        `${cidr} is an address inside a block; the block is ${network}/${prefix}, the address ${address}/32`,
      );
    }
  }
  if (tracking.hostedZone !== undefined && tracking.domain === undefined) {
    add("hostedZone", "is the zone of wmtp:tracking.domain, which is missing");
  } else if (tracking.hostedZone !== undefined && !`.${tracking.domain}`.endsWith(`.${tracking.hostedZone}`)) {
    add("domain", `${tracking.domain} is not in the zone ${tracking.hostedZone}`);
  } else if (
    tracking.domain !== undefined &&
    tracking.domain.split(".").length < 3 &&
    tracking.hostedZone === undefined
  ) {
    add("hostedZone", `is missing; the zone of ${tracking.domain} cannot be guessed from it`);
  }
  return problems;
}

function checkPassword(length: number | undefined): Problem[] {
  if (length === undefined || length >= SHORTEST_PASSWORD) return [];
  const path = "wmtp:mlflowAdminPassword";
  const message = `has fewer than ${SHORTEST_PASSWORD} characters; set a longer one with: pulumi config set --secret ${path}`;
  return [{ path, message }];
}

/** The address with the bits behind the prefix cleared. */
function networkOf(address: string, prefix: number): string {
  const bits = address.split(".").reduce((all, octet) => all * 256 + Number(octet), 0);
  const size = 2 ** (32 - prefix);
  const network = Math.floor(bits / size) * size;
  return [24, 16, 8, 0].map((shift) => Math.floor(network / 2 ** shift) % 256).join(".");
}

function checkImage(image: Section<"image">, secrets: ReadonlySet<string>): Problem[] {
  const problems: Problem[] = [];
  const add = (key: string, message: string) => problems.push({ path: `wmtp:image.${key}`, message });
  const host = image.repository?.split("/")[0] ?? "";
  if (!image.ecr && image.repository === undefined) {
    add("repository", "is missing; name one you may push to, for example ghcr.io/<owner>/wmtp, or set ecr: true");
  } else if (!image.ecr && !/[.:]/.test(host)) {
    add(
      "repository",
      `"${image.repository}" names no registry; write its host first, for example ghcr.io/<owner>/wmtp`,
    );
  } else if (image.ecr && (image.repository ?? "wmtp").length < 2) {
    add("repository", `"${image.repository}" is too short: ECR wants two characters at least`);
  } else if (image.ecr && /[.:]/.test(host)) {
    add("repository", `with ecr: true it is a name in the stack's own registry, for example wmtp; leave out ${host}`);
  }
  const token = secrets.has("wmtp:registryToken");
  if (image.ecr && (token || image.registryUser !== undefined)) {
    add("ecr", "logs in by the AWS account; take wmtp:registryToken and registryUser out");
  } else if (token && image.registryUser === undefined) {
    add("registryUser", "is missing; wmtp:registryToken is the password of which user?");
  } else if (!token && image.registryUser !== undefined) {
    add("registryUser", "has no password; set it with: pulumi config set --secret wmtp:registryToken");
  }
  return problems;
}

/** What the policies themselves would say only at the end of a preview. Whether a waiver is of any use is for them alone to say. */
function checkWaivers(waivers: Section<"waivers">, today: string): Problem[] {
  return waivers.flatMap(({ policy, expires }, index) => {
    const path = `wmtp:waivers.${index}`;
    const problems: Problem[] = [];
    if (!(POLICY_IDS as readonly string[]).includes(policy)) {
      const hint = suggestion(policy, POLICY_IDS, "see docs/policies.md for all");
      problems.push({ path: `${path}.policy`, message: `there is no policy ${policy}; ${hint}` });
    }
    if (expires < today) {
      problems.push({
        path: `${path}.expires`,
        message: `${expires} has passed; look at the risk again, then renew the waiver or drop it`,
      });
    }
    return problems;
  });
}
