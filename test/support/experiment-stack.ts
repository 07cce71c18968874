/** A stack beside another one of a test: of the same project, state and data. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import type { RunOutputs } from "../../launcher/resources/run.ts";
import type { EngineStack } from "./engine-stack.ts";
import { PulumiStack } from "./pulumi-stack.ts";

export class ExperimentStack extends PulumiStack {
  readonly name: string;
  readonly project: string;
  readonly env: NodeJS.ProcessEnv;
  protected readonly longestMs = 120_000;

  /** @param config below `config:` of its stack file, with whole keys */
  constructor(beside: EngineStack, name: string, config: Readonly<Record<string, unknown>>) {
    super();
    this.name = name;
    this.project = beside.project;
    this.env = beside.env;
    this.write(config);
    this.mustRun("stack", "select", "--create");
  }

  write(config: Readonly<Record<string, unknown>>): void {
    writeFileSync(join(this.project, `Pulumi.${this.name}.yaml`), stringify({ config }));
  }

  file(): string {
    return readFileSync(join(this.project, `Pulumi.${this.name}.yaml`), "utf8");
  }

  resources(): { type: string; urn: string; inputs: Record<string, unknown>; outputs: Record<string, unknown> }[] {
    return JSON.parse(this.mustRun("stack", "export")).deployment.resources ?? [];
  }

  /** Types of what the stack owns, sorted, without what is the engine's own. */
  owned(): string[] {
    return this.resources()
      .map(({ type }) => type)
      .filter((type) => !type.startsWith("pulumi:"))
      .sort();
  }

  /** Runs in the state, by pipeline. */
  runs(): Record<string, RunOutputs> {
    const runs = this.resources().filter(({ type }) => type === "launcher:index:Run");
    return Object.fromEntries(runs.map(({ outputs }) => [outputs.pipeline, outputs as unknown as RunOutputs]));
  }

  outputs(): Record<string, unknown> {
    return JSON.parse(this.mustRun("stack", "output", "--json"));
  }

  /** Its error, with line breaks of the terminal taken out. */
  refused(...args: string[]): string {
    const { code, text } = this.pulumi(...args);
    if (code === 0) throw new Error(`pulumi ${args.join(" ")} was not refused:\n${text}`);
    return text.replaceAll(/\s+/g, " ");
  }
}
