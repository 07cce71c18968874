/** The files below one key prefix of one bucket. Credentials that run out are renewed on the way, and what failed is repeated. */
import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import { setTimeout as sleep } from "node:timers/promises";
import {
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  S3Client,
} from "@aws-sdk/client-s3";
import { type Backoff, jitteredWait } from "../backoff.ts";
import { type Action, codeOf, explain, statusOf, type Trouble, troubleOf } from "./s3-errors.ts";

/** Where the files are, and how one gets at them. */
export interface S3Access {
  readonly bucket: string;
  /** Of the keys; `""` is the whole bucket. */
  readonly prefix: string;
  readonly region: string;
  /** @default AWS_ENDPOINT_URL_S3, or AWS's own */
  readonly endpoint?: string | undefined;
  /** The bucket in the path, not in the host's name. @default true when AWS_ENDPOINT_URL_S3 names a server of one's own */
  readonly forcePathStyle?: boolean | undefined;
  /** @default the standard chain: environment, profile, SSO, instance */
  readonly credentials?:
    | { readonly accessKeyId: string; readonly secretAccessKey: string; readonly sessionToken?: string | undefined }
    | undefined;
  /** When the credentials run out: milliseconds since 1970. */
  readonly expiration?: number | undefined;
}

export interface S3File {
  /** Bytes. */
  readonly size: number;
  /** Without quotes. */
  readonly etag: string;
}

/** An opened access; requests that begin while it is the current one use it to their end. */
export interface S3Session {
  readonly client: S3Client;
  readonly bucket: string;
  /** Key of a path below the prefix. */
  key(path: string): string;
}

export interface S3Timing {
  readonly attempts: number;
  readonly backoff: Backoff;
  /** A connection on which nothing moves for so long is given up. */
  readonly idleMs: number;
}

const TIMING: S3Timing = {
  attempts: 8,
  backoff: { firstMs: 500, factor: 2, longestMs: 20_000 },
  idleMs: 60_000,
};
const CONNECT_MS = 10_000;
const SOCKETS = 32;
/** Renewals for one request. Lent credentials may run out again while others use them up; one's own are the same after one. */
const RENEWALS = { lent: 6, own: 1 };
/** Renewed so long before they run out, or at the last fifth of a life that is shorter. */
const MARGIN_MS = 5 * 60_000;
const DELETES_A_REQUEST = 1000;

const LIST: Action = { name: "list", permission: "s3:ListBucket" };
const READ: Action = { name: "read", permission: "s3:GetObject" };
const DELETE: Action = { name: "delete", permission: "s3:DeleteObject" };

interface Opened extends S3Session {
  readonly access: S3Access;
  /** Milliseconds since 1970. */
  readonly renewAt: number;
}

export class S3Prefix {
  private readonly open: () => Promise<S3Access>;
  private readonly timing: S3Timing;
  private readonly agents: { httpAgent: HttpAgent; httpsAgent: HttpsAgent };
  private opened: Promise<Opened> | undefined;
  /** What `opened` became. */
  private current: Opened | undefined;

  /** @param open is called again whenever the credentials run out; bucket and prefix must stay the same. */
  constructor(open: () => Promise<S3Access>, timing: Partial<S3Timing> = {}) {
    this.open = open;
    this.timing = { ...TIMING, ...timing };
    // Shared by the clients of all sessions, so that connections outlive credentials.
    const options = { keepAlive: true, maxSockets: SOCKETS };
    this.agents = { httpAgent: new HttpAgent(options), httpsAgent: new HttpsAgent(options) };
  }

  /** Everything below the prefix by its path there, in the order of the keys. Markers of empty directories are no files. */
  async list(): Promise<Map<string, S3File>> {
    const files = new Map<string, S3File>();
    for (let token: string | undefined, last = false; !last; ) {
      const answer = await this.request(LIST, async ({ client, bucket, key }) => {
        const base = key("");
        const page = await client.send(
          new ListObjectsV2Command({ Bucket: bucket, Prefix: base, ContinuationToken: token, EncodingType: "url" }),
        );
        return { page, base };
      });
      const { page, base } = answer;
      const decode = page.EncodingType === "url" ? decodeKey : (key: string) => key;
      for (const { Key = "", Size = 0, ETag = "" } of page.Contents ?? []) {
        const path = decode(Key).slice(base.length);
        const marker = path === "" || (path.endsWith("/") && Size === 0);
        if (!marker) files.set(path, { size: Size, etag: ETag.replaceAll('"', "") });
      }
      token = page.NextContinuationToken;
      last = page.IsTruncated !== true || token === undefined;
    }
    return files;
  }

