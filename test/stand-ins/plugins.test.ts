import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const PROJECT = resolve(import.meta.dirname, "..", "..");
const EXPORTS = `export PATH='${PROJECT}/tools/stand-ins/bin':"$PATH"\nexport PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION=true\n`;
const home = mkdtempSync(join(tmpdir(), "wmtp-plugins-"));
afterAll(() => rmSync(home, { recursive: true, force: true }));

/** Nothing is installed, and nothing can be fetched: the proxy is nobody. */
const OFFLINE = { HTTPS_PROXY: "http://127.0.0.1:9", https_proxy: "http://127.0.0.1:9" };

function plugins(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const { status, stdout, stderr } = spawnSync(join(PROJECT, "tools", "plugins"), args, {
    encoding: "utf8",
    env: { PATH: process.env.PATH, PULUMI_HOME: home, ...OFFLINE, ...env },
  });
  return { status, stdout, stderr };
}

function dependencies(): [string, string][] {
  const { dependencies } = JSON.parse(readFileSync(join(PROJECT, "package.json"), "utf8"));
  return ["aws", "command", "docker", "random", "tls"].map((name) => [name, dependencies[`@pulumi/${name}`]]);
}

test("a local stack needs no provider", () => {
  expect(plugins(["minitest", "up"])).toEqual({ status: 0, stdout: "", stderr: "" });
});

test("a preview that cannot have the providers gets the stand-ins, and says what they do not check", () => {
  const { status, stdout, stderr } = plugins(["prod", "preview"]);
  expect([status, stdout]).toEqual([0, EXPORTS]);
  for (const [name, version] of dependencies()) expect(stderr).toContain(`${name}@${version}`);
  expect(stderr).toContain("AWS was not asked");
});

test("an up that cannot have them ends with the cause and the remedy", () => {
  const { status, stdout, stderr } = plugins(["prod", "up"]);
  expect([status, stdout]).toEqual([1, ""]);
  expect(stderr).toMatch(/^error: the provider plugins .* are not installed.*: allow this machine to reach/);
});

test("stand-ins that are asked for are used, and said to be ones", () => {
  const { status, stdout, stderr } = plugins(["prod", "up"], { WMTP_STAND_INS: "1" });
  expect([status, stdout]).toEqual([0, EXPORTS]);
  expect(stderr).toContain("nothing is asked of AWS");
});

test("providers that are installed, or that a mirror of the user's has, are left to the engine", () => {
  const mirror = { PULUMI_PLUGIN_DOWNLOAD_URL_OVERRIDES: ".*=https://mirror.example" };
  expect(plugins(["prod", "up"], mirror)).toEqual({ status: 0, stdout: "", stderr: "" });
  for (const [name, version] of dependencies()) {
    mkdirSync(join(home, "plugins", `resource-${name}-v${version}`), { recursive: true });
  }
  expect(plugins(["prod", "up"])).toEqual({ status: 0, stdout: "", stderr: "" });
});

test("a mode that is none is refused", () => {
  expect(plugins(["prod", "destroy"])).toMatchObject({
    status: 1,
    stderr: "error: usage: tools/plugins STACK preview|up\n",
  });
});
