/** AWS for the machines: moto answers for S3, Secrets Manager and the instance metadata. Its state lives as long as its process. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { NETWORK, PROJECT, run } from "./machine.ts";

const MOTO = join(PROJECT, ".tools", "moto");
const LOCK = join(import.meta.dirname, "moto.lock");
const REGION = "eu-north-1";
const CALL = `
import boto3, json, sys
r = json.load(sys.stdin)
a = boto3.client(r["service"], endpoint_url=r["endpoint"], region_name="${REGION}", aws_access_key_id="test", aws_secret_access_key="test")
print(json.dumps(getattr(a, r["operation"])(**r["parameters"]), default=str))
`;

export class Cloud {
  readonly region = REGION;
  readonly endpoint: string;
  private readonly process: ChildProcess;

  private constructor(endpoint: string, process: ChildProcess) {
    this.endpoint = endpoint;
    this.process = process;
  }

  /** The network of the machines has to be there: see prepareMachines(). */
  static async start(port = 5001): Promise<Cloud> {
    installMoto();
    const words = ["--host", NETWORK.gateway, "--port", String(port)];
    const server = spawn(join(MOTO, "bin", "moto_server"), words, { stdio: "ignore", detached: true });
    const cloud = new Cloud(`http://${NETWORK.gateway}:${port}`, server);
    for (let tries = 0; tries < 120; tries++) {
      if (
        await fetch(`${cloud.endpoint}/moto-api/`).then(
          (answer) => answer.ok,
          () => false,
        )
      )
        return cloud;
      await sleep(250);
    }
    cloud.stop();
    throw new Error(`moto does not answer on ${cloud.endpoint}: is the port taken?`);
  }

  /** One call of boto3: `call("s3", "create_bucket", { Bucket: "b" })`. */
  // biome-ignore lint/suspicious/noExplicitAny: boto3's answers have no types here
  call(service: string, operation: string, parameters: Record<string, unknown>): any {
    const request = JSON.stringify({ endpoint: this.endpoint, service, operation, parameters });
    return JSON.parse(run(join(MOTO, "bin", "python"), ["-c", CALL], request));
  }

  createBucket(name: string): void {
    this.call("s3", "create_bucket", { Bucket: name, CreateBucketConfiguration: { LocationConstraint: REGION } });
  }

  keys(bucket: string, prefix: string): string[] {
    const found = this.call("s3", "list_objects_v2", { Bucket: bucket, Prefix: prefix }).Contents ?? [];
    return found.map((entry: { Key: string }) => entry.Key);
  }

  /** @returns the secret's ARN */
  createSecret(name: string, value: object): string {
    return this.call("secretsmanager", "create_secret", { Name: name, SecretString: JSON.stringify(value) }).ARN;
  }

  putSecret(id: string, value: object): void {
    this.call("secretsmanager", "put_secret_value", { SecretId: id, SecretString: JSON.stringify(value) });
  }

  stop(): void {
    this.process.kill("SIGKILL");
  }
}

function installMoto(): void {
  const stamp = join(PROJECT, ".tools", "stamps", "moto");
  const hash = createHash("sha256").update(readFileSync(LOCK)).digest("hex");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === hash) return;
  const uv = join(PROJECT, ".tools", "uv", "bin", "uv");
  run(uv, ["venv", "--quiet", "--clear", "--python", join(PROJECT, ".tools", "trainer", "bin", "python"), MOTO]);
  run(uv, ["pip", "sync", "--quiet", "--require-hashes", "--python", join(MOTO, "bin", "python"), LOCK]);
  mkdirSync(join(PROJECT, ".tools", "stamps"), { recursive: true });
  writeFileSync(stamp, hash);
}
