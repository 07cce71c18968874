/**
 * S3 as the cloud gives it: in front of versitygw, which knows one key and no session tokens. Requests by that key pass as they are
 * ("the account's own bucket"). Temporary credentials are checked here (token, signature, bucket, prefix, right to write) and the
 * request is signed again with the one key. And here S3 fails, when a test orders it.
 */
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import { type FaultEffect, Faults } from "./faults.ts";
import type { Journal } from "./journal.ts";
import type { Session, Sessions } from "./sessions.ts";
import { type Authorization, authorize, parseAuthorization, type Signable, signatureOf, splitUrl } from "./sigv4.ts";
import { ROOT_KEY } from "./world.ts";

const ROOT = { accessKeyId: ROOT_KEY.accessKeyId, secret: ROOT_KEY.secretAccessKey };
/** Of one connection only, or the front's own business. */
const NOT_PASSED_ON = new Set(["connection", "keep-alive", "expect", "x-amz-security-token", "authorization"]);

class S3Refusal extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

const unknownKey = () =>
  new S3Refusal(403, "InvalidAccessKeyId", "The AWS access key id does not exist in our records.");

export class S3Front {
  readonly faults = new Faults();
  private readonly sessions: Sessions;
  private readonly gateway: { host: string; port: number };
  private readonly journal: Journal;

  constructor(sessions: Sessions, gateway: { host: string; port: number }, journal: Journal) {
    this.sessions = sessions;
    this.gateway = gateway;
    this.journal = journal;
  }

  server(): Server {
    // A request may be as long as a test lets it hang.
    return createServer({ requestTimeout: 0 }, (incoming, outgoing) => this.answer(incoming, outgoing));
  }

  private answer(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const url = incoming.url as string;
    const method = incoming.method as string;
    const effect = this.faults.take(method, url);
    outgoing.on("close", () =>
      this.journal.s3({ method, url, status: outgoing.headersSent ? outgoing.statusCode : 0 }),
    );
    if (effect === "hang") return void incoming.resume();
    if (effect === "refuse") return void incoming.socket.destroy();
    if (typeof effect === "object" && "status" in effect) {
      const code = effect.status === 503 ? "SlowDown" : "InternalError";
      refuse(incoming, outgoing, new S3Refusal(effect.status, code, "ordered by a test"));
      return;
    }
    if (typeof effect === "object" && "delayMs" in effect)
      return void setTimeout(() => this.pass(incoming, outgoing, undefined), effect.delayMs);
    this.pass(incoming, outgoing, effect);
  }

  private pass(incoming: IncomingMessage, outgoing: ServerResponse, effect: FaultEffect | undefined): void {
    let headers: Record<string, string>;
    try {
      headers = this.headersOf(incoming);
    } catch (error) {
      if (!(error instanceof S3Refusal)) throw error;
      refuse(incoming, outgoing, error);
      return;
    }
    const cut = typeof effect === "object" && "cutAfterBytes" in effect ? effect.cutAfterBytes : undefined;
    const abort = () => incoming.socket.destroy();
    const onward = request({ ...this.gateway, method: incoming.method, path: incoming.url, headers }, (answer) => {
      if (effect === "drop") {
        answer.resume().on("end", abort);
        return;
      }
      outgoing.writeHead(answer.statusCode as number, passedOn(answer.rawHeaders));
      answer.on("error", abort).pipe(outgoing);
      if (cut !== undefined && incoming.method === "GET") cutAfter(answer, cut, abort);
    });
    onward.on("error", abort);
    outgoing.on("close", () => onward.destroy());
    incoming.pipe(onward);
    if (cut !== undefined && incoming.method !== "GET") cutAfter(incoming, cut, abort);
  }

  /** Headers for versitygw. @throws S3Refusal for credentials that do not allow the request. */
  private headersOf(incoming: IncomingMessage): Record<string, string> {
    const given = { method: incoming.method as string, url: incoming.url as string, headers: headerMap(incoming) };
    const headers = Object.fromEntries(Object.entries(given.headers).filter(([name]) => !NOT_PASSED_ON.has(name)));
    const token = given.headers["x-amz-security-token"];
    if (token === undefined) {
      const { authorization } = given.headers;
      if (authorization === undefined) return headers;
      if (!authorization.includes(`=${ROOT.accessKeyId}/`)) throw unknownKey();
      return { ...headers, authorization };
    }
    const authorization = parseAuthorization(given.headers.authorization);
    if (authorization === undefined) throw new S3Refusal(403, "AccessDenied", "Access Denied");
    this.check(given, authorization, token);
    const signedHeaders = authorization.signedHeaders.filter((name) => !NOT_PASSED_ON.has(name));
    return { ...headers, authorization: authorize({ ...given, headers }, { ...authorization, signedHeaders }, ROOT) };
  }

  private check(given: Signable, authorization: Authorization, token: string): void {
    const session = this.sessions.find(token);
    if (session === undefined)
      throw new S3Refusal(400, "InvalidToken", "The provided token is malformed or otherwise invalid.");
    if (session.accessKeyId !== authorization.accessKeyId) throw unknownKey();
    if (signatureOf(given, authorization, session.secretAccessKey) !== authorization.signature)
      throw new S3Refusal(403, "SignatureDoesNotMatch", "The request signature we calculated does not match.");
    if (!allows(session, given)) throw new S3Refusal(403, "AccessDenied", "Access Denied");
    if (!this.sessions.use(session)) throw new S3Refusal(400, "ExpiredToken", "The provided token has expired.");
  }
}

/** Whether the request stays in the volume, and only reads where it may only read. */
function allows(session: Session, { method, url }: Signable): boolean {
  const [path, query] = splitUrl(url);
  const [, bucket, ...rest] = path.split("/").map(decodeURIComponent);
  const key = rest.join("/");
  const parameters = new URLSearchParams(query);
  if (bucket !== session.bucket) return false;
  // The keys of a bulk deletion are in its body, which is not looked into.
  if (key === "" && method === "POST" && parameters.has("delete")) return session.write;
  const below = key === "" ? (parameters.get("prefix") ?? "") : key;
  if (below !== session.prefix && !below.startsWith(`${session.prefix}/`)) return false;
  return session.write || method === "GET" || method === "HEAD";
}

function refuse(incoming: IncomingMessage, outgoing: ServerResponse, { status, code, message }: S3Refusal): void {
  const body = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${message}</Message></Error>`;
  incoming.resume(); // what the client still sends must not meet a closed connection
  outgoing.writeHead(status, { "content-type": "application/xml", "content-length": Buffer.byteLength(body) });
  outgoing.end(incoming.method === "HEAD" ? undefined : body);
}

function cutAfter(stream: IncomingMessage, bytes: number, abort: () => void): void {
  let seen = 0;
  stream.on("data", (chunk: Buffer) => {
    seen += chunk.length;
    if (seen >= bytes) abort();
  });
}

function headerMap(incoming: IncomingMessage): Record<string, string> {
  return Object.fromEntries(
    Object.entries(incoming.headersDistinct).map(([name, values]) => [name, (values as string[]).join(",")]),
  );
}

function passedOn(raw: readonly string[]): string[] {
  const kept: string[] = [];
  for (let index = 0; index < raw.length; index += 2)
    if (!NOT_PASSED_ON.has((raw[index] as string).toLowerCase()))
      kept.push(raw[index] as string, raw[index + 1] as string);
  return kept;
}
