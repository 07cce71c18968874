/** AWS signature, version 4: checked with one key and made with another. */
import { createHash, createHmac } from "node:crypto";

export interface Signable {
  readonly method: string;
  /** As it was sent: percent-encoded, with the query. */
  readonly url: string;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
}

export interface Scope {
  /** `20261122` */
  readonly date: string;
  readonly region: string;
  readonly signedHeaders: readonly string[];
}

export interface Authorization extends Scope {
  readonly accessKeyId: string;
  readonly signature: string;
}

const FORM =
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/;

/** Undefined for a request that is not signed in its headers. */
export function parseAuthorization(header: string | undefined): Authorization | undefined {
  const match = FORM.exec(header ?? "");
  if (match === null) return undefined;
  const [, accessKeyId, date, region, signedHeaders, signature] = match as unknown as string[];
  return {
    accessKeyId: accessKeyId as string,
    date: date as string,
    region: region as string,
    signedHeaders: (signedHeaders as string).split(";"),
    signature: signature as string,
  };
}

export function signatureOf(request: Signable, { date, region, signedHeaders }: Scope, secret: string): string {
  const canonical = sha256(canonicalRequest(request, signedHeaders));
  const scope = `${date}/${region}/s3/aws4_request`;
  const text = `AWS4-HMAC-SHA256\n${request.headers["x-amz-date"]}\n${scope}\n${canonical}`;
  const key = [date, region, "s3", "aws4_request"].reduce<Buffer | string>(hmac, `AWS4${secret}`);
  return hmac(key, text).toString("hex");
}

/** The `authorization` header for the same request and scope by another key. */
export function authorize(request: Signable, scope: Scope, key: { accessKeyId: string; secret: string }): string {
  const credential = `${key.accessKeyId}/${scope.date}/${scope.region}/s3/aws4_request`;
  const signature = signatureOf(request, scope, key.secret);
  return `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=${scope.signedHeaders.join(";")}, Signature=${signature}`;
}

function canonicalRequest({ method, url, headers }: Signable, signedHeaders: readonly string[]): string {
  const [path, query] = splitUrl(url);
  const values = signedHeaders.map((name) => `${name}:${(headers[name] ?? "").trim().replace(/ +/g, " ")}\n`);
  return [
    method,
    path.split("/").map(recode).join("/"),
    query
      .split("&")
      .filter((pair) => pair !== "")
      .map((pair) => {
        const at = pair.indexOf("=");
        return at < 0 ? `${recode(pair)}=` : `${recode(pair.slice(0, at))}=${recode(pair.slice(at + 1))}`;
      })
      .sort()
      .join("&"),
    values.join(""),
    signedHeaders.join(";"),
    headers["x-amz-content-sha256"] ?? "UNSIGNED-PAYLOAD",
  ].join("\n");
}

export function splitUrl(url: string): [path: string, query: string] {
  const at = url.indexOf("?");
  return at < 0 ? [url, ""] : [url.slice(0, at), url.slice(at + 1)];
}

/** Percent-encoding as AWS defines it, whatever the client's own was. */
function recode(text: string): string {
  return encodeURIComponent(decodeURIComponent(text)).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
const hmac = (key: Buffer | string, text: string) => createHmac("sha256", key).update(text).digest();
