/** S3, ECR, Secrets Manager and KMS. */
import type { ResourceType } from "../package.ts";
import type { Properties } from "../wire.ts";
import { account } from "./account.ts";
import { attached, hash, named, numbered } from "./invent.ts";

/** What follows from a bucket's name alone, for the resource and for `getBucket`. */
export function bucketOutputs(bucket: string): Properties {
  return {
    arn: account.arn("s3", bucket, { region: "", account: "" }),
    bucketDomainName: `${bucket}.s3.amazonaws.com`,
    bucketRegion: account.region,
    bucketRegionalDomainName: `${bucket}.s3.${account.region}.amazonaws.com`,
    hostedZoneId: `Z${hash(account.region, 13).toUpperCase()}`,
  };
}

export function registryHost(): string {
  return `${account.id}.dkr.ecr.${account.region}.amazonaws.com`;
}

const ofBucket = attached(["bucket"], { replaces: ["bucket", "expectedBucketOwner"] });

export const storageTypes: Readonly<Record<string, ResourceType>> = {
  "aws:s3/bucket:Bucket": named(
    "bucket",
    {
      replaces: ["bucket", "bucketPrefix", "bucketNamespace", "objectLockEnabled"],
      adopt: (id) => ({ bucket: id }),
      delete: async (id, { objects, forceDestroy }) => {
        // How many there are only a hook can know: {"objects": 3}.
        if (Number(objects ?? 0) === 0 || forceDestroy === true) return;
        throw new Error(
          `BucketNotEmpty: bucket ${id} holds ${objects} objects and forceDestroy is not set: empty it first`,
        );
      },
    },
    (id, inputs) => ({ ...bucketOutputs(id), tagsAll: account.tagsAll(inputs) }),
  ),
  "aws:s3/bucketAccelerateConfiguration:BucketAccelerateConfiguration": ofBucket,
  "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": ofBucket,
  "aws:s3/bucketLogging:BucketLogging": ofBucket,
  "aws:s3/bucketOwnershipControls:BucketOwnershipControls": ofBucket,
  "aws:s3/bucketPolicy:BucketPolicy": ofBucket,
  "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": ofBucket,
  "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": ofBucket,
  "aws:s3/bucketVersioning:BucketVersioning": ofBucket,

  "aws:ecr/repository:Repository": named("name", { replaces: ["name", "encryptionConfigurations"] }, (id, inputs) => ({
    arn: account.arn("ecr", `repository/${id}`),
    registryId: account.id,
    repositoryUrl: `${registryHost()}/${id}`,
    tagsAll: account.tagsAll(inputs),
  })),
  "aws:ecr/lifecyclePolicy:LifecyclePolicy": attached(["repository"], { replaces: ["repository", "policy"] }, () => ({
    registryId: account.id,
  })),

  "aws:secretsmanager/secret:Secret": named(
    "name",
    {
      replaces: ["name", "namePrefix"],
      create: async (inputs, context) => ({
        id: account.arn("secretsmanager", `secret:${inputs.name}-${context.suffix("secret", 6)}`),
        outputs: {},
      }),
    },
    (id, inputs) => ({ arn: id, tagsAll: account.tagsAll(inputs) }),
  ),
  "aws:secretsmanager/secretVersion:SecretVersion": {
    replaces: ["region", "secretId", "secretString", "secretBinary"],
    create: async (inputs, context) => {
      const versionId = uuid(context.suffix(JSON.stringify(inputs.secretId), 32));
      return {
        id: `${inputs.secretId}|${versionId}`,
        outputs: { arn: inputs.secretId, secretArn: inputs.secretId, versionId, versionStages: ["AWSCURRENT"] },
      };
    },
    derive: (_, inputs) => ({ region: inputs.region ?? account.region }),
  },

  "aws:kms/key:Key": {
    ...numbered("key", { replaces: ["customerMasterKeySpec", "keyUsage", "multiRegion"] }, (id, inputs) => ({
      arn: account.arn("kms", `key/${id}`),
      keyId: id,
      tagsAll: account.tagsAll(inputs),
    })),
    create: async (_, context) => ({ id: uuid(context.suffix("key", 32)), outputs: {} }),
  },
  "aws:kms/alias:Alias": attached(["name"], { replaces: ["name"] }, (id, inputs) => ({
    arn: account.arn("kms", id),
    targetKeyArn: account.arn("kms", `key/${inputs.targetKeyId}`),
  })),
};

function uuid(digits: string): string {
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
