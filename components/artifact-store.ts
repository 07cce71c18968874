import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import { LOG_BUCKET_SUFFIX } from "./config-schema.ts";
import { bucketArn } from "./iam.ts";
import { PrivateBucket } from "./private-bucket.ts";
import { type Transform, transform } from "./transform.ts";

export interface ArtifactStoreArgs {
  /** S3 knows each name once, in all accounts. @example "wmtp" */
  readonly bucket: string;
  /** @example "eu-north-1" */
  readonly region: string;
  /** Uses a bucket that exists already and leaves its settings to its owner. @default false */
  readonly adopt?: boolean;
  /** KMS key that encrypts the objects; S3's own keys (SSE-S3) by default. */
  readonly kmsKeyArn?: string | undefined;
  /** @default false */
  readonly transferAcceleration?: boolean;
  /** A bucket for a test: not protected, destroyed with its content. @default false */
  readonly ephemeral?: boolean;
  readonly transform?: {
    readonly bucket?: Transform<aws.s3.BucketArgs>;
    readonly lifecycle?: Transform<aws.s3.BucketLifecycleConfigurationArgs>;
    readonly logging?: Transform<aws.s3.BucketLoggingArgs>;
  };
}

const LOG_PREFIX = "s3/";

/** After how many days what is of no more use goes. */
const DAYS = { abandonedUploads: 7, oldVersions: 30, accessLogs: 90 } as const;

/**
 * The bucket of the stack, with its access logs in a second one. Both stay when the stack is destroyed; what is overwritten or deleted
 * can be brought back for thirty days.
 *
 * ### Cost
 * What is stored: 100 GB of models and checkpoints at 0.023 USD are 2.30 USD a month; and what leaves AWS, at 0.09 USD per GB: the 27 GB
 * of a 7B model to a GPU cloud are 2.40 USD a fetch.
 */
export class ArtifactStore extends pulumi.ComponentResource {
  readonly bucketName: string;
  /** Known in a preview, before the bucket exists. */
  readonly bucketArn: string;
  readonly kmsKeyArn: string | undefined;

  constructor(name: string, args: ArtifactStoreArgs, opts?: pulumi.ComponentResourceOptions) {
    const { transform: holes = {}, ...plain } = args;
    super("wmtp:index:ArtifactStore", name, plain, opts);
    const { bucket, region, kmsKeyArn, ephemeral } = args;
    this.bucketName = bucket;
    this.bucketArn = bucketArn(region, bucket);
    this.kmsKeyArn = kmsKeyArn;
    if (args.adopt)
      aws.s3.getBucketOutput({ bucket }, { parent: this }); // fails the preview where there is none
    else this.make(name, { bucket, region, kmsKeyArn, ephemeral }, args.transferAcceleration ?? false, holes);
    this.registerOutputs({ bucketName: bucket });
  }

  private make(
    name: string,
    common: Pick<ArtifactStoreArgs, "bucket" | "region" | "kmsKeyArn" | "ephemeral">,
    accelerate: boolean,
    holes: NonNullable<ArtifactStoreArgs["transform"]>,
  ): void {
    const own = { parent: this };
    const { bucket } = new PrivateBucket(
      name,
      { ...common, versioned: true, lifecycle: LIFECYCLE, transform: holes },
      own,
    );
    const logName = `${common.bucket}${LOG_BUCKET_SUFFIX}`;
    const logs = new PrivateBucket(
      `${name}-access-logs`,
      {
        ...common,
        bucket: logName,
        kmsKeyArn: undefined, // log delivery writes with S3's own keys only
        lifecycle: LOG_LIFECYCLE,
        statements: [
          {
            Sid: "LogDelivery",
            Principal: { Service: "logging.s3.amazonaws.com" },
            Action: ["s3:PutObject"],
            Resource: [`${bucketArn(common.region, logName)}/${LOG_PREFIX}*`],
            Condition: { ArnLike: { "aws:SourceArn": this.bucketArn } },
          },
        ],
      },
      own,
    );
    new aws.s3.BucketLogging(
      ...transform(
        holes.logging,
        name,
        { bucket, targetBucket: logs.bucket, targetPrefix: LOG_PREFIX },
        { ...own, dependsOn: [logs] },
      ),
    );
    if (accelerate) new aws.s3.BucketAccelerateConfiguration(name, { bucket, status: "Enabled" }, own);
  }
}

const LIFECYCLE = [
  {
    id: "abandoned-uploads",
    status: "Enabled",
    filter: { prefix: "" },
    abortIncompleteMultipartUpload: { daysAfterInitiation: DAYS.abandonedUploads },
  },
  {
    id: "old-versions",
    status: "Enabled",
    filter: { prefix: "" },
    noncurrentVersionExpiration: { noncurrentDays: DAYS.oldVersions },
    expiration: { expiredObjectDeleteMarker: true },
  },
];

const LOG_LIFECYCLE = [
  { id: "expire", status: "Enabled", filter: { prefix: "" }, expiration: { days: DAYS.accessLogs } },
];
