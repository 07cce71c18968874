/**
 * Secrets planted where people have them - encrypted config, environment, passphrase - and looked for everywhere else: in what the
 * terminal shows, in every file of the stack and in the environments and command lines of what it starts.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { EngineStack } from "../support/engine-stack.ts";

const PLANTED = {
  config: "planted-hf-token-7f3a",
  aws: "planted-aws-secret-91bc",
  hub: "planted-hub-token-55de",
  passphrase: "planted-passphrase-c0de",
};
let stack: EngineStack;

jest.setTimeout(300_000);
beforeAll(() => {
  stack = new EngineStack("secrets", {
    config: { "wmtp:pipelines": { critic: { gpus: 2 }, ntp: { gpus: 1 } } },
    env: {
      AWS_SECRET_ACCESS_KEY: PLANTED.aws,
      HF_TOKEN: PLANTED.hub,
      PULUMI_CONFIG_PASSPHRASE: PLANTED.passphrase,
    },
  });
  stack.mustRun("config", "set", "--secret", "wmtp:hfToken", PLANTED.config);
});
afterAll(() => stack.dispose());

const found = (text: string) => Object.values(PLANTED).filter((secret) => text.includes(secret));

/** Every file below `directory`, also as what a database or an archive would hold in clear. */
function filesWithSecrets(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => found(readFileSync(file, "latin1")).length > 0);
}

test("while it runs: no secret in the environment or arguments of supervisor, trainer or tracker", async () => {
  stack.configure({ "wmtp:overrides.training\\.seed": 100 });
  const up = stack.startUp();
  let text = "";
  up.stdout?.on("data", (chunk) => {
    text += chunk;
  });
  up.stderr?.on("data", (chunk) => {
    text += chunk;
  });
  const ended = new Promise<number | null>((resolve) => up.on("exit", resolve));
  await stack.until("a trainer runs", () => stack.trained().length > 0);
  const started = stack
    .processes()
    .filter(({ command }) => /supervisor\.ts|stand-in-trainer|mlflow server/.test(command));
  expect(started.length).toBeGreaterThanOrEqual(3);
  for (const { pid, command } of started) {
    const environment = readFileSync(`/proc/${pid}/environ`, "latin1");
    expect(found(environment + command)).toEqual([]);
    expect(environment).not.toContain("PULUMI_CONFIG");
  }
  expect(await ended).toBe(0);
  expect(found(text)).toEqual([]);
});

test("afterwards: no secret in any file, in the outputs or in a preview", () => {
  expect(filesWithSecrets(stack.root)).toEqual([]);
  for (const args of [
    ["preview", "--diff"],
    ["preview", "--json"],
    ["stack", "output", "--json"],
    ["stack", "export"],
  ]) {
    expect(found(stack.mustRun(...args))).toEqual([]);
  }
  expect(found(stack.wmtp("outputs").text)).toEqual([]);
});

test("the search itself finds what is there", () => {
  expect(found(stack.mustRun("config", "get", "wmtp:hfToken"))).toEqual([PLANTED.config]);
});

test("an error does not repeat them either", () => {
  stack.fail("critic", "boom");
  stack.configure({ "wmtp:overrides.training\\.seed": 11 });
  const { code, text } = stack.up();
  expect(code).not.toBe(0);
  expect(found(text)).toEqual([]);
  expect(filesWithSecrets(stack.root)).toEqual([]);
});

test("a secret in plain text, or inside a section, is refused without being shown", () => {
  stack.mustRun("config", "set", "--plaintext", "wmtp:registryToken", PLANTED.hub);
  stack.mustRun("config", "set", "--secret", "--path", "wmtp:tracking.domain", PLANTED.aws);
  const { code, text } = stack.pulumi("preview");
  expect(code).not.toBe(0);
  expect(text).toContain("wmtp:registryToken: is stored in plain text; set it with: pulumi config set --secret");
  expect(text).toContain("wmtp:tracking: holds a secret value");
  expect(found(text)).toEqual([]);
});
