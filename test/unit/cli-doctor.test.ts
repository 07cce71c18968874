/** `wmtp doctor`, as far as it goes without the GPU cloud: what it reads of a stack file, how it tells what it found. */
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { Checks } from "../../cli/checks.ts";
import { doctor } from "../../cli/doctor.ts";
import { readStackFile } from "../../cli/stack-file.ts";
import { stackFile } from "../support/stack-config.ts";

const TOKEN = "planted-token";
const directory = process.cwd();
const outer = { ...process.env };
let project: string;
beforeEach(() => {
  project = mkdtempSync(join(tmpdir(), "wmtp-doctor-"));
  process.chdir(project);
  for (const name of ["VESSL_ACCESS_TOKEN", "VESSL_CREDENTIALS_FILE", "VESSL_API_HOST"]) delete process.env[name];
  process.env.VESSL_CONFIG_PATH = join(project, "none");
});
afterEach(() => {
  process.chdir(directory);
  process.env = { ...outer };
  rmSync(project, { recursive: true, force: true });
});

const write = (text: string, stack = "dev") => writeFileSync(join(project, `Pulumi.${stack}.yaml`), text);
const writeConfig = (config: object) => write(stringify({ config }));
const prod = () => stackFile("prod").config;

/** Where nobody listens any more. */
async function closedPort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

async function found(): Promise<Record<string, string>> {
  const { all } = await doctor("dev");
  return Object.fromEntries(all.map(({ check, result, detail }) => [check, `${result}: ${detail}`]));
}

test("a line for each check, whatever a name holds; JSON says the same", () => {
  const checks = new Checks();
  checks.add("cluster", "ok", "east\nFAILED  \u001b[31mwest");
  checks.add("preset", "failed", "is not there; take another");
  checks.skip(["volume", "secret"], "needs the storage");
  expect(checks.text()).toBe(
    [
      "ok           cluster       east FAILED [31mwest",
      "FAILED       preset        is not there; take another",
      "not checked  volume        needs the storage",
      "not checked  secret        needs the storage",
    ].join("\n"),
  );
  expect(JSON.parse(checks.json("dev"))).toMatchObject({
    stack: "dev",
    ok: false,
    checks: [{ check: "cluster", result: "ok" }, { result: "failed" }, { result: "not checked" }, {}],
  });
});

test("what was not checked is no failure", async () => {
  const checks = new Checks();
  checks.skip(["volume"], "needs the storage");
  expect(await checks.look("login", async () => "somebody")).toBe(true);
  expect(checks.failed).toBe(false);
  expect(await checks.look("login", () => Promise.reject(new Error("cause: remedy")))).toBe(false);
  expect(checks.all.at(-1)).toEqual({ check: "login", result: "failed", detail: "cause: remedy" });
  expect(checks.failed).toBe(true);
});

test("a stack file is read as the engine hands it to the program", () => {
  write(`config:
  aws:region: eu-north-1
  launcher: {target: local}
  wmtp:storage:
  wmtp:ephemeral: true
  wmtp:hfToken: {secure: v1:abc}
  wmtp:image: {repository: {secure: v1:abc}}
`);
  const { raw, secrets } = readStackFile("dev");
  expect(raw).toMatchObject({
    "aws:region": "eu-north-1",
    "wmtp:launcher": '{"target":"local"}',
    "wmtp:storage": "",
    "wmtp:ephemeral": "true",
  });
  expect([...secrets]).toEqual(["wmtp:hfToken", "wmtp:image"]);
});

test.each<[string, string | undefined, string]>([
  ["no stack file", undefined, "there is no Pulumi.dev.yaml in "],
  ["no YAML", "config:\n  a: [1\n", "Pulumi.dev.yaml is not YAML (BAD_INDENT"],
  ["no mapping", "config: [a]\n", "Pulumi.dev.yaml has a config that is no mapping of keys"],
])("%s", async (_name, text, message) => {
  if (text !== undefined) write(text);
  await expect(doctor("dev")).rejects.toThrow(message);
});

test("a misspelled stack is told which there are", async () => {
  write("config: {}\n", "prod");
  await expect(doctor("prd")).rejects.toThrow("there is no Pulumi.prd.yaml; stacks: prod");
});

test("the local target needs no login", async () => {
  writeConfig(stackFile("minitest").config);
  const checks = await doctor("dev");
  expect(checks.failed).toBe(false);
  expect(checks.text()).toContain("local: runs are processes of this machine and need no login");
});

test("every problem of the stack file is a failure, and what the cloud would be asked by it is not checked", async () => {
  const { "aws:region": _region, ...config } = prod();
  writeConfig({
    ...config,
    "wmtp:launcher": { target: "vessl" },
    "wmtp:image": { repository: "ghcr.io/me/x", repositry: "x" },
  });
  const { all } = await doctor("dev");
  const failures = all.filter(({ check }) => check === "stack file");
  expect(failures.map(({ result }) => result)).toEqual(["failed", "failed", "failed"]);
  expect(failures.map(({ detail }) => detail)).toEqual([
    expect.stringContaining('wmtp:image.repositry: unknown key; did you mean "repository"?'),
    expect.stringContaining("wmtp:launcher.vessl.organization: is missing"),
    expect.stringContaining("aws:region: is missing"),
  ]);
  expect(all.find(({ check }) => check === "organization")).toMatchObject({ result: "not checked" });
});

test("without a token: how to get one, and of which product", async () => {
  writeConfig(prod());
  expect(await found()).toMatchObject({
    "stack file": "ok: Pulumi.dev.yaml",
    host: "not checked: https://api.vessl.ai: needs a token",
    login: expect.stringMatching(/^failed: there is no token: .*vessl configure.*VESSL_ACCESS_TOKEN/),
    product: expect.stringMatching(/^not checked: .*app\.vessl\.ai.*vesslctl.*get an account/),
    organization: "not checked: needs a login that works",
    secret: "not checked: needs a login that works",
  });
});

test("infrastructure alone needs a token too: it keeps the secrets of those who build on it there", async () => {
  writeConfig({ ...prod(), "wmtp:pipelines": {} });
  expect((await doctor("dev")).failed).toBe(true);
});

test.each<[string, Record<string, string>, Record<string, string>]>([
  [
    "a host that is not there",
    { VESSL_API_HOST: "http://localhost:CLOSED" },
    {
      host: "cannot be reached (ECONNREFUSED at GET /accounts/me): check the network",
      login: "not checked: needs the host",
    },
  ],
  [
    "a host that no token may be sent to",
    { VESSL_API_HOST: "http://vessl.example" },
    { host: "failed: VESSL_API_HOST is http://vessl.example: the access token would travel in clear text" },
  ],
  [
    "a token that no header can hold",
    { VESSL_ACCESS_TOKEN: `${TOKEN} ${TOKEN}` },
    { host: "not checked: https://api.vessl.ai", login: "failed: the access token holds spaces" },
  ],
])("%s", async (_name, env, expected) => {
  Object.assign(process.env, { VESSL_ACCESS_TOKEN: TOKEN, ...env });
  process.env.VESSL_API_HOST = process.env.VESSL_API_HOST?.replace("CLOSED", String(await closedPort())) ?? "";
  writeConfig(prod());
  const checks = await doctor("dev");
  for (const [check, start] of Object.entries(expected)) {
    const { result, detail } = checks.all.find((one) => one.check === check) ?? {};
    expect(`${result}: ${detail}`).toContain(start);
  }
  expect(checks.failed).toBe(true);
  expect(checks.text() + checks.json("dev")).not.toContain(TOKEN);
});
