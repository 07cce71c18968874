/** Where data is: buckets, disks, volumes. */
import { isAbout, ofType } from "./linked.ts";
import type { Policy, Resource, StackResource, Verdict } from "./policy.ts";
import {
  at,
  between,
  demand,
  hasUnknown,
  is,
  isObject,
  isText,
  list,
  notLiteral,
  parsed,
  UNKNOWN,
  type Value,
} from "./values.ts";

const BUCKET = "aws:s3/bucket:Bucket";
const BLOCK = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock";
const OWNERSHIP = "aws:s3/bucketOwnershipControls:BucketOwnershipControls";
const ACL = "aws:s3/bucketAcl:BucketAcl";
const BUCKET_POLICY = "aws:s3/bucketPolicy:BucketPolicy";
const ENCRYPTION = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration";
const VERSIONING = "aws:s3/bucketVersioning:BucketVersioning";
const LIFECYCLE = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration";
const LOGGING = "aws:s3/bucketLogging:BucketLogging";
const DISK = "aws:ebs/volume:Volume";
const INSTANCE = "aws:ec2/instance:Instance";
const SNAPSHOTS = "aws:dlm/lifecyclePolicy:LifecyclePolicy";
const VOLUME = "launcher:index:Volume";

/** Says of each bucket that has no `type` of its own what it lacks. */
function eachBucketHas(
  type: string,
  what: string,
  needs: (bucket: StackResource, all: readonly StackResource[]) => boolean,
) {
  return (resources: readonly StackResource[], verdict: Verdict) => {
    const parts = ofType(resources, type);
    for (const bucket of ofType(resources, BUCKET)) {
      if (needs(bucket, resources) && !parts.some((part) => isAbout(part, "bucket", bucket)))
        verdict.violated(`the bucket has ${what}`, bucket);
    }
  };
}

/** A bucket that others write their access logs to; it has none of its own, and nobody overwrites anything there. */
const takesLogs = (bucket: StackResource, all: readonly StackResource[]) =>
  ofType(all, LOGGING).some((logging) => isAbout(logging, "targetBucket", bucket, "bucket"));
const every = () => true;

const FLAGS = ["blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"] as const;

const publicAccess: Policy = {
  id: "bucket-public-access-blocked",
  demands: "Every bucket blocks public access, in all four ways",
  severity: "critical",
  controls: [
    "CIS AWS 3.0: 2.1.4",
    "CIS AWS 5.0: 2.1.4",
    "FSBP S3.8",
    "cdk-nag S2",
    "checkov CKV_AWS_53-56, CKV2_AWS_6",
  ],
  remedy: `Give it a BucketPublicAccessBlock with ${FLAGS.join(", ")}: true`,
  types: [BLOCK],
  eachOf(resource, verdict) {
    for (const flag of FLAGS) demand(verdict, resource, flag, is(true), "is not true");
  },
  stackTypes: [BUCKET],
  wholeStack: eachBucketHas(BLOCK, "no block of public access", every),
};

const acls: Policy = {
  id: "bucket-acls-off",
  demands: "No bucket goes by access control lists, and none is public by one",
  severity: "high",
  controls: ["FSBP S3.2", "FSBP S3.3", "FSBP S3.12", "cdk-nag S2", "checkov CKV_AWS_20, 57, CKV2_AWS_65"],
  remedy: "Leave out acl, grants and BucketAcl; set BucketOwnershipControls to BucketOwnerEnforced",
  types: [BUCKET, ACL, OWNERSHIP],
  eachOf(resource, verdict) {
    if (resource.type === OWNERSHIP) {
      const message = "is not BucketOwnerEnforced";
      demand(verdict, resource, "rule.objectOwnership", is("BucketOwnerEnforced"), message);
      return;
    }
    demand(verdict, resource, "acl", (acl) => acl === undefined || acl === "private", "is not private");
    for (const key of ["grants", "accessControlPolicy"])
      demand(verdict, resource, key, (grants) => grants === undefined, "grants access by a list");
  },
  stackTypes: [BUCKET],
  wholeStack: eachBucketHas(OWNERSHIP, "no ownership controls, so its access control lists count", every),
};

/** Statements that refuse everything, to everybody, on one condition. */
const isEverybody = (principal: Value) => principal === "*" || at(principal, "AWS") === "*";

