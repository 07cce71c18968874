/** What it takes to break the policies on storage. */

import { byHand } from "../support.ts";
import { type Cases, host, S3, set } from "./breaking.ts";

export const storage = {
  "bucket-public-access-blocked": [
    [
      "a flag that is false",
      (find) => set(find(`${S3}PublicAccessBlock:BucketPublicAccessBlock`, "store"), "ignorePublicAcls", false),
      ["bucket-public-access-blocked: store"],
      "ignorePublicAcls is not true",
    ],
    [
      "a bucket without",
      (find) => [
        byHand("aws:s3/bucket:Bucket", "bare", {}, { protect: true, provider: find("aws:ec2/vpc:Vpc").provider }),
      ],
      [
        "bucket-public-access-blocked: bare",
        "bucket-acls-off: bare",
        "bucket-tls-only: bare",
        "bucket-encrypted: bare",
        "bucket-versioned: bare",
        "bucket-lifecycle: bare",
        "bucket-access-logged: bare",
      ],
      "the bucket has no block of public access",
    ],
  ],
  "bucket-acls-off": [
    [
      "a public list",
      (find) => set(find(`${S3}:Bucket`, "store"), "acl", "public-read"),
      ["bucket-acls-off: store"],
      "acl is not private",
    ],
  ],
  "bucket-tls-only": [
    [
      "old versions of TLS",
      (find) => {
        const policy = find(`${S3}Policy:BucketPolicy`, "store");
        const document = JSON.parse(policy.props.policy as string);
        return set(policy, "policy", JSON.stringify({ ...document, Statement: [document.Statement[0]] }));
      },
      ["bucket-tls-only: store"],
      "old versions of TLS are let in",
    ],
  ],
  "bucket-encrypted": [
    [
      "no key",
      (find) =>
        set(
          find(`${S3}ServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration`, "store"),
          "rules.0.applyServerSideEncryptionByDefault",
          { sseAlgorithm: "aws:kms" },
        ),
      ["bucket-encrypted: store"],
      "no rule encrypts",
    ],
  ],
  "bucket-versioned": [
    [
      "suspended",
      (find) => set(find(`${S3}Versioning:BucketVersioning`), "versioningConfiguration.status", "Suspended"),
      ["bucket-versioned: store"],
      "versioningConfiguration.status is not Enabled",
    ],
  ],
  "bucket-lifecycle": [
    [
      "old versions for ever",
      (find) =>
        set(find(`${S3}LifecycleConfiguration:BucketLifecycleConfiguration`, "store"), "rules.1.status", "Disabled"),
      ["bucket-lifecycle: store"],
      "old versions are paid for, for ever",
    ],
  ],
  "bucket-access-logged": [
    [
      "a prefix that is refused",
      (find) => set(find(`${S3}Logging:BucketLogging`), "targetPrefix", "other/"),
      ["bucket-access-logged: store"],
      "the bucket for its logs does not take them",
    ],
  ],
  "disk-encrypted": [
    [
      "a root disk",
      host("rootBlockDevice.encrypted", undefined),
      ["disk-encrypted: tracker"],
      "rootBlockDevice.encrypted is not true",
    ],
    [
      "another disk",
      host("ebsBlockDevices", [{ deviceName: "/dev/sdg" }]),
      ["disk-encrypted: tracker"],
      "ebsBlockDevices.0.encrypted is not true",
    ],
  ],
  "data-snapshots": [
    [
      "another tag",
      (find) => set(find("aws:ebs/volume:Volume"), "tags", { Name: "x" }),
      ["data-snapshots: tracker"],
      "no LifecyclePolicy makes snapshots of the disk",
    ],
  ],
  "data-protected": [
    [
      "protect",
      (find) => void Object.assign(find("aws:ebs/volume:Volume"), { protect: false }),
      ["data-protected: tracker"],
      "it is not protected",
    ],
    [
      "nobody's volume",
      (find) => set(find("launcher:index:Volume", "datasets"), "owner", undefined),
      ["data-protected: datasets"],
      "owner is not this stack",
    ],
  ],
} satisfies Cases;
