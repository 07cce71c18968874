/** A container registry of one test: on this machine alone, with a user and a password. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mustRun, PROJECT } from "./docker-cli.ts";
import { eventually } from "./eventually.ts";

const CONFIG = "version: 0.1\nstorage: {filesystem: {}}\nauth: {htpasswd: {}}\n";
const USER = "pusher";

export class Registry {
  readonly user = USER;
  /** `127.0.0.1:PORT`, which Docker speaks plain HTTP to. */
  readonly server: string;
  private readonly root: string;
  private readonly process: ChildProcess;

  private constructor(server: string, root: string, process: ChildProcess) {
    this.server = server;
    this.root = root;
    this.process = process;
  }

  static async start(password: string): Promise<Registry> {
    const program = mustRun([join(PROJECT, "tools", "registry")])
      .split("\n")
      .at(-1) as string;
    const root = mkdtempSync(join(tmpdir(), "wmtp-registry-"));
    const server = `127.0.0.1:${await freePort()}`;
    writeFileSync(join(root, "config.yml"), CONFIG);
    writeFileSync(join(root, "htpasswd"), line(password));
    const env = {
      REGISTRY_HTTP_ADDR: server,
      REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY: join(root, "images"),
      REGISTRY_AUTH_HTPASSWD_REALM: "registry of a test",
      REGISTRY_AUTH_HTPASSWD_PATH: join(root, "htpasswd"),
    };
    const process = spawn(program, ["serve", join(root, "config.yml")], { env, stdio: "ignore" });
    const registry = new Registry(server, root, process);
    const answers = () =>
      fetch(`http://${server}/v2/`).then(
        ({ status }) => status === 401,
        () => false,
      );
    await eventually(answers, 10_000);
    return registry;
  }

  /** From now on only this password counts. */
  changePassword(password: string): void {
    writeFileSync(join(this.root, "htpasswd"), line(password));
  }

  /** Status of a GET below `/v2/`, and what it answers. */
  async get(path: string, password?: string): Promise<{ status: number; text: string }> {
    const login = Buffer.from(`${USER}:${password}`).toString("base64");
    const headers = password === undefined ? {} : { authorization: `Basic ${login}` };
    const response = await fetch(`http://${this.server}/v2/${path}`, { headers });
    return { status: response.status, text: await response.text() };
  }

  stop(): void {
    this.process.kill();
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** bcrypt by the C library's crypt, which perl, and so every Debian, hands through. */
function line(password: string): string {
  const script = "print crypt(<STDIN>, q($2y$05$abcdefghijklmnopqrstuu))";
  return `${USER}:${execFileSync("perl", ["-e", script], { input: password, encoding: "utf8" })}\n`;
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