function refuses(document: Value, operator: string, key: string, fine: (value: Value) => boolean): boolean {
  return list(at(parsed(document), "Statement")).some((statement) => {
    const resources = list(at(statement, "Resource"));
    return (
      at(statement, "Effect") === "Deny" &&
      isEverybody(at(statement, "Principal")) &&
      [at(statement, "Action"), ...list(at(statement, "Action"))].includes("s3:*") &&
      resources.some((one) => isText(one) && !one.includes("*")) &&
      resources.some((one) => isText(one) && one.endsWith("/*")) &&
      fine(at(statement, `Condition.${operator}.${key}`)) &&
      Object.keys((at(statement, "Condition") as object | undefined) ?? {}).length === 1
    );
  });
}

const tls: Policy = {
  id: "bucket-tls-only",
  demands: "Every bucket refuses whoever comes without TLS, or with one before 1.2",
  severity: "high",
  controls: ["CIS AWS 3.0: 2.1.1", "CIS AWS 5.0: 2.1.1", "FSBP S3.5", "cdk-nag S10", "checkov CKV_AWS_379"],
  remedy:
    "Deny s3:* on the bucket and its objects where aws:SecureTransport is false, and where s3:TlsVersion is below 1.2",
  types: [BUCKET_POLICY],
  eachOf(resource, verdict) {
    const { policy } = resource.props;
    if (policy === UNKNOWN) verdict.violated(notLiteral("policy"));
    else if (!refuses(policy, "Bool", "aws:SecureTransport", (value) => String(value) === "false"))
      verdict.violated("connections without TLS are let in");
    else if (!refuses(policy, "NumericLessThan", "s3:TlsVersion", (version) => Number(version) >= 1.2))
      verdict.violated("old versions of TLS are let in");
  },
  stackTypes: [BUCKET],
  wholeStack: eachBucketHas(BUCKET_POLICY, "no policy", every),
};

const encrypted: Policy = {
  id: "bucket-encrypted",
  demands: "Every bucket says how it encrypts what it holds, with the stack file's key where there is one",
  severity: "high",
  controls: ["FSBP S3.17", "checkov CKV_AWS_19, 145"],
  remedy: "Give it a BucketServerSideEncryptionConfiguration with AES256, or with aws:kms, a key and bucketKeyEnabled",
  types: [ENCRYPTION],
  eachOf(resource, verdict) {
    const rules = at(resource.props, "rules");
    if (hasUnknown(rules)) return verdict.violated(notLiteral("rules"));
    const fine = list(rules).some((rule) => {
      const algorithm = at(rule, "applyServerSideEncryptionByDefault.sseAlgorithm");
      const key = at(rule, "applyServerSideEncryptionByDefault.kmsMasterKeyId");
      // Without a bucket key each object is a request to KMS, and paid for.
      return (
        algorithm === "AES256" || (algorithm === "aws:kms" && isText(key) && at(rule, "bucketKeyEnabled") === true)
      );
    });
    if (!fine) verdict.violated("no rule encrypts with AES256, or with a KMS key for the bucket");
  },
  stackTypes: [BUCKET],
  wholeStack: eachBucketHas(ENCRYPTION, "no encryption that it states", every),
};

const versioned: Policy = {
  id: "bucket-versioned",
  demands: "Every bucket but one for logs keeps what was overwritten or deleted",
  severity: "medium",
  controls: ["FSBP S3.14", "checkov CKV_AWS_21"],
  remedy: "Give it a BucketVersioning with status Enabled",
  types: [VERSIONING],
  eachOf: (resource, verdict) =>
    demand(verdict, resource, "versioningConfiguration.status", is("Enabled"), "is not Enabled"),
  stackTypes: [BUCKET],
  wholeStack: eachBucketHas(VERSIONING, "no versions", (bucket, all) => !takesLogs(bucket, all)),
};

const LONGEST_DAYS = { abandoned: 30, old: 365, logs: 400 } as const;

/** Whether a rule that counts for the whole bucket removes something within so many days. */
function removes(rules: Value, path: string, most: number): boolean {
  return list(rules).some(
    (rule) => at(rule, "status") === "Enabled" && at(rule, "filter.prefix") === "" && between(1, most)(at(rule, path)),
  );
}

