/** versitygw as a child that does not outlive us. */
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, openSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join, resolve } from "node:path";
import { BUCKETS, REGION, ROOT_KEY } from "./world.ts";

const TOOL = resolve(import.meta.dirname, "..", "..", "..", "tools", "object-store");
const START_MS = 10_000;

/** Where a bucket's objects lie as files. */
export const bucketDirectory = (state: string, bucket: string) => join(state, "s3", bucket);

/** @returns where it listens. */
export async function startGateway(state: string): Promise<{ host: string; port: number }> {
  const program = execFileSync(TOOL, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] }).trim();
  for (const bucket of BUCKETS) mkdirSync(bucketDirectory(state, bucket), { recursive: true });
  const host = "127.0.0.1";
  const port = await freePort(host);
  const log = openSync(join(state, "versitygw.log"), "a");
  const words = [
    "--port",
    `${host}:${port}`,
    "--region",
    REGION,
    "--keep-alive",
    "--quiet",
    "posix",
    join(state, "s3"),
  ];
  const gateway = spawn("setpriv", ["--pdeathsig", "KILL", program, ...words], {
    stdio: ["ignore", log, log],
    env: { PATH: process.env.PATH, ROOT_ACCESS_KEY: ROOT_KEY.accessKeyId, ROOT_SECRET_KEY: ROOT_KEY.secretAccessKey },
  });
  let ended = false;
  gateway.on("exit", () => {
    ended = true;
  });
  const deadline = Date.now() + START_MS;
  while (!(await listens(host, port))) {
    if (ended || Date.now() > deadline) throw new Error(`versitygw did not start: see ${join(state, "versitygw.log")}`);
    await new Promise((wake) => setTimeout(wake, 20));
  }
  return { host, port };
}

function listens(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, host);
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}

export function freePort(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().on("error", reject);
    server.listen(0, host, () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
