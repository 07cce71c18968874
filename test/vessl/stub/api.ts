/** The API's server: who may ask, which fault strikes, and what is answered. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { invalid, notFound, Refusal, unauthorized } from "./answers.ts";
import { type FaultEffect, Faults } from "./faults.ts";
import type { Journal } from "./journal.ts";
import type { Routes } from "./routes.ts";
import type { State } from "./state.ts";
import { TOKEN } from "./world.ts";

const BASE = "/api/v1";

interface Given {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly authorization: string | undefined;
  readonly body: unknown;
}

export class Api {
  readonly faults = new Faults();
  private readonly routes: Routes;
  private readonly state: State;
  private readonly journal: Journal;

  constructor(routes: Routes, state: State, journal: Journal) {
    this.routes = routes;
    this.state = state;
    this.journal = journal;
  }

  server(): Server {
    return createServer((incoming, outgoing) => void this.serve(incoming, outgoing));
  }

  private async serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const { pathname: path, search: query } = new URL(`http://stub${incoming.url}`);
    const text = await textOf(incoming);
    const given = {
      method: incoming.method as string,
      path,
      query,
      authorization: incoming.headers.authorization,
      body: json(text),
    };
    const effect = this.faults.take(given.method, path + query);
    if (effect === "hang") return this.journal.api({ ...given, status: 0 });
    if (effect === "refuse") {
      this.journal.api({ ...given, status: 0 });
      return void incoming.socket.destroy();
    }
    if (typeof effect === "object" && "delayMs" in effect)
      await new Promise((wake) => setTimeout(wake, effect.delayMs));
    const { status, answer, retryAfter } = await this.answerTo(given, effect);
    this.journal.api({ ...given, status: effect === "drop" ? 0 : status });
    if (effect === "drop") return void incoming.socket.destroy();
    const body = Buffer.from(JSON.stringify(answer));
    outgoing.writeHead(status, {
      "content-type": "application/json",
      ...(retryAfter === undefined ? {} : { "retry-after": String(retryAfter) }),
      ...(effect === "truncate" ? {} : { "content-length": body.length }),
    });
    outgoing.end(effect === "truncate" ? body.subarray(0, Math.floor(body.length / 2)) : body);
  }

  private async answerTo(given: Given, effect: FaultEffect | undefined) {
    if (typeof effect === "object" && "status" in effect) {
      const { status, retryAfter } = effect;
      return { status, answer: { code: "Fault", message: "ordered by a test", fields: [] }, retryAfter };
    }
    try {
      return { status: 200, answer: await this.execute(given) };
    } catch (error) {
      if (!(error instanceof Refusal)) console.error(error);
      const refusal = error instanceof Refusal ? error : new Refusal(500, "InternalError", String(error));
      return {
        status: refusal.status,
        answer: { code: refusal.code, message: refusal.message, fields: refusal.fields },
      };
    }
  }

  private execute({ method, path, query, authorization, body }: Given): object | Promise<object> {
    if (!path.startsWith(`${BASE}/`)) throw notFound(path);
    if (this.state.tokenRevoked || authorization !== `Token ${TOKEN}`) throw unauthorized();
    if (body === undefined) throw invalid("request body is no JSON");
    return this.routes.answer(method, path.slice(BASE.length), new URLSearchParams(query), body);
  }
}

async function textOf(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

/** Undefined when it is none. */
function json(text: string): unknown {
  if (text === "") return {};
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
