/** A stack beside another one of a test: of the same project, state and data. */
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import type { RunOutputs } from "../../launcher/resources/run.ts";
import type { EngineStack } from "./engine-stack.ts";
import { PulumiStack, type Result } from "./pulumi-stack.ts";

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

  /** Inputs of the runs that a preview would create, replace or update. */
  planned(): Record<string, unknown>[] {
    const text = this.mustRun("preview", "--json");
    const { steps } = JSON.parse(text.slice(text.indexOf("{"), text.lastIndexOf("}") + 1)) as {
      steps: { op: string; newState?: { type: string; inputs: Record<string, unknown> } }[];
    };
    const changed = steps.filter(({ op }) => op === "create" || op === "replace" || op === "update");
    return changed.flatMap(({ newState }) => (newState?.type === "launcher:index:Run" ? [newState.inputs] : []));
  }

  /** An update beside others. */
  startUp(): Promise<Result> {
    const words = ["up", "--yes", "--skip-preview", "--stack", this.name, "--non-interactive"];
    const up = spawn("pulumi", words, { cwd: this.project, env: this.env, timeout: this.longestMs });
    let text = "";
    for (const stream of [up.stdout, up.stderr]) stream.on("data", (chunk) => (text += chunk));
    return new Promise((resolve) => up.on("close", (code) => resolve({ code, text })));
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
