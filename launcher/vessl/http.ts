/** JSON over HTTP with the GPU cloud's API: time-outs, repeats, and errors that say what to do. */
import { setTimeout as sleep } from "node:timers/promises";
import { type Backoff, jitteredWait } from "../backoff.ts";
import { messageOf } from "../errors.ts";
import { AnswerLost, refusal } from "./api-errors.ts";

export { AnswerLost, ApiError } from "./api-errors.ts";

export interface Call {
  readonly method: "GET" | "POST" | "PATCH" | "DELETE";
  /** Below `/api/v1`, names in it encoded. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number>>;
  readonly body?: unknown;
  /** Made twice it is as if made once, so that it may be repeated when its answer is lost. */
  readonly idempotent: boolean;
  /** The body holds a secret: an error repeats nothing that the server says. */
  readonly confidential?: boolean;
}

export interface HttpTiming {
  /** Per attempt, from connecting to the last byte of the answer. */
  readonly attemptMs: number;
  readonly attempts: number;
  /** No further attempt starts later than this after the first. */
  readonly totalMs: number;
  readonly backoff: Backoff;
}

const TIMING: HttpTiming = {
  attemptMs: 30_000,
  attempts: 5,
  totalMs: 60_000,
  backoff: { firstMs: 1_000, factor: 3, longestMs: 20_000 },
};

const DEFAULT_HOST = "https://api.vessl.ai";
const LOOPBACK = new Set(["localhost", "127.0.0.1", "[::1]"]);
const TRANSIENT = new Set([500, 502, 503, 504]);
/** Nothing was sent when these happen. */
const NOT_CONNECTED = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
]);
/** Codes of a certificate that does not convince; no repeat mends it. */
const UNTRUSTED = /CERT|SELF_SIGNED|UNABLE_TO_|ERR_TLS|ERR_SSL/;

/** An attempt that failed, and what may follow it. */
class Failure {
  readonly error: Error;
  /** `lost`: it may have taken effect; `refused`: it surely has not; `final`: neither, and repeating does not help. */
  readonly kind: "lost" | "refused" | "final";
  /** What the server asked us to wait. */
  readonly afterMs: number | undefined;

  constructor(kind: Failure["kind"], error: Error, afterMs?: number) {
    this.kind = kind;
    this.error = error;
    this.afterMs = afterMs;
  }
}

export class VesslHttp {
  /** Requests sent so far, repeats included. */
  callsMade = 0;
  private readonly token: string;
  private readonly base: string;
  private readonly timing: HttpTiming;
  private readonly stop: AbortSignal | undefined;

  /** @param stop ends every request and every wait, with its reason. */
  constructor(token: string, options: { base?: string; stop?: AbortSignal; timing?: Partial<HttpTiming> } = {}) {
    // Checked here because fetch quotes a header that it cannot send.
    if (!/^[\x21-\x7e]+$/.test(token))
      throw new Error("the access token holds spaces or other characters that no token has: copy it again");
    this.token = token;
    this.base = options.base ?? apiBase();
    this.timing = { ...TIMING, ...options.timing };
    this.stop = options.stop;
  }

  /**
   * The parsed answer.
   * @throws ApiError when the API refuses; AnswerLost when a call that is not idempotent may have taken effect; Error, with cause and
   * remedy, when the service does not answer.
   */
  async request(call: Call): Promise<unknown> {
    const began = Date.now();
    for (let attempt = 1; ; attempt += 1) {
      const outcome = await this.attempt(call);
      if (!(outcome instanceof Failure)) return outcome.answer;
      if (outcome.kind === "final") throw outcome.error;
      if (outcome.kind === "lost" && !call.idempotent) throw new AnswerLost(nameOf(call), outcome.error.message);
      const wait = Math.max(outcome.afterMs ?? 0, jitteredWait(this.timing.backoff, attempt));
      if (attempt >= this.timing.attempts || Date.now() + wait - began > this.timing.totalMs) throw outcome.error;
      await this.pause(wait);
    }
  }

  private async attempt(call: Call): Promise<{ answer: unknown } | Failure> {
    const timer = AbortSignal.timeout(this.timing.attemptMs);
    this.stop?.throwIfAborted();
    this.callsMade += 1;
    let response: Response;
    let text: string;
    try {
      response = await fetch(this.url(call), {
        method: call.method,
        headers: {
          Authorization: `Token ${this.token}`,
          Accept: "application/json",
          ...(call.body === undefined ? {} : { "Content-Type": "application/json" }),
        },
        ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
        redirect: "manual", // the token goes to the host that was named, and to no other
        signal: this.stop === undefined ? timer : AbortSignal.any([timer, this.stop]),
      });
      text = await response.text();
    } catch (error) {
      this.stop?.throwIfAborted();
      return this.unanswered(call, error, timer.aborted);
    }
    return this.judge(call, response, text);
  }

