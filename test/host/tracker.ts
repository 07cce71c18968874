/** One MLflow host under test: its certificate, its passwords, its volume; what clients see of it. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type HostSecrets, userData } from "../../components/mlflow-host/user-data.ts";
import { Cloud } from "./cloud.ts";
import {
  attachVolume,
  bootMachine,
  createVolume,
  destroyMachine,
  detachVolume,
  inMachine,
  PROJECT,
  prepareMachines,
  run,
} from "./machine.ts";

const VOLUME_ID = "vol-0123456789abcdef0";
export const BUCKET = "wmtp-test-artifacts";
const GIBIBYTE = 2 ** 30;

export interface Answer {
  readonly status: number;
  readonly body: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

export class Tracker {
  readonly name: string;
  readonly address: string;
  readonly folder = mkdtempSync(join(tmpdir(), "wmtp-tracker-"));
  readonly volume = join(this.folder, "data.img");
  readonly ca = join(this.folder, "certificate.pem");
  readonly cloud: Cloud;
  secrets: HostSecrets;
  readonly secretId: string;
  readonly userData: string;

  private constructor(name: string, address: string, cloud: Cloud) {
    this.name = name;
    this.address = address;
    this.cloud = cloud;
    cloud.createBucket(BUCKET);
    this.secrets = {
      adminPassword: "planted-admin-password-1",
      runsPassword: "planted-runs-password-1",
      flaskSecretKey: "planted-flask-secret-key-1",
      ...this.newCertificate(),
    };
    this.secretId = cloud.createSecret(`${name}-host`, this.secrets);
    this.userData = userData({
      region: cloud.region,
      bucket: BUCKET,
      dataVolumeId: VOLUME_ID,
      secretId: this.secretId,
      hostName: address,
    });
    createVolume(this.volume, 2 * GIBIBYTE);
  }

  static async create(name: string, address: string, port?: number): Promise<Tracker> {
    prepareMachines();
    return new Tracker(name, address, await Cloud.start(port));
  }

  /** Boots it; the volume is attached a little later, as by EC2. @returns seconds until /health answers */
  async boot(): Promise<number> {
    const started = Date.now();
    bootMachine({ name: this.name, address: this.address, userData: this.userData, endpoint: this.cloud.endpoint });
    await sleep(8_000);
    attachVolume(this.name, VOLUME_ID, this.volume);
    await this.untilHealthy(100_000);
    return seconds(started);
  }

  /** Changes values of the secret; the host sees it when it looks the next time. */
  rotate(changes: Partial<HostSecrets>): void {
    this.secrets = { ...this.secrets, ...changes };
    this.cloud.putSecret(this.secretId, this.secrets);
  }

  newCertificate(): { tlsCertificate: string; tlsPrivateKey: string } {
    const key = join(this.folder, "key.pem");
    const subject = ["-subj", `/CN=${this.address}`, "-addext", `subjectAltName=IP:${this.address}`];
    const files = ["-keyout", key, "-out", this.ca];
    run("openssl", ["req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "2", ...files, ...subject]);
    return { tlsCertificate: readFileSync(this.ca, "utf8"), tlsPrivateKey: readFileSync(key, "utf8") };
  }

  /** One HTTPS request that trusts the stack's certificate alone; `user` is "name:password". */
  ask(method: string, path: string, user?: string, body?: unknown): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const text = body === undefined ? undefined : JSON.stringify(body);
      const sent = request({
        host: this.address,
        path,
        method,
        auth: user,
        ca: readFileSync(this.ca),
        agent: false,
        timeout: 10_000,
        headers: text ? { "content-type": "application/json", "content-length": Buffer.byteLength(text) } : {},
      });
      sent.on("response", (answer) => {
        const parts: Buffer[] = [];
        answer.on("data", (part) => parts.push(part));
        answer.on("end", () =>
          resolve({ status: answer.statusCode!, body: Buffer.concat(parts).toString(), headers: answer.headers }),
        );
        answer.on("error", reject);
      });
      sent.on("timeout", () => sent.destroy(new Error("no answer within 10 s")));
      sent.on("error", reject);
      sent.end(text);
    });
  }

  async untilHealthy(milliseconds = 60_000): Promise<void> {
    await this.until(async () => (await this.ask("GET", "/health")).status === 200, milliseconds);
  }

  async until(condition: () => Promise<boolean>, milliseconds = 60_000): Promise<void> {
    const deadline = Date.now() + milliseconds;
    while (!(await condition().catch(() => false))) {
      if (Date.now() > deadline)
        throw new Error(`waited ${milliseconds / 1000} s in vain for: ${condition}\n${this.journal()}`);
      await sleep(250); // nginx answers five a second without a password
    }
  }

  get admin(): string {
    return `wmtp_admin:${this.secrets.adminPassword}`;
  }

  get runs(): string {
    return `wmtp_runs:${this.secrets.runsPassword}`;
  }

  /** MLflow's own client, as user of the runs. */
  client(...words: string[]): string {
    const python = join(PROJECT, ".tools", "trainer", "bin", "python");
    return run("env", [
      ...Object.entries(this.clientEnv()).map(([key, value]) => `${key}=${value}`),
      python,
      join(import.meta.dirname, "client.py"),
      ...words,
    ]);
  }

  clientEnv(): Record<string, string> {
    return {
      MLFLOW_TRACKING_URI: `https://${this.address}`,
      MLFLOW_TRACKING_USERNAME: "wmtp_runs",
      MLFLOW_TRACKING_PASSWORD: this.secrets.runsPassword,
      MLFLOW_TRACKING_SERVER_CERT_PATH: this.ca,
      MLFLOW_HTTP_REQUEST_MAX_RETRIES: "2",
    };
  }

  shell(command: string, input?: string): string {
    return inMachine(this.name, command, input);
  }

  /** Whether the port takes connections from outside. */
  open(port: number): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = connect({ host: this.address, port, timeout: 2_000 });
      const done = (open: boolean) => {
        socket.destroy();
        resolve(open);
      };
      socket.on("connect", () => done(true));
      socket.on("error", () => done(false));
      socket.on("timeout", () => done(false));
    });
  }

  journal(): string {
    try {
      return this.shell("systemctl --failed --no-legend; journalctl --no-pager -n 40 | cut -c -200");
    } catch {
      return "";
    }
  }

  destroy(): void {
    destroyMachine(this.name);
    detachVolume(this.volume);
    this.cloud.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export function seconds(since: number): number {
  return Math.round((Date.now() - since) / 100) / 10;
}

export function writeForeignVolume(image: string): void {
  createVolume(image, GIBIBYTE / 16);
  writeFileSync(image, Buffer.alloc(4096, "somebody's data"), { flag: "r+" });
}
