/** Runs the real engine on a stack of one test. */
import { spawnSync } from "node:child_process";

export interface Result {
  readonly code: number | null;
  /** stdout and stderr together. */
  readonly text: string;
}

export abstract class PulumiStack {
  abstract readonly name: string;
  abstract readonly env: NodeJS.ProcessEnv;
  /** Folder of Pulumi.yaml. */
  abstract readonly project: string;
  /** Nothing waits for a person; what takes longer than this hangs. */
  protected abstract readonly longestMs: number;

  pulumi(...args: string[]): Result {
    return this.pulumiIn(this.env, ...args);
  }

  pulumiIn(env: NodeJS.ProcessEnv, ...args: string[]): Result {
    const { status, stdout, stderr } = spawnSync("pulumi", [...args, "--stack", this.name, "--non-interactive"], {
      cwd: this.project,
      env,
      encoding: "utf8",
      timeout: this.longestMs,
      killSignal: "SIGKILL",
      maxBuffer: 1 << 28,
    });
    return { code: status, text: stdout + stderr };
  }

  mustRun(...args: string[]): string {
    const { code, text } = this.pulumi(...args);
    if (code !== 0) throw new Error(`pulumi ${args.join(" ")} exited with ${code}:\n${text}`);
    return text;
  }

  up(): Result {
    return this.pulumi("up", "--yes", "--skip-preview");
  }
}
