import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findToken } from "../../launcher/vessl/token.ts";

let home: string;
const config = () => join(home, ".vessl", "config");
const token = (value: string) => `[user]\naccess_token = "${value}"\nextra = 1\n`;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "wmtp-token-"));
  mkdirSync(join(home, ".vessl"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

test("none where there is none", () => {
  expect(findToken({ HOME: home })).toBeUndefined();
  writeFileSync(config(), '[user]\ndefault_organization = "acme"\n');
  expect(findToken({ HOME: home })).toBeUndefined();
  writeFileSync(config(), token(""));
  expect(findToken({ HOME: home, VESSL_ACCESS_TOKEN: "", VESSL_CREDENTIALS_FILE: "" })).toBeUndefined();
});

test("the variable, then the credentials file, then the config file", () => {
  const credentials = join(home, "credentials");
  const other = join(home, "other");
  writeFileSync(config(), token("from-config"));
  expect(findToken({ HOME: home })).toBe("from-config");
  writeFileSync(other, token("from-other"));
  expect(findToken({ HOME: home, VESSL_CONFIG_PATH: other })).toBe("from-other");
  writeFileSync(credentials, token("from-credentials"));
  const env = { HOME: home, VESSL_CONFIG_PATH: other, VESSL_CREDENTIALS_FILE: credentials };
  expect(findToken(env)).toBe("from-credentials");
  expect(findToken({ ...env, VESSL_ACCESS_TOKEN: " from-env\n" })).toBe("from-env");
});

test("a credentials file without a token does not fall through to the config file", () => {
  writeFileSync(config(), token("from-config"));
  const empty = join(home, "empty");
  writeFileSync(empty, "");
  expect(findToken({ HOME: home, VESSL_CREDENTIALS_FILE: empty })).toBeUndefined();
});

test("a named file that is not there, and one that is not TOML, are errors that hold nothing of it", () => {
  const missing = join(home, "missing");
  expect(() => findToken({ HOME: home, VESSL_CREDENTIALS_FILE: missing })).toThrow(/missing, which cannot be read/);
  writeFileSync(config(), '[user]\naccess_token = "planted-5a\n');
  expect(() => findToken({ HOME: home })).toThrow(/config is not TOML: write it anew/);
  expect(() => findToken({ HOME: home })).not.toThrow(/planted/);
});