  /** The whole file as text; undefined when there is none. */
  async read(path: string): Promise<string | undefined> {
    return this.request(READ, async ({ client, bucket, key }) => {
      try {
        const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key(path) }));
        return await Body?.transformToString();
      } catch (error) {
        if (codeOf(error) === "NoSuchKey") return undefined;
        throw error;
      }
    });
  }

  /** The user metadata of a file; undefined when there is no such file. */
  async metadata(path: string): Promise<Readonly<Record<string, string>> | undefined> {
    return this.request(READ, async ({ client, bucket, key }) => {
      try {
        return (await client.send(new HeadObjectCommand({ Bucket: bucket, Key: key(path) }))).Metadata ?? {};
      } catch (error) {
        if (statusOf(error) === 404) return undefined;
        throw error;
      }
    });
  }

  /** Whether there is a file of this path, or any below it. `""`: any at all. */
  async exists(path: string): Promise<boolean> {
    const below = this.request(LIST, async ({ client, bucket, key }) => {
      const prefix = path === "" ? key("") : `${key(path)}/`;
      const found = await client.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, MaxKeys: 1 }));
      return (found.Contents?.length ?? 0) > 0;
    });
    return (await below) || (path !== "" && (await this.metadata(path)) !== undefined);
  }

  /** Paths that are not there are what was wanted. */
  async delete(paths: readonly string[]): Promise<void> {
    for (let start = 0; start < paths.length; start += DELETES_A_REQUEST) {
      const some = paths.slice(start, start + DELETES_A_REQUEST);
      await this.request(DELETE, async ({ client, bucket, key }) => {
        const Delete = { Objects: some.map((path) => ({ Key: key(path) })), Quiet: true };
        const { Errors = [] } = await client.send(new DeleteObjectsCommand({ Bucket: bucket, Delete }));
        const [failed] = Errors;
        // Shaped like the error that a request of its own would have ended with, for it is judged by that.
        if (failed !== undefined)
          throw Object.assign(new Error(`${failed.Key}: ${failed.Message}`), {
            name: failed.Code ?? "InternalError",
            $metadata: { httpStatusCode: failed.Code === "InternalError" || failed.Code === undefined ? 500 : 400 },
          });
      });
    }
  }

  /**
   * Runs one request, again after trouble that passes, and with new credentials when those in use ran out. `run` may be called
   * several times.
   * @throws Error with cause and remedy.
   */
  async request<T>(action: Action, run: (session: S3Session) => Promise<T>): Promise<T> {
    let renewals = 0;
    for (let failed = 0; ; ) {
      const session = await this.session();
      try {
        return await run(session);
      } catch (error) {
        const trouble = troubleOf(error);
        const own = session.access.credentials === undefined;
        if (trouble === "credentials") renewals += 1;
        else failed += 1;
        const hopeless =
          trouble === "final" || renewals > (own ? RENEWALS.own : RENEWALS.lent) || failed >= this.timing.attempts;
        if (hopeless) throw explain(error, action, session.access, own);
        if (mayBeCredentials(trouble, failed)) this.forget(session);
        if (trouble !== "credentials" || renewals > 2)
          await sleep(jitteredWait(this.timing.backoff, Math.max(failed, 1)));
      }
    }
  }

  private async session(): Promise<Opened> {
    const session = await (this.opened ?? this.reopen());
    if (Date.now() < session.renewAt) return session;
    this.forget(session);
    return this.opened ?? this.reopen();
  }

  /** Once for all who wait; one that fails is tried again by the next who asks. */
  private reopen(): Promise<Opened> {
    const opened = this.start();
    this.opened = opened;
    opened.catch(() => {
      if (this.opened === opened) this.opened = undefined;
    });
    return opened;
  }

  private async start(): Promise<Opened> {
    const now = Date.now();
    const access = await this.open();
    const life = access.expiration === undefined ? Number.POSITIVE_INFINITY : access.expiration - now;
    const ownServer = Boolean(process.env.AWS_ENDPOINT_URL_S3 || process.env.AWS_ENDPOINT_URL);
    const client = new S3Client({
      region: access.region,
      ...(access.endpoint === undefined ? {} : { endpoint: access.endpoint }),
      forcePathStyle: access.forcePathStyle ?? (access.endpoint === undefined && ownServer),
      ...(access.credentials === undefined ? {} : { credentials: access.credentials }),
      maxAttempts: 1, // repeats are ours: only we can renew credentials
      requestChecksumCalculation: "WHEN_REQUIRED",
      responseChecksumValidation: "WHEN_REQUIRED",
      requestHandler: { ...this.agents, connectionTimeout: CONNECT_MS, socketTimeout: this.timing.idleMs },
    });
    const base = access.prefix.replace(/^\/+|\/+$/g, "");
    const session: Opened = {
      access,
      client,
      bucket: access.bucket,
      key: (path) => (base === "" ? path : `${base}/${path}`),
      // The life of credentials that came expired is not negative: the store, not our clock, says so.
      renewAt: life <= 0 ? Number.POSITIVE_INFINITY : now + life - Math.min(MARGIN_MS, life / 5),
    };
    this.current = session;
    return session;
  }

  /** Requests from now on get new credentials, unless somebody has seen to that. */
  private forget(session: Opened): void {
    if (this.current !== session) return;
    this.current = undefined;
    this.opened = undefined;
  }
}

/** A store that refuses an upload may cut the connection before the client has read why. */
function mayBeCredentials(trouble: Trouble, failed: number): boolean {
  return trouble === "credentials" || (trouble === "unreachable" && failed > 1);
}

function decodeKey(key: string): string {
  return decodeURIComponent(key.replaceAll("+", " "));
}
