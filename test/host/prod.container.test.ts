/**
 * `up` of prod's infrastructure by the real engine, with a machine that really boots behind the stand-in for AWS: the URL resolves when
 * the tracker answers, a second `up` changes nothing, a new host keeps the experiments, protected data is not destroyed.
 */
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DEBIAN } from "../support/docker-cli.ts";
import { EngineStack } from "../support/engine-stack.ts";
import { Registry } from "../support/registry.ts";
import { VesslCloud } from "../support/vessl-cloud.ts";
import { Cloud } from "./cloud.ts";
import { destroyMachine, detachVolume, inMachine, PROJECT, prepareMachines, run } from "./machine.ts";

jest.setTimeout(900_000);
const MACHINE = "wmtp-test-prod";
const ADDRESS = "198.51.100.13";
const PLANTED = { admin: "planted-admin-password", token: "planted-registry-token" };
const BARE = { "wmtp:pipelines": {}, "wmtp:tracking.allowedCidrs": ["198.51.100.0/24"] };
const PROTECTED = [
  "aws:dlm/lifecyclePolicy:LifecyclePolicy::tracker",
  "aws:ebs/volume:Volume::tracker",
  "aws:s3/bucket:Bucket::store",
  "aws:s3/bucket:Bucket::store-access-logs",
];

let cloud: Cloud;
let registry: Registry;
let gpus: VesslCloud;
let stack: EngineStack;
/** Id of the run that is logged on the first host. */
let kept = "";
/** All that the engine said. */
let printed = "";

beforeAll(async () => {
  prepareMachines();
  cloud = await Cloud.start(5013);
  registry = await Registry.start(PLANTED.token);
  gpus = await VesslCloud.start();
  stack = new EngineStack("prod", {
    from: "prod",
    config: {
      ...BARE,
      "wmtp:launcher.vessl": { organization: gpus.organization, project: gpus.project },
      "wmtp:image": { repository: `${registry.server}/wmtp`, registryUser: registry.user },
    },
    env: {
      VESSL_API_HOST: gpus.url,
      VESSL_ACCESS_TOKEN: gpus.token,
      WMTP_STAND_IN_HOOK: join(import.meta.dirname, "aws-hook"),
      HOOK_MACHINE: MACHINE,
      HOOK_ADDRESS: ADDRESS,
      HOOK_ENDPOINT: cloud.endpoint,
    },
  });
  stack.env.HOOK_FOLDER = stack.root;
  stack.mustRun("config", "set", "--secret", "wmtp:mlflowAdminPassword", PLANTED.admin);
  stack.mustRun("config", "set", "--secret", "wmtp:registryToken", PLANTED.token);
  smallImage();
});
afterAll(async () => {
  destroyMachine(MACHINE);
  detachVolume(join(stack.root, "data.img"));
  stack.dispose();
  registry.stop();
  cloud.stop();
  await gpus.dispose();
});

/** What is in the image is not the subject here (test/image has it): built and pushed for real, of one small layer. */
function smallImage(): void {
  const trainer = join(stack.project, "trainer");
  rmSync(trainer); // the link to ours
  mkdirSync(trainer);
  for (const file of [".dockerignore", "requirements.lock"])
    copyFileSync(join(PROJECT, "trainer", file), join(trainer, file));
  writeFileSync(join(trainer, "Dockerfile"), `FROM ${DEBIAN}\nARG REVISION\nARG LOCK_SHA256\nWORKDIR /app\n`);
}

function up(): string {
  const { code, text } = stack.up();
  printed += text;
  if (code !== 0) throw new Error(`up exited with ${code}:\n${text}`);
  return text;
}
const outputs = () => JSON.parse(stack.mustRun("stack", "output", "--json")) as Record<string, string>;
const resources = () => stack.state().deployment.resources;
const steps = () => readFileSync(join(stack.root, "steps.log"), "utf8").trim().split("\n");

/** What the state holds encrypted, in clear: by the type's last word, by name, by output. */
function secretOutputs(): Record<string, Record<string, Record<string, unknown>>> {
  const exported = JSON.parse(stack.mustRun("stack", "export", "--show-secrets")) as ReturnType<EngineStack["state"]>;
  const found: Record<string, Record<string, Record<string, unknown>>> = {};
  for (const { type, urn, outputs } of exported.deployment.resources) {
    for (const [key, value] of Object.entries(outputs ?? {})) {
      const plaintext = (value as { plaintext?: string } | null)?.plaintext;
      if (plaintext === undefined) continue;
      const [word, name] = [type.split(":").at(-1) as string, urn.split("::").at(-1) as string];
      found[word] = { ...found[word], [name]: { ...found[word]?.[name], [key]: JSON.parse(plaintext) } };
    }
  }
  return found;
}

/** MLflow's own client, as the user of the runs, with the CA that the stack hands out. */
function client(...words: string[]): string {
  const ca = join(stack.root, "ca.pem");
  writeFileSync(ca, outputs().trackerCaCertificate as string);
  const password = secretOutputs().RandomPassword?.["tracker-runs"]?.result;
  return run("env", [
    `MLFLOW_TRACKING_URI=${outputs().trackerUrl}`,
    "MLFLOW_TRACKING_USERNAME=wmtp_runs",
    `MLFLOW_TRACKING_PASSWORD=${password}`,
    `MLFLOW_TRACKING_SERVER_CERT_PATH=${ca}`,
    join(PROJECT, ".tools", "trainer", "bin", "python"),
    join(import.meta.dirname, "client.py"),
    ...words,
  ]);
}