const lifecycle: Policy = {
  id: "bucket-lifecycle",
  demands: "In every bucket abandoned uploads, old versions and old logs go by themselves",
  severity: "low",
  controls: ["FSBP S3.10", "FSBP S3.13", "checkov CKV2_AWS_61, CKV_AWS_300"],
  remedy:
    `Give it lifecycle rules for the whole bucket (filter.prefix ""): abandoned uploads within ${LONGEST_DAYS.abandoned} days, ` +
    `old versions within ${LONGEST_DAYS.old}; access logs within ${LONGEST_DAYS.logs}`,
  stackTypes: [BUCKET],
  wholeStack(resources, verdict) {
    for (const bucket of ofType(resources, BUCKET)) {
      const found = ofType(resources, LIFECYCLE).find((part) => isAbout(part, "bucket", bucket));
      const rules = at(found?.props, "rules");
      if (found === undefined) verdict.violated("the bucket has no lifecycle rules", bucket);
      else if (hasUnknown(rules)) verdict.violated(notLiteral("rules"), found);
      else if (takesLogs(bucket, resources)) {
        if (!removes(rules, "expiration.days", LONGEST_DAYS.logs))
          verdict.violated("its logs are kept for ever", found);
      } else {
        if (!removes(rules, "abortIncompleteMultipartUpload.daysAfterInitiation", LONGEST_DAYS.abandoned))
          verdict.violated("uploads that were abandoned are paid for, for ever", found);
        if (!removes(rules, "noncurrentVersionExpiration.noncurrentDays", LONGEST_DAYS.old))
          verdict.violated("old versions are paid for, for ever", found);
        if (
          list(rules).some(
            (rule) => at(rule, "expiration.days") !== undefined || at(rule, "expiration.date") !== undefined,
          )
        )
          verdict.violated("what is in use is deleted by its age", found);
      }
    }
  },
};

/** Whether the bucket's policy lets S3 write its logs there. */
function takesLogsAt(target: StackResource, prefix: Value, resources: readonly StackResource[]): boolean {
  const found = ofType(resources, BUCKET_POLICY).find((one) => isAbout(one, "bucket", target));
  if (!isText(prefix)) return false;
  return list(at(parsed(at(found?.props, "policy")), "Statement")).some(
    (statement) =>
      at(statement, "Effect") === "Allow" &&
      at(statement, "Principal.Service") === "logging.s3.amazonaws.com" &&
      list(at(statement, "Action")).includes("s3:PutObject") &&
      list(at(statement, "Resource")).some((one) => isText(one) && one.endsWith(`/${prefix}*`)),
  );
}

const logged: Policy = {
  id: "bucket-access-logged",
  demands: "Every bucket but one for logs has its accesses logged in another, which takes them",
  severity: "medium",
  controls: ["FSBP S3.9", "cdk-nag S1", "checkov CKV_AWS_18"],
  remedy:
    "Give it a BucketLogging to a second bucket, whose policy lets logging.s3.amazonaws.com write below the prefix",
  stackTypes: [BUCKET],
  wholeStack(resources, verdict) {
    const buckets = ofType(resources, BUCKET);
    for (const bucket of buckets) {
      if (takesLogs(bucket, resources)) continue;
      const own = ofType(resources, LOGGING).find((one) => isAbout(one, "bucket", bucket));
      const target = buckets.find((other) => own !== undefined && isAbout(own, "targetBucket", other, "bucket"));
      if (own === undefined || target === undefined || target === bucket)
        verdict.violated("accesses to the bucket are not logged in another of the stack", bucket);
      else if (!takesLogsAt(target, at(own.props, "targetPrefix"), resources))
        verdict.violated("the bucket for its logs does not take them", own);
    }
  },
};

const disks: Policy = {
  id: "disk-encrypted",
  demands: "Every disk is encrypted",
  severity: "high",
  controls: [
    "CIS AWS 3.0: 2.2.1",
    "CIS AWS 5.0: 5.1.1",
    "FSBP EC2.3",
    "FSBP EC2.7",
    "cdk-nag EC26",
    "checkov CKV_AWS_3, 8, 189",
  ],
  remedy: "Set encrypted: true on the volume, the root disk and every other disk of the instance",
  types: [DISK, INSTANCE],
  eachOf(resource, verdict) {
    const one = (path: string) => demand(verdict, resource, path, is(true), "is not true");
    if (resource.type === DISK) return one("encrypted");
    one("rootBlockDevice.encrypted");
    const others = at(resource.props, "ebsBlockDevices");
    if (others === UNKNOWN) verdict.violated(notLiteral("ebsBlockDevices"));
    else for (const index of list(others).keys()) one(`ebsBlockDevices.${index}.encrypted`);
  },
};

