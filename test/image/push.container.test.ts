/** TrainerImage by the real engine, the stand-in provider, a real Docker engine and a real registry that asks for a password. */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { docker, mustRun, PROJECT, type Ran, run } from "../support/docker-cli.ts";
import { Registry } from "../support/registry.ts";

const SECRET = "planted-secret";
const TOKEN = `${SECRET}-registry-token`;
const NEXT_TOKEN = `${SECRET}-rotated-token`;
const PROGRAM = `
import * as pulumi from "@pulumi/pulumi";
import { TrainerImage } from "./components/trainer-image.ts";
const config = new pulumi.Config();
const image = new TrainerImage("image", {
  repository: config.require("repository"),
  ecr: false,
  registryUser: config.require("user"),
  registryToken: config.requireSecret("registryToken"),
  baseImage: "scratch",
});
export const ref = image.ref;
`;
/** Nearly nothing: what is built is not the point here. */
const DOCKERFILE = `ARG BASE_IMAGE
FROM \${BASE_IMAGE}
COPY src /src
ARG REVISION
ARG LOCK_SHA256
LABEL revision=\${REVISION} lock=\${LOCK_SHA256}
`;

jest.setTimeout(180_000);

const root = mkdtempSync(join(tmpdir(), "wmtp-push-"));
const project = join(root, "project");
const said: string[] = [];
let registry: Registry;
let repository: string;

beforeAll(async () => {
  mustRun([join(PROJECT, "tools", "docker")]);
  registry = await Registry.start(TOKEN);
  repository = `${registry.server}/team/wmtp`;
  for (const folder of ["project/trainer/src", "state", "home"]) mkdirSync(join(root, folder), { recursive: true });
  for (const name of ["components", "node_modules"]) symlinkSync(join(PROJECT, name), join(project, name));
  writeFileSync(
    join(project, "Pulumi.yaml"),
    "name: wmtp\nmain: index.ts\nruntime: {name: nodejs, options: {typescript: false}}\n",
  );
  writeFileSync(join(project, "package.json"), '{"type": "module"}');
  writeFileSync(join(project, "index.ts"), PROGRAM);
  copyFileSync(join(PROJECT, "trainer", ".dockerignore"), join(project, "trainer", ".dockerignore"));
  writeFileSync(join(project, "trainer", "Dockerfile"), DOCKERFILE);
  writeFileSync(join(project, "trainer", "requirements.lock"), "torch==2.15.0\n");
  writeFileSync(join(project, "trainer", "src", "run.py"), "print(1)\n");
  mustPulumi(["stack", "select", "--create"]);
  mustPulumi(["config", "set", "repository", repository]);
  mustPulumi(["config", "set", "user", registry.user]);
  mustPulumi(["config", "set", "--secret", "registryToken"], { stdin: TOKEN });
});
afterAll(() => {
  const images = run(["docker", "image", "ls", "--quiet", repository]).text.split("\n").filter(Boolean);
  if (images.length > 0) run(["docker", "image", "rm", "--force", ...new Set(images)]);
  registry.stop();
  rmSync(root, { recursive: true, force: true });
});

function pulumi(args: readonly string[], { stdin = "", env = {} }: { stdin?: string; env?: object } = {}): Ran {
  const { status, stdout, stderr } = spawnSync("pulumi", [...args, "--stack", "dev", "--non-interactive"], {
    cwd: project,
    env: {
      PATH: [join(PROJECT, "tools", "stand-ins", "bin"), join(PROJECT, ".tools", "bin"), process.env.PATH].join(":"),
      HOME: process.env.HOME,
      PULUMI_HOME: join(root, "home"),
      PULUMI_BACKEND_URL: `file://${join(root, "state")}`,
      PULUMI_CONFIG_PASSPHRASE: "passphrase-of-a-test",
      PULUMI_SKIP_UPDATE_CHECK: "1",
      PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true",
      ...env,
    },
    input: stdin,
    encoding: "utf8",
    timeout: 120_000,
  });
  said.push(stdout + stderr);
  return { code: status, text: stdout + stderr };
}

