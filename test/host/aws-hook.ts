/**
 * What the stand-in for AWS does for real while `pulumi up` runs: a container boots for an instance, an image file is its volume, moto
 * has the bucket and the secret. Started as `aws-hook create|update|delete TYPE NAME`, with the resource on stdin.
 *   HOOK_FOLDER (for the volume)  HOOK_MACHINE (its name)  HOOK_ADDRESS (of the Elastic IP)  HOOK_ENDPOINT (of moto)
 */
import { appendFileSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { attachVolume, bootMachine, createVolume, destroyMachine, detachVolume, run } from "./machine.ts";

const [action, type = "", name = ""] = process.argv.slice(2);
const { HOOK_FOLDER: folder = "", HOOK_MACHINE: machine = "", HOOK_ADDRESS: address = "" } = process.env;
const endpoint = process.env.HOOK_ENDPOINT as string;
const volume = join(folder, "data.img");
const GIBIBYTE = 2 ** 30;

const { inputs } = JSON.parse(readFileSync(0, "utf8")) as { inputs: Record<string, string> };

async function moto(service: string, path: string, init: RequestInit & { headers?: Record<string, string> }) {
  // Moto tells services apart by the scope of the signature, and looks no further.
  const authorization = `AWS4-HMAC-SHA256 Credential=test/20260101/eu-north-1/${service}/aws4_request, SignedHeaders=host, Signature=0`;
  const answer = await fetch(`${endpoint}${path}`, { ...init, headers: { authorization, ...init.headers } });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`moto ${service}: ${answer.status} ${text}`);
  return text;
}

async function secret(operation: string, body: object): Promise<{ ARN: string }> {
  const headers = { "content-type": "application/x-amz-json-1.1", "x-amz-target": `secretsmanager.${operation}` };
  return JSON.parse(await moto("secretsmanager", "/", { method: "POST", headers, body: JSON.stringify(body) }));
}

type Step = () => Promise<object | undefined> | object | undefined;
const steps: Readonly<Record<string, Step>> = {
  "create aws:ec2/eip:Eip": () => ({ publicIp: address }),
  "create aws:s3/bucket:Bucket": async () => {
    const body =
      "<CreateBucketConfiguration><LocationConstraint>eu-north-1</LocationConstraint></CreateBucketConfiguration>";
    await moto("s3", `/${inputs.bucket}`, { method: "PUT", body });
    return undefined;
  },
  "create aws:secretsmanager/secret:Secret": async () => {
    const { ARN } = await secret("CreateSecret", { Name: `${machine}-${Date.now()}` });
    return { arn: ARN };
  },
  "create aws:secretsmanager/secretVersion:SecretVersion": async () => {
    await secret("PutSecretValue", { SecretId: inputs.secretId, SecretString: inputs.secretString });
    return undefined;
  },
  "create aws:ebs/volume:Volume": () => void createVolume(volume, 2 * GIBIBYTE),
  "create aws:ec2/instance:Instance": () =>
    void bootMachine({ name: machine, address, endpoint, userData: inputs.userData as string }),
  "create aws:ec2/volumeAttachment:VolumeAttachment": () =>
    void attachVolume(machine, inputs.volumeId as string, volume),
  // The instance is stopped before its volume goes, as `stopInstanceBeforeDetaching` asks.
  "delete aws:ec2/volumeAttachment:VolumeAttachment": () => {
    run("docker", ["kill", "--signal", "SIGRTMIN+4", machine]); // systemd: power off
    run("docker", ["wait", machine]);
    return undefined;
  },
  "delete aws:ec2/instance:Instance": () => void destroyMachine(machine),
  "delete aws:ebs/volume:Volume": () => {
    detachVolume(volume);
    rmSync(volume);
    return undefined;
  },
};

const answer = await steps[`${action} ${type}`]?.();
appendFileSync(join(folder, "steps.log"), `${action} ${type} ${name}\n`);
if (answer !== undefined) process.stdout.write(JSON.stringify({ ...answer }));
