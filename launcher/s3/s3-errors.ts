/** What an object store answers when it does not do what it is asked, sorted by what may help, and said as cause and remedy. */
import { messageOf } from "../errors.ts";

/** A request, for messages. */
export interface Action {
  /** @example "list" */
  readonly name: string;
  /** What a policy must allow for it. @example "s3:ListBucket" */
  readonly permission: string;
}

/** Where the request went. */
export interface Place {
  readonly bucket: string;
  readonly prefix: string;
  readonly region: string;
}

/**
 * `credentials`: new ones may help; `unreachable`: no whole answer came; `transient`: the store has trouble or is too busy; `final`:
 * the same request gets the same answer.
 */
export type Trouble = "credentials" | "unreachable" | "transient" | "final";

const CREDENTIALS = new Set([
  "ExpiredToken",
  "ExpiredTokenException",
  "TokenRefreshRequired",
  "InvalidToken",
  "InvalidAccessKeyId",
]);
/** Besides every status from 500 on. */
const TRANSIENT = new Set([
  "SlowDown",
  "RequestTimeout",
  "RequestTimeTooSkewed",
  "IncompleteBody",
  "BadDigest",
  "OperationAborted",
  "TooManyRequests",
]);

export function troubleOf(error: unknown): Trouble {
  const status = statusOf(error);
  const name = codeOf(error);
  if (name === "CredentialsProviderError" || status === 501) return "final";
  if (CREDENTIALS.has(name)) return "credentials";
  // The answer to HEAD has no body, so that it does not say why.
  if ((status === 400 || status === 403) && messageOf(error) === "UnknownError") return "credentials";
  if (status === undefined || status < 300) return "unreachable";
  return status >= 500 || status === 429 || TRANSIENT.has(name) ? "transient" : "final";
}

/** The store's name for an error, for example `NoSuchKey`; that of Node for one of the network. */
export function codeOf(error: unknown): string {
  const { code, name } = error as { code?: unknown; name?: unknown };
  return typeof code === "string" ? code : String(name);
}

export function statusOf(error: unknown): number | undefined {
  return (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode;
}

/** @param ours the credentials are the account's own, by the standard chain, and not lent by the GPU cloud. */
export function explain(error: unknown, action: Action, place: Place, ours: boolean): Error {
  return new Error(sentence(error, action, place, ours), { cause: error });
}

/** Some stores say where a bucket is. */
function regionOf(error: unknown): string {
  const { Region } = error as { Region?: unknown };
  return typeof Region === "string" ? `in region ${Region}` : "in another region";
}

function sentence(error: unknown, { name, permission }: Action, place: Place, ours: boolean): string {
  const where = place.prefix === "" ? `s3://${place.bucket}` : `s3://${place.bucket}/${place.prefix}`;
  const code = codeOf(error);
  const trouble = troubleOf(error);
  const status = statusOf(error);
  if (code === "CredentialsProviderError")
    return `no AWS credentials to ${name} ${where}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE`;
  if (code === "SignatureDoesNotMatch")
    return `${where} refused ${name}: ${ours ? "AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID: set both anew" : "the credentials that the GPU cloud lent are not valid: run pulumi up again"}`;
  if (code === "AccessDenied" || status === 403)
    return `${where} denied ${name}: ${ours ? `give the AWS credentials ${permission} on it` : `the credentials that the GPU cloud lent lack ${permission}: ask an owner of the organization`}`;
  if (trouble === "credentials")
    return `${where} refused ${name} (${code}): ${ours ? "the AWS credentials have expired or are unknown there: log in again, or set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN anew" : "the credentials that the GPU cloud lent are not valid: run pulumi up again"}`;
  if (code === "NoSuchBucket")
    return `bucket ${place.bucket} does not exist in ${place.region}: create it, or correct its name and region`;
  if (code === "PermanentRedirect" || code === "AuthorizationHeaderMalformed" || status === 301)
    return `bucket ${place.bucket} is ${regionOf(error)}, not in ${place.region}: correct the region`;
  if (trouble === "unreachable")
    return `${where} cannot be reached to ${name} (${code}): check the network and AWS_ENDPOINT_URL_S3`;
  if (trouble === "transient")
    return `${where} has trouble with ${name} (${code}), also after several attempts: try again later`;
  return `${where} refused ${name} (${code}): ${messageOf(error)}`;
}
