/** A secret of the organization on the GPU cloud, through the real engine: made, rotated, found, removed, and never in clear. */
import { appendFileSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { SmallStack } from "../stand-ins/small-stack.ts";
import { VesslCloud } from "../support/vessl-cloud.ts";

jest.setTimeout(180_000);
const LAUNCHER = resolve(import.meta.dirname, "..", "..", "launcher");
const VALUES = { first: "planted-first-value", second: "planted-second-value" };

let cloud: VesslCloud;
let stack: SmallStack;
beforeAll(async () => {
  cloud = await VesslCloud.start();
  stack = new SmallStack(cloud.env);
  appendFileSync(join(stack.project, "Pulumi.yaml"), `plugins: {providers: [{name: launcher, path: ${LAUNCHER}}]}\n`);
  declare(VALUES.first);
});
afterAll(async () => {
  stack?.dispose();
  await cloud?.dispose();
});

function declare(value: string): void {
  stack.mustRun("config", "set", "--secret", "small:value", value);
  stack.program(`
    class OrgSecret extends pulumi.CustomResource {
      constructor(name, args) { super("launcher:index:OrgSecret", name, args); }
    }
    const place = { target: "vessl", organization: "acme", project: "infra", bucket: "wmtp", region: "eu-north-1", checkpoints: "checkpoints/" };
    const config = new pulumi.Config();
    new OrgSecret("token", { place, name: "WMTP_TEST_TOKEN", value: config.requireSecret("value") });
  `);
}

const planted = (text: string) => Object.values(VALUES).filter((value) => text.includes(value));
const upserts = () => cloud.requests().filter(({ path }) => path.endsWith("/secrets/generic_secret"));

test("a preview asks nothing and tells nothing", () => {
  expect(planted(stack.mustRun("preview", "--diff") + stack.mustRun("preview", "--json"))).toEqual([]);
  expect(cloud.requests()).toEqual([]);
});

test("made: the store of secrets has it, and nobody else", () => {
  const said = stack.mustUp();
  expect(upserts()).toMatchObject([{ body: { secret_name: "WMTP_TEST_TOKEN", value: VALUES.first } }]);
  expect(planted(said + stack.mustRun("stack", "export"))).toEqual([]);
  expect(stack.mustRun("stack", "export", "--show-secrets")).toContain(VALUES.first);
  const files = readdirSync(stack.root, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  expect(files.length).toBeGreaterThan(3);
  for (const { parentPath, name } of files)
    expect([name, planted(readFileSync(join(parentPath, name), "latin1"))]).toEqual([name, []]);
});

test("the same again: nothing", () => {
  expect(stack.mustUp()).toContain("2 unchanged");
  expect(upserts()).toHaveLength(1);
});

test("another value: an update in place, with neither value shown", () => {
  declare(VALUES.second);
  const said = stack.mustRun("preview", "--diff") + stack.mustUp();
  expect(said).toMatch(/~ 1 updated/);
  expect(planted(said)).toEqual([]);
  expect(upserts().at(-1)).toMatchObject({ body: { value: VALUES.second } });
});

test("one that somebody removed is noticed by refresh, and made again", async () => {
  const removed = await cloud.sdk(
    'secrets = api.secret_list_api(organization_name="acme", kind="generic-secret").secrets\napi.secret_generic_secret_delete_api(organization_name="acme", secret_id=secrets[0].credentials_id)\n',
  );
  expect(removed).toMatchObject({ code: 0 });
  expect(stack.mustRun("refresh", "--yes", "--skip-preview")).toMatch(/- 1 deleted/);
  expect(stack.mustUp()).toMatch(/\+ 1 created/);
});

test("gone with its resource", async () => {
  stack.mustRun("destroy", "--yes", "--skip-preview");
  const left = await cloud.sdk(
    'print(len(api.secret_list_api(organization_name="acme", kind="generic-secret").secrets or []))\n',
  );
  expect(left.stdout.trim()).toBe("0");
});

test("a refusal of the store does not quote the value", async () => {
  await cloud.faults({ method: "POST", path: "/secrets/generic_secret", times: 20, effect: { status: 403 } });
  const { code, text } = stack.up();
  await cloud.clearFaults();
  expect(code).not.toBe(0);
  expect(text).toMatch(/the GPU cloud refused POST .*secrets\/generic_secret \(403/);
  expect(planted(text)).toEqual([]);
});