function mustPulumi(args: readonly string[], options: { stdin?: string } = {}): string {
  const { code, text } = pulumi(args, options);
  if (code !== 0) throw new Error(`pulumi ${args[0]} exited with ${code}:\n${text}`);
  return text;
}
const up = () => mustPulumi(["up", "--yes", "--skip-preview"]);
const ref = () => mustPulumi(["stack", "output", "ref"]).trim();

test("a preview builds and pushes nothing", async () => {
  expect(mustPulumi(["preview"])).toContain("docker:index:Image");
  expect(docker("image", "ls", "--quiet", repository)).toBe("");
  expect((await registry.get("_catalog", TOKEN)).text).toContain('"repositories":[]');
});

test("`up` says so when no Docker engine answers", () => {
  const { code, text } = pulumi(["up", "--yes", "--skip-preview"], { env: { DOCKER_HOST: "unix:///nowhere.sock" } });
  expect(code).not.toBe(0);
  expect(text).toMatch(/is built by Docker, and no engine answers: start Docker/);
});

test("`up` pushes with the token, and what it hands on pulls back by digest", async () => {
  up();
  expect(ref()).toMatch(new RegExp(`^${repository}@sha256:[0-9a-f]{64}$`));
  expect((await registry.get("team/wmtp/tags/list")).status).toBe(401);
  const { tags } = JSON.parse((await registry.get("team/wmtp/tags/list", TOKEN)).text);
  expect(tags).toEqual([expect.stringMatching(/^[0-9a-f]{12}$/)]);

  docker("image", "rm", "--force", `${repository}:${tags[0]}`);
  const login = { env: { DOCKER_CONFIG: join(root, "login") } };
  mustRun(["docker", "login", "--username", registry.user, "--password-stdin", registry.server], {
    stdin: TOKEN,
    ...login,
  });
  mustRun(["docker", "pull", "--quiet", ref()], login);
  const container = docker("create", ref(), "/none");
  expect(docker("cp", `${container}:/src/run.py`, "-")).toContain("print(1)");
  docker("rm", container);
});

test("the same again changes nothing, and nor does another token", () => {
  const before = ref();
  expect(mustPulumi(["preview", "--expect-no-changes"])).toContain("unchanged");
  registry.changePassword(NEXT_TOKEN);
  mustPulumi(["config", "set", "--secret", "registryToken"], { stdin: NEXT_TOKEN });
  expect(mustPulumi(["preview", "--expect-no-changes"])).toContain("unchanged");
  up();
  expect(ref()).toBe(before);
});

test("a change of the source is a new image under a new tag, pushed with the new token", async () => {
  const before = ref();
  writeFileSync(join(project, "trainer", "src", "run.py"), "print(2)\n");
  expect(mustPulumi(["preview"])).toMatch(/1 to update/);
  up();
  expect(ref()).not.toBe(before);
  expect(JSON.parse((await registry.get("team/wmtp/tags/list", NEXT_TOKEN)).text).tags).toHaveLength(2);
});

test("a registry that refuses the token is named, and the token is not", () => {
  registry.changePassword("another");
  writeFileSync(join(project, "trainer", "src", "run.py"), "print(3)\n");
  const { code, text } = pulumi(["up", "--yes", "--skip-preview"]);
  expect(code).not.toBe(0);
  expect(text).toMatch(/docker login failed .*401 Unauthorized/);
});

test("no token in what was said, in the state or in the images; and a destroy leaves what was pushed", async () => {
  registry.changePassword(NEXT_TOKEN);
  const state = mustPulumi(["stack", "export"]);
  const images = docker("image", "ls", "--quiet", repository).split("\n");
  mustPulumi(["destroy", "--yes", "--skip-preview"]);
  const places = [...said, state, docker("image", "inspect", ...images)];
  for (const image of images) places.push(docker("history", "--no-trunc", image));
  expect(places.filter((place) => place.includes(SECRET))).toEqual([]);
  expect((await registry.get("team/wmtp/tags/list", NEXT_TOKEN)).status).toBe(200);
});
