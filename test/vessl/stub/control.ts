/** What tests order, on a port of its own: faults, expired credentials, what becomes of runs. */
import { createServer, type Server } from "node:http";

/** By method and path, for example `POST /faults`; gets the parsed body. */
export type Orders = Readonly<Record<string, (body: never) => unknown>>;

export function controlServer(orders: Orders): Server {
  return createServer(async (incoming, outgoing) => {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString("utf8");
    const order = orders[`${incoming.method} ${incoming.url}`];
    const reply = (status: number, answer: unknown) => outgoing.writeHead(status).end(JSON.stringify(answer ?? {}));
    if (order === undefined) return void reply(404, { error: `no order ${incoming.method} ${incoming.url}` });
    try {
      reply(200, await order((text === "" ? {} : JSON.parse(text)) as never));
    } catch (error) {
      reply(500, { error: String(error) });
    }
  });
}
