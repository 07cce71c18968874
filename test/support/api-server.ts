/** A server in the place of the GPU cloud's API that answers each request as a test wants it. */
import { createServer, type IncomingMessage, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { VesslApi } from "../../launcher/vessl/api.ts";
import { type HttpTiming, VesslHttp } from "../../launcher/vessl/http.ts";

export const TOKEN = "planted-token-7d1e";

export interface ApiRequest {
  readonly method: string;
  /** Below `/api/v1`, without the query. */
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly body: unknown;
  readonly authorization: string | undefined;
  /** Milliseconds since 1970. */
  readonly at: number;
}

/** What a request gets: JSON with status 200, or this. */
export interface Reply {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly json?: unknown;
  readonly text?: string;
  /** `drop`: the connection is closed without an answer; `hang`: it stays open without one; `truncate`: half of the answer. */
  readonly fault?: "drop" | "hang" | "truncate";
}

/** No test waits for real. */
export const FAST: Partial<HttpTiming> = {
  attemptMs: 300,
  totalMs: 3_000,
  backoff: { firstMs: 5, factor: 2, longestMs: 20 },
};

export class ApiServer {
  readonly requests: ApiRequest[] = [];
  reply: (request: ApiRequest, count: number) => Reply = () => ({ json: {} });
  private readonly server: Server;

  private constructor(make: (listener: RequestListener) => Server) {
    this.server = make((incoming, outgoing) => {
      void this.read(incoming).then((request) => {
        this.requests.push(request);
        const { status = 200, headers = {}, json, text, fault } = this.reply(request, this.requests.length);
        if (fault === "hang") return;
        if (fault === "drop") return outgoing.destroy();
        const body = text ?? JSON.stringify(json ?? {});
        outgoing.writeHead(status, { "content-type": "application/json", ...headers });
        outgoing.end(fault === "truncate" ? body.slice(0, body.length / 2) : body);
      });
    });
  }

  static async start(make: (listener: RequestListener) => Server = createServer): Promise<ApiServer> {
    const server = new ApiServer(make);
    await new Promise<void>((ready) => server.server.listen(0, "127.0.0.1", ready));
    return server;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  http(timing: Partial<HttpTiming> = {}, stop?: AbortSignal): VesslHttp {
    return new VesslHttp(TOKEN, { base: this.url, timing: { ...FAST, ...timing }, ...(stop ? { stop } : {}) });
  }

  api(timing: Partial<HttpTiming> = {}): VesslApi {
    return new VesslApi(this.http(timing), "acme", "infra");
  }

  dispose(): void {
    this.server.close();
    this.server.closeAllConnections();
  }

  private async read(incoming: IncomingMessage): Promise<ApiRequest> {
    const at = Date.now();
    const url = new URL(incoming.url as string, this.url);
    const chunks: Buffer[] = [];
    for await (const chunk of incoming as AsyncIterable<Buffer>) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString();
    return {
      method: incoming.method as string,
      path: url.pathname.replace("/api/v1", ""),
      query: Object.fromEntries(url.searchParams),
      body: text === "" ? undefined : JSON.parse(text),
      authorization: incoming.headers.authorization,
      at,
    };
  }
}
