/**
 * A GPU cloud of one machine: `node main.ts --state DIR [--trainer real]`. Its API, the S3 behind it and, on a third port, the orders of
 * tests. A process of its own, because engine tests block theirs; killed and started again with the same DIR it goes on where it was,
 * on the same ports. `DIR/ready.json` says that it is up, and where.
 */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { accountRoutes } from "./accounts.ts";
import { Api } from "./api.ts";
import { writePrograms } from "./container.ts";
import { controlServer } from "./control.ts";
import type { Fault } from "./faults.ts";
import { startGateway } from "./gateway.ts";
import { Journal } from "./journal.ts";
import { addOldRuns } from "./old-runs.ts";
import { Routes } from "./routes.ts";
import { RunFates } from "./run-fates.ts";
import { runRoutes } from "./runs.ts";
import { S3Front } from "./s3-front.ts";
import { secretRoutes } from "./secrets.ts";
import { Sessions } from "./sessions.ts";
import { type Mode, type Script, Store } from "./state.ts";
import { storageRoutes } from "./storages.ts";

export interface Ready {
  readonly pid: number;
  readonly ports: { readonly api: number; readonly s3: number; readonly control: number };
}

const HOST = "127.0.0.1";
const { values } = parseArgs({ options: { state: { type: "string" }, trainer: { type: "string" } } });
const directory = values.state as string;

const before = readReady();
const store = new Store(directory);
const journal = new Journal(directory);
const sessions = new Sessions(directory);
const front = new S3Front(sessions, await startGateway(directory), journal);
const s3 = await listen(front.server(), before?.ports.s3);
const routes = new Routes();
accountRoutes(routes);
storageRoutes(routes, store, sessions, () => `http://${HOST}:${s3}`);
secretRoutes(routes, store);
const fates = new RunFates(store, `http://${HOST}:${s3}`);
runRoutes(routes, store, fates);
writePrograms(join(directory, "bin"), values.trainer ?? "stand-in");
const api = new Api(routes, store.state, journal);

const control = controlServer({
  "GET /healthy": () => ({}),
  "POST /faults": (faults: Fault[]) => api.faults.add(faults),
  "DELETE /faults": () => {
    api.faults.clear();
    front.faults.clear();
  },
  "POST /s3/faults": (faults: Fault[]) => front.faults.add(faults),
  "POST /s3/expire": () => sessions.expireAll(),
  "POST /s3/shorten": (limits: { requests?: number; milliseconds?: number }) => sessions.shorten(limits),
  "POST /mode": ({ mode }: { mode: Mode }) => {
    store.state.mode = mode;
    store.save();
  },
  "GET /runs": () => store.state.runs.map((run) => fates.shown(run)),
  "POST /runs/script": (script: Script) => {
    store.state.scripts.push(script);
    store.save();
  },
  "POST /runs/old": ({ count, title }: { count: number; title: string }) => addOldRuns(store, count, title),
  "POST /runs/preempt": ({ run, status, reason }: { run: string; status: string; reason: string }) =>
    fates.preempt(fates.find(run), status, reason),
  "POST /runs/forget": ({ run }: { run: string }) => fates.forget(fates.find(run)),
  "POST /token": ({ revoked }: { revoked: boolean }) => {
    store.state.tokenRevoked = revoked;
    store.save();
  },
});

fates.resume();
const ready: Ready = {
  pid: process.pid,
  ports: {
    api: await listen(api.server(), before?.ports.api),
    s3,
    control: await listen(control, before?.ports.control),
  },
};
writeFileSync(join(directory, "ready.new"), JSON.stringify(ready));
renameSync(join(directory, "ready.new"), join(directory, "ready.json"));

function readReady(): Ready | undefined {
  try {
    return JSON.parse(readFileSync(join(directory, "ready.json"), "utf8"));
  } catch {
    return undefined; // the first start
  }
}

function listen(server: Server, port = 0): Promise<number> {
  return new Promise((resolve, reject) => {
    server.on("error", reject).listen(port, HOST, () => resolve((server.address() as AddressInfo).port));
  });
}
