/** A stack of a few lines for one test file: temporary project and state, the real engine, our stand-ins as its providers. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { PulumiStack } from "../support/pulumi-stack.ts";

const PROJECT = resolve(import.meta.dirname, "..", "..");
/** Nothing here takes longer than seconds; what does hangs. */
const ENGINE_MS = 120_000;

export interface StateResource {
  readonly urn: string;
  readonly type: string;
  readonly id?: string;
  readonly inputs: Readonly<Record<string, unknown>>;
  readonly outputs: Readonly<Record<string, unknown>>;
}

export class SmallStack extends PulumiStack {
  readonly name = "small";
  readonly root = mkdtempSync(join(tmpdir(), "wmtp-stand-ins-"));
  readonly env: NodeJS.ProcessEnv;
  protected readonly longestMs = ENGINE_MS;
  readonly project = join(this.root, "project");

  constructor(env: Readonly<Record<string, string>> = {}) {
    super();
    for (const folder of ["project", "state", "home"]) mkdirSync(join(this.root, folder));
    symlinkSync(join(PROJECT, "node_modules"), join(this.project, "node_modules"));
    writeFileSync(join(this.project, "package.json"), "{}");
    writeFileSync(
      join(this.project, "Pulumi.yaml"),
      "name: small\nmain: index.cjs\nruntime: {name: nodejs, options: {typescript: false}}\n",
    );
    this.env = {
      PATH: [join(PROJECT, "tools", "stand-ins", "bin"), join(PROJECT, ".tools", "bin"), process.env.PATH].join(":"),
      HOME: process.env.HOME,
      PULUMI_HOME: join(this.root, "home"),
      PULUMI_BACKEND_URL: `file://${join(this.root, "state")}`,
      PULUMI_CONFIG_PASSPHRASE: "passphrase-of-a-test",
      PULUMI_SKIP_UPDATE_CHECK: "1",
      PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true",
      AWS_REGION: "eu-north-1",
      ...env,
    };
    this.program("");
    this.mustRun("stack", "select", "--create");
  }

  /** Replaces the program: statements that use pulumi, aws, tls, random, command and `exports`. */
  program(text: string): void {
    const load = (name: string) => (text.includes(`${name}.`) ? `const ${name} = require("@pulumi/${name}");\n` : "");
    const loads = ["pulumi", "aws", "tls", "random", "command"].map(load).join("");
    writeFileSync(join(this.project, "index.cjs"), loads + text);
  }

  mustUp(): string {
    return this.mustRun("up", "--yes", "--skip-preview");
  }

  /** The outputs of the program, secrets in clear. */
  outputs(): Record<string, string> {
    return JSON.parse(this.mustRun("stack", "output", "--json", "--show-secrets"));
  }

  /** By logical name. */
  resources(): Record<string, StateResource> {
    const all: StateResource[] = JSON.parse(this.mustRun("stack", "export")).deployment.resources ?? [];
    return Object.fromEntries(all.map((resource) => [resource.urn.split("::").at(-1), resource]));
  }

  /** Everything the engine has written: the state, its backups and its history. */
  written(): string {
    const state = join(this.root, "state");
    return readdirSync(state, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => readFileSync(join(entry.parentPath, entry.name), "utf8"))
      .join("\n");
  }

  dispose(): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}