/** More would only cost; fewer than a week's would be gone before somebody comes back. */
const SNAPSHOTS_KEPT = { least: 7, most: 35 } as const;

const snapshots: Policy = {
  id: "data-snapshots",
  demands: "Every data disk has a snapshot each night, and a bounded number of them is kept",
  severity: "medium",
  controls: ["Security Hub EC2.28"],
  remedy:
    "Give it the tag that a LifecyclePolicy (state ENABLED) selects, with a schedule of 24 hours or less that keeps " +
    `${SNAPSHOTS_KEPT.least} to ${SNAPSHOTS_KEPT.most} snapshots and copies tags`,
  stackTypes: [DISK],
  wholeStack(resources, verdict) {
    const schedules = ofType(resources, SNAPSHOTS);
    for (const one of schedules) {
      const details = at(one.props, "policyDetails");
      const [schedule] = list(at(details, "schedules"));
      if (hasUnknown(details)) verdict.violated(notLiteral("policyDetails"), one);
      else if (at(one.props, "state") !== "ENABLED") verdict.violated("its snapshots are not enabled", one);
      else if (!list(at(details, "resourceTypes")).includes("VOLUME")) verdict.violated("it is not about volumes", one);
      else if (
        !between(1, 24)(at(schedule, "createRule.interval")) ||
        at(schedule, "createRule.intervalUnit") !== "HOURS" ||
        !isText(at(schedule, "createRule.times"))
      )
        verdict.violated("it makes no snapshot each night", one);
      else if (!between(SNAPSHOTS_KEPT.least, SNAPSHOTS_KEPT.most)(at(schedule, "retainRule.count")))
        verdict.violated("it keeps too few snapshots, or too many", one);
      else if (at(schedule, "copyTags") !== true) verdict.violated("its snapshots have no tags", one);
    }
    for (const disk of ofType(resources, DISK)) {
      const tags = at(disk.props, "tags");
      const selected = schedules.some((one) => {
        const wanted = Object.entries(asObject(at(one.props, "policyDetails.targetTags")));
        return wanted.length > 0 && wanted.every(([key, value]) => isObject(tags) && tags[key] === value);
      });
      if (!selected) verdict.violated("no LifecyclePolicy makes snapshots of the disk", disk);
    }
  },
};

const asObject = (value: Value) => (isObject(value) ? value : {});

/** Types that hold data, and the flag with which they would be destroyed together with it. */
const HOLDS_DATA: Readonly<Record<string, string | undefined>> = {
  [BUCKET]: "forceDestroy",
  [DISK]: undefined,
  [SNAPSHOTS]: undefined,
  [VOLUME]: "forceDelete",
  "aws:ecr/repository:Repository": "forceDelete",
};
/** Images can be built again; their tags cannot be lost with data. */
const NEEDS_NO_PROTECTION: readonly string[] = ["aws:ecr/repository:Repository"];

/** On this machine volumes are directories of the project; `make clean` alone removes them. */
const onThisMachine = (resource: Resource) => at(resource.props, "place.target") === "local";

const dataProtected: Policy = {
  id: "data-protected",
  demands: "What holds data is protected, and is not destroyed with what it holds, unless the stack is ephemeral",
  severity: "high",
  controls: [],
  remedy: "Set protect: true, and leave forceDestroy or forceDelete false; or say wmtp:ephemeral: true",
  types: Object.keys(HOLDS_DATA),
  eachOf(resource, verdict, { ephemeral, stack }) {
    if (ephemeral || onThisMachine(resource)) return;
    if (!resource.protect && !NEEDS_NO_PROTECTION.includes(resource.type)) verdict.violated("it is not protected");
    // A cache is everybody's; anything else that is nobody's may be filled, or deleted, by another stack.
    if (resource.type === VOLUME && !list(at(resource.props, "tags")).includes("cache"))
      demand(verdict, resource, "owner", is(stack), "is not this stack: another could fill or delete it");
    const flag = HOLDS_DATA[resource.type];
    if (flag !== undefined)
      demand(
        verdict,
        resource,
        flag,
        (forced) => forced === undefined || forced === false,
        "lets destroy take the data along",
      );
  },
};

export const storage: readonly Policy[] = [
  publicAccess,
  acls,
  tls,
  encrypted,
  versioned,
  lifecycle,
  logged,
  disks,
  snapshots,
  dataProtected,
];
