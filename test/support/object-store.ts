/** A real S3 server with a front of our own before it, which counts what is asked and can answer in its place. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { S3Client } from "@aws-sdk/client-s3";
import type { S3Access } from "../../launcher/s3/prefix.ts";
import { eventually } from "./eventually.ts";

export const CREDENTIALS = { accessKeyId: "test-access-key", secretAccessKey: "test-secret-key" };
const BUCKET = "bucket";
const START_MS = 10_000;

/** One request, as the front saw it. */
export interface Asked {
  readonly method: string;
  /** Key, with its bucket. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** Of the body, as far as it came. */
  bytes: number;
  /** Undefined until the server has answered. */
  status?: number;
}

/** `hang`: no answer; `cut`: the connection is closed after part of the request; `truncate`: half of the answer. */
export type Fault = { readonly status: number; readonly code: string } | "hang" | "cut" | "truncate" | number;

export class ObjectStore {
  readonly asked: Asked[] = [];
  /** Called for every request; a number of milliseconds delays it, undefined lets it pass. */
  fault: (asked: Asked) => Fault | undefined = () => undefined;
  readonly root: string;
  private readonly gateway: ChildProcess;
  private readonly gatewayPort: number;
  private readonly front: Server;

  private constructor(root: string, gateway: ChildProcess, gatewayPort: number) {
    this.root = root;
    this.gateway = gateway;
    this.gatewayPort = gatewayPort;
    this.front = createServer((incoming, outgoing) => this.pass(incoming, outgoing));
  }

  static async start(): Promise<ObjectStore> {
    const program = execFileSync(resolve(import.meta.dirname, "..", "..", "tools", "object-store"), {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
    }).trim();
    const root = mkdtempSync(join(tmpdir(), "wmtp-s3-"));
    mkdirSync(join(root, BUCKET));
    const port = await freePort();
    const gateway = spawn(program, ["--port", `127.0.0.1:${port}`, "--quiet", "--keep-alive", "posix", root], {
      env: {
        PATH: process.env.PATH,
        ROOT_ACCESS_KEY: CREDENTIALS.accessKeyId,
        ROOT_SECRET_KEY: CREDENTIALS.secretAccessKey,
      },
      stdio: "ignore",
    });
    const store = new ObjectStore(root, gateway, port);
    await new Promise<void>((ready) => store.front.listen(0, "127.0.0.1", ready));
    await eventually(() => fetch(`http://127.0.0.1:${port}/`).then(Boolean, () => false), START_MS);
    return store;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.front.address() as AddressInfo).port}`;
  }

  access(prefix: string): S3Access {
    return {
      bucket: BUCKET,
      prefix,
      region: "us-east-1",
      endpoint: this.endpoint,
      forcePathStyle: true,
      credentials: CREDENTIALS,
    };
  }

  /** To put things there that are not ours; its requests do not pass the front. */
  get client(): S3Client {
    const endpoint = `http://127.0.0.1:${this.gatewayPort}`;
    return new S3Client({ endpoint, region: "us-east-1", forcePathStyle: true, credentials: CREDENTIALS });
  }

  /** Directory that a prefix is in. */
  directory(prefix: string): string {
    return join(this.root, BUCKET, prefix);
  }

  /** Requests that put content there. */
  get uploads(): Asked[] {
    return this.asked.filter(({ method }) => method === "PUT");
  }

  /** As if nothing had been asked, and without faults. */
  reset(): void {
    this.asked.length = 0;
    this.fault = () => undefined;
  }

  dispose(): void {
    this.front.close();
    this.front.closeAllConnections();
    this.gateway.kill("SIGKILL");
    rmSync(this.root, { recursive: true, force: true });
  }

  private pass(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const url = new URL(incoming.url as string, "http://front");
    const asked: Asked = {
      method: incoming.method as string,
      path: decodeURIComponent(url.pathname.slice(1)),
      query: url.searchParams,
      bytes: 0,
    };
    this.asked.push(asked);
    const fault = this.fault(asked);
    incoming.on("error", () => undefined); // the client was killed, or we cut it off
    const begin = () => {
      // Not before its body is taken: what nobody reads yet would be lost.
      incoming.on("data", (chunk: Buffer) => {
        asked.bytes += chunk.length;
      });
      if (fault === "hang") incoming.resume();
      else if (fault === "cut") cut(incoming);
      else if (typeof fault === "object") answer(incoming, outgoing, fault);
      else this.forward(incoming, outgoing, asked, fault);
    };
    if (typeof fault === "number") setTimeout(begin, fault);
    else begin();
  }

  private forward(incoming: IncomingMessage, outgoing: ServerResponse, asked: Asked, fault: Fault | undefined): void {
    const { expect: _, ...headers } = incoming.headers;
    const options = { port: this.gatewayPort, method: incoming.method, path: incoming.url, headers };
    const onward = request(options, (answered) => {
      asked.status = answered.statusCode as number;
      outgoing.writeHead(asked.status, answered.headers);
      if (fault === "truncate") {
        answered.once("data", (chunk: Buffer) => {
          outgoing.write(chunk.subarray(0, chunk.length / 2), () => outgoing.socket?.destroy());
        });
      } else answered.pipe(outgoing);
    });
    onward.on("error", () => outgoing.destroy());
    incoming.on("close", () => incoming.complete || onward.destroy());
    incoming.pipe(onward);
  }
}

/** In the middle of its body, if it has one. */
function cut(incoming: IncomingMessage): void {
  incoming.once("data", () => incoming.socket.destroy());
  incoming.once("end", () => incoming.socket.destroy());
}

/** After the whole request, so that the client can read it. The answer to HEAD has no body, as that of S3. */
function answer(incoming: IncomingMessage, outgoing: ServerResponse, fault: { status: number; code: string }): void {
  incoming.resume();
  incoming.on("end", () => {
    outgoing.writeHead(fault.status, { "content-type": "application/xml" });
    outgoing.end(
      incoming.method === "HEAD"
        ? undefined
        : `<?xml version="1.0"?><Error><Code>${fault.code}</Code><Message>as the test wants it</Message></Error>`,
    );
  });
}

function freePort(): Promise<number> {
  return new Promise((done) => {
    const server = createTcpServer();
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => done(port));
    });
  });
}