test("the first up ends when the tracker answers, and hands out where everything is", () => {
  const started = Date.now();
  up();
  process.stderr.write(`first up: ${Math.round((Date.now() - started) / 1000)} s\n`);
  const gate = resources().find(({ type }) => type === "command:local:Command");
  expect(gate?.outputs.stdout).toContain("the tracker answers after");
  expect(outputs()).toMatchObject({
    trackerUrl: `https://${ADDRESS}`,
    bucket: "wmtp",
    region: "eu-north-1",
    image: expect.stringMatching(new RegExp(`^${registry.server}/wmtp@sha256:[0-9a-f]{64}$`)),
    trackerCaCertificate: expect.stringContaining("BEGIN CERTIFICATE"),
  });
});

test("a run is logged with what the stack hands out, its artifact in the bucket", () => {
  kept = client("log", "kept").split("\n").at(-1) as string; // MLflow prints where to look first
  expect(cloud.keys("wmtp", "mlflow-artifacts/").filter((key) => key.includes(kept))).toHaveLength(1);
});

test("the GPU cloud's organization has what runs need to know, under the stack's name", () => {
  const sent = gpus.requests().filter(({ path }) => path.endsWith("/secrets/generic_secret"));
  const kept = Object.fromEntries(
    sent.map(({ body }) => Object.values(body as Record<string, string>) as [string, string]),
  );
  expect(Object.keys(kept).sort()).toEqual([
    "WMTP_PROD_AWS_ACCESS_KEY_ID",
    "WMTP_PROD_AWS_SECRET_ACCESS_KEY",
    "WMTP_PROD_MLFLOW_TRACKING_PASSWORD",
  ]);
  expect(kept.WMTP_PROD_MLFLOW_TRACKING_PASSWORD).toBe(secretOutputs().RandomPassword?.["tracker-runs"]?.result);
  expect(kept.WMTP_PROD_AWS_ACCESS_KEY_ID).toBe(outputs().runsAccessKeyId);
});

test("a second up changes nothing", () => {
  const before = steps().length;
  const text = up();
  expect(text).toMatch(/Resources:\s+\d+ unchanged/);
  expect(text).not.toMatch(/created|updated|replaced|deleted/);
  expect(steps()).toHaveLength(before);
});

test("another host takes the data volume over: old host first gone, experiments still there", () => {
  const before = steps().length;
  const host = resources().find(({ type }) => type === "aws:ec2/instance:Instance")?.urn as string;
  const started = Date.now();
  printed += stack.mustRun("up", "--yes", "--skip-preview", "--replace", host);
  process.stderr.write(`another host: ${Math.round((Date.now() - started) / 1000)} s\n`);
  const moves = steps()
    .slice(before)
    .filter((step) => /ec2\/(instance|volumeAttachment):/.test(step))
    .map((step) => step.replace(/ aws:ec2\/\w+:/, " "));
  expect(moves).toEqual([
    "delete VolumeAttachment tracker",
    "delete Instance tracker",
    "create Instance tracker",
    "create VolumeAttachment tracker",
  ]);
  expect(Object.keys(JSON.parse(client("runs", "kept")))).toEqual([kept]);
});

test("no secret of the stack is in clear in its state, its output or the user data", () => {
  const { OrgSecret, ...others } = secretOutputs();
  expect(Object.keys(OrgSecret ?? {})).toHaveLength(3);
  // An access key's id is no secret on AWS's side: it is the resource's id.
  const { AWS_ACCESS_KEY_ID, ...ofOrganization } = OrgSecret ?? {};
  const made = Object.values({ ...others, OrgSecret: ofOrganization })
    .flatMap((ofType) => Object.values(ofType).flatMap((resource) => Object.values(resource)))
    .filter((value): value is string => typeof value === "string" && value.length >= 16);
  expect(made.length).toBeGreaterThan(4);
  const secrets = [...made, ...Object.values(PLANTED)];
  const clear = stack.mustRun("stack", "export");
  for (const secret of secrets) {
    expect(clear.includes(secret) || clear.includes(JSON.stringify(secret).slice(1, -1))).toBe(false);
    expect(printed.includes(secret)).toBe(false);
  }
  expect(inMachine(MACHINE, "cat /var/lib/cloud/instance/user-data.txt")).not.toMatch(/planted-/);
});

test("destroy refuses to touch protected data, and says what is protected", () => {
  const protectedOnes = resources().filter((resource) => (resource as { protect?: boolean }).protect);
  expect(protectedOnes.map(({ urn }) => urn.split("$").at(-1)).sort()).toEqual(PROTECTED);
  const { code, text } = stack.pulumi("destroy", "--yes", "--skip-preview");
  printed += text;
  expect(code).not.toBe(0);
  expect(text).toMatch(/cannot be deleted|protected/);
  const left = resources().map(({ urn }) => urn.split("$").at(-1));
  for (const urn of PROTECTED) expect(left).toContain(urn);
});
