import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { bucketArn, policyDocument, type Statement } from "./iam.ts";
import { type Transform, transform } from "./transform.ts";

export interface PrivateBucketArgs {
  /** @example "wmtp" */
  readonly bucket: string;
  /** @example "eu-north-1" */
  readonly region: string;
  /** KMS key that encrypts the objects; S3's own keys (SSE-S3) by default. */
  readonly kmsKeyArn?: string | undefined;
  /** Keeps what was overwritten or deleted. @default false */
  readonly versioned?: boolean;
  /** What others may do in it; nothing by default. */
  readonly statements?: readonly Statement[];
  readonly lifecycle: readonly aws.types.input.s3.BucketLifecycleConfigurationRule[];
  /** Not protected, destroyed with its content. @default false */
  readonly ephemeral?: boolean;
  readonly transform?: {
    readonly bucket?: Transform<aws.s3.BucketArgs> | undefined;
    readonly lifecycle?: Transform<aws.s3.BucketLifecycleConfigurationArgs> | undefined;
  };
}

/**
 * A bucket nobody outside the account sees, encrypted, reached by TLS only. Unless ephemeral it is protected, stays when the stack is
 * destroyed, and is never emptied by it.
 */
export class PrivateBucket extends pulumi.ComponentResource {
  readonly bucket: pulumi.Output<string>;

  constructor(name: string, args: PrivateBucketArgs, opts?: pulumi.ComponentResourceOptions) {
    const { transform: holes = {}, ...plain } = args;
    super("wmtp:index:PrivateBucket", name, plain, opts);
    const { region, kmsKeyArn, ephemeral = false } = args;
    const arn = bucketArn(region, args.bucket);
    // A bucket that stays must stay private, encrypted and versioned: what is set on it stays as well.
    const own = { parent: this, retainOnDelete: !ephemeral };
    const keep = { ...own, protect: !ephemeral };
    const { bucket } = new aws.s3.Bucket(
      ...transform(
        holes.bucket,
        name,
        { bucket: args.bucket, forceDestroy: ephemeral, tags: { Name: args.bucket } },
        keep,
      ),
    );
    const closed = new aws.s3.BucketPublicAccessBlock(
      name,
      { bucket, blockPublicAcls: true, blockPublicPolicy: true, ignorePublicAcls: true, restrictPublicBuckets: true },
      own,
    );
    const ownership = new aws.s3.BucketOwnershipControls(
      name,
      { bucket, rule: { objectOwnership: "BucketOwnerEnforced" } },
      // S3 refuses two changes of a bucket's access at once, so these three follow each other.
      { ...own, dependsOn: [closed] },
    );
    new aws.s3.BucketPolicy(
      name,
      { bucket, policy: policyDocument([...tlsOnly(arn), ...(args.statements ?? [])]) },
      { ...own, dependsOn: [ownership] },
    );
    new aws.s3.BucketServerSideEncryptionConfiguration(name, { bucket, rules: [encryption(kmsKeyArn)] }, own);
    const versioning = args.versioned
      ? [new aws.s3.BucketVersioning(name, { bucket, versioningConfiguration: { status: "Enabled" } }, own)]
      : [];
    new aws.s3.BucketLifecycleConfiguration(
      // Rules about old versions are refused while there are none.
      ...transform(holes.lifecycle, name, { bucket, rules: [...args.lifecycle] }, { ...own, dependsOn: versioning }),
    );
    this.bucket = bucket;
    this.registerOutputs({});
  }
}

function encryption(kmsKeyArn: string | undefined) {
  return kmsKeyArn === undefined
    ? { applyServerSideEncryptionByDefault: { sseAlgorithm: "AES256" } }
    : // One request to KMS per bucket and hour instead of one per object.
      {
        applyServerSideEncryptionByDefault: { sseAlgorithm: "aws:kms", kmsMasterKeyId: kmsKeyArn },
        bucketKeyEnabled: true,
      };
}

function tlsOnly(arn: string): Statement[] {
  const everything = { Effect: "Deny", Principal: "*", Action: ["s3:*"], Resource: [arn, `${arn}/*`] } as const;
  return [
    { Sid: "DenyWithoutTls", ...everything, Condition: { Bool: { "aws:SecureTransport": "false" } } },
    { Sid: "DenyOldTls", ...everything, Condition: { NumericLessThan: { "s3:TlsVersion": "1.2" } } },
  ];
}