  private unanswered(call: Call, error: unknown, timedOut: boolean): Failure {
    const name = nameOf(call);
    if (timedOut)
      return new Failure(
        "lost",
        new Error(
          `${this.base} did not answer ${name} within ${this.timing.attemptMs / 1000} s: try again later, or check the network`,
        ),
      );
    const code = codeOf(error);
    if (UNTRUSTED.test(code))
      return new Failure(
        "final",
        new Error(
          `the certificate of ${this.base} is not trusted (${code}): if its authority is your own, name its file in NODE_EXTRA_CA_CERTS`,
        ),
      );
    return new Failure(
      NOT_CONNECTED.has(code) ? "refused" : "lost",
      new Error(`${this.base} cannot be reached (${code} at ${name}): check the network, a proxy, and VESSL_API_HOST`),
    );
  }

  private judge(call: Call, response: Response, text: string): { answer: unknown } | Failure {
    const name = nameOf(call);
    const { status } = response;
    const body = parseJson(text);
    if (response.ok) {
      if (text === "" || body !== undefined) return { answer: body };
      return new Failure(
        "lost",
        new Error(
          `${this.base} answered ${name} with something that is not whole JSON: check VESSL_API_HOST and proxies`,
        ),
      );
    }
    const error = refusal(name, status, body, this.token, call.confidential === true);
    const after = retryAfter(response.headers.get("retry-after"));
    if (status === 429) return new Failure("refused", error, after);
    return TRANSIENT.has(status) ? new Failure("lost", error, after) : new Failure("final", error);
  }

  private url({ path, query = {} }: Call): string {
    const search = new URLSearchParams(
      Object.fromEntries(Object.entries(query).map(([key, value]) => [key, String(value)])),
    ).toString();
    return `${this.base}/api/v1${path}${search === "" ? "" : `?${search}`}`;
  }

  private async pause(milliseconds: number): Promise<void> {
    try {
      await sleep(milliseconds, undefined, { ...(this.stop ? { signal: this.stop } : {}) });
    } catch (error) {
      throw this.stop?.aborted ? this.stop.reason : error;
    }
  }
}

/**
 * VESSL_API_HOST, or the cloud's own address; without a slash at its end.
 * @throws Error for anything the token must not be sent to: plain http to another machine, or TLS that nobody verifies.
 */
export function apiBase(env: NodeJS.ProcessEnv = process.env): string {
  const given = env.VESSL_API_HOST || DEFAULT_HOST;
  const url = URL.canParse(given) ? new URL(given) : undefined;
  if (
    url === undefined ||
    !/^https?:$/.test(url.protocol) ||
    url.username !== "" ||
    url.search !== "" ||
    url.hash !== ""
  )
    throw new Error(`VESSL_API_HOST is no address like ${DEFAULT_HOST}: correct it, or unset it`);
  if (url.protocol === "http:" && !LOOPBACK.has(url.hostname))
    throw new Error(`VESSL_API_HOST is ${url.origin}: the access token would travel in clear text; use https`);
  if (url.protocol === "https:" && env.NODE_TLS_REJECT_UNAUTHORIZED === "0")
    throw new Error(
      "NODE_TLS_REJECT_UNAUTHORIZED=0 turns off the check of certificates: unset it, and name your own authority's file in NODE_EXTRA_CA_CERTS",
    );
  return `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
}

function nameOf({ method, path }: Call): string {
  return `${method} ${path}`;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** fetch hides the cause in the cause, and one for each address tried in a list below that. */
function codeOf(error: unknown): string {
  const { cause } = error as { cause?: { code?: string; errors?: { code?: string }[] } };
  return cause?.code ?? cause?.errors?.[0]?.code ?? messageOf(cause ?? error);
}

/** Seconds, or a date; undefined when it is neither. */
function retryAfter(header: string | null): number | undefined {
  if (header === null) return undefined;
  const milliseconds = /^\d+$/.test(header.trim()) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isNaN(milliseconds) ? undefined : Math.max(0, milliseconds);
}
