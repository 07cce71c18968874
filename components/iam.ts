/** IAM documents as plain data, so that a preview shows them whole and a test can read them. */

export interface Statement {
  readonly Sid: string;
  readonly Effect?: "Allow" | "Deny";
  readonly Principal?: "*" | { readonly Service: string };
  readonly Action: readonly string[];
  readonly Resource?: readonly string[];
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, string | readonly string[]>>>>;
}

/** The JSON of a policy; a statement allows unless it says otherwise. */
export function policyDocument(statements: readonly Statement[]): string {
  return JSON.stringify({
    Version: "2012-10-17",
    Statement: statements.map((statement) => ({ Effect: "Allow", ...statement })),
  });
}

/** Lets a service of AWS take a role, for this account's resources only. @param service for example "ec2.amazonaws.com" */
export function trustOf(service: string): string {
  return policyDocument([{ Sid: "Trust", Principal: { Service: service }, Action: ["sts:AssumeRole"] }]);
}

/** @returns "aws", or the partition of China's and GovCloud's regions. */
export function partitionOf(region: string): string {
  if (region.startsWith("cn-")) return "aws-cn";
  return region.startsWith("us-gov-") ? "aws-us-gov" : "aws";
}

/** ARN of a bucket, known before it exists. */
export function bucketArn(region: string, bucket: string): string {
  return `arn:${partitionOf(region)}:s3:::${bucket}`;
}

export interface PrefixAccess {
  readonly bucketArn: string;
  /** Prefixes to read, each ending in a slash. */
  readonly read: readonly string[];
  /** Prefixes to read, write and delete in. */
  readonly write: readonly string[];
  /** The bucket's key, if it has one of its own. */
  readonly kmsKeyArn?: string | undefined;
}

/** What reading and writing below prefixes takes, and nothing beside them. */
export function prefixAccess({ bucketArn, read, write, kmsKeyArn }: PrefixAccess): Statement[] {
  const objects = (prefixes: readonly string[]) => prefixes.map((prefix) => `${bucketArn}/${prefix}*`);
  const statements: Statement[] = [
    {
      Sid: "ListOwnPrefixes",
      Action: ["s3:ListBucket", "s3:ListBucketMultipartUploads"],
      Resource: [bucketArn],
      Condition: { StringLike: { "s3:prefix": [...read, ...write].map((prefix) => `${prefix}*`) } },
    },
    { Sid: "FindBucket", Action: ["s3:GetBucketLocation"], Resource: [bucketArn] },
    // The attributes carry the checksum that a download is compared with.
    { Sid: "Read", Action: ["s3:GetObject", "s3:GetObjectAttributes"], Resource: objects([...read, ...write]) },
    {
      Sid: "Write",
      Action: ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
      Resource: objects(write),
    },
  ];
  if (kmsKeyArn !== undefined) {
    statements.push({ Sid: "UseKey", Action: ["kms:Decrypt", "kms:GenerateDataKey"], Resource: [kmsKeyArn] });
  }
  return statements;
}
