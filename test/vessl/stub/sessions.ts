/** Temporary S3 credentials: a key pair and a session token each, good for one volume, until they expire. */
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface Session {
  readonly token: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly bucket: string;
  /** Key prefix they are good for. */
  readonly prefix: string;
  readonly write: boolean;
  /** Milliseconds since 1970. */
  expiresAt: number;
  /** Requests left; undefined: no limit. */
  requestsLeft?: number;
}

/** Of the credentials' lifetime, unless a test shortens it. */
const HOUR_MS = 3_600_000;

export class Sessions {
  private readonly sessions = new Map<string, Session>();
  private readonly file: string;
  private requestsEach: number | undefined;
  private lifetimeMs = HOUR_MS;

  constructor(directory: string) {
    this.file = join(directory, "sessions.json");
    try {
      for (const session of JSON.parse(readFileSync(this.file, "utf8"))) this.sessions.set(session.token, session);
    } catch {} // the first start; or killed while writing, which is as if all had expired
  }

  issue(scope: Pick<Session, "bucket" | "prefix" | "write">): Session {
    const session: Session = {
      ...scope,
      token: randomBytes(96).toString("base64"),
      accessKeyId: `ASIA${randomBytes(8).toString("hex").toUpperCase()}`,
      secretAccessKey: randomBytes(30).toString("base64"),
      expiresAt: Date.now() + this.lifetimeMs,
      ...(this.requestsEach === undefined ? {} : { requestsLeft: this.requestsEach }),
    };
    this.sessions.set(session.token, session);
    this.save();
    return session;
  }

  find(token: string): Session | undefined {
    return this.sessions.get(token);
  }

  /** Whether the session is still good for a request, which is counted. */
  use(session: Session): boolean {
    if (session.expiresAt <= Date.now() || session.requestsLeft === 0) return false;
    if (session.requestsLeft !== undefined) session.requestsLeft -= 1;
    return true;
  }

  expireAll(): void {
    for (const session of this.sessions.values()) session.expiresAt = 0;
    this.save();
  }

  /** From now on credentials expire after so many requests or milliseconds; undefined: after an hour. */
  shorten({ requests, milliseconds }: { requests?: number; milliseconds?: number }): void {
    this.requestsEach = requests;
    this.lifetimeMs = milliseconds ?? HOUR_MS;
  }

  private save(): void {
    writeFileSync(this.file, JSON.stringify([...this.sessions.values()]));
  }
}
