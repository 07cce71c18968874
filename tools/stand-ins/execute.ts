/** Runs a program to its end. */
import { spawn } from "node:child_process";

export interface Execution {
  readonly stdin?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** When aborted, the program and all it started are ended. */
  readonly signal?: AbortSignal;
  /** Called with every piece of output as it comes. */
  onOutput?(text: string): void;
}

export interface Ended {
  /** Exit code; of a program that a signal ended, the signal's name. */
  readonly code: number | NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** @throws Error if the program cannot be started; not if it fails. */
export function execute(command: readonly string[], { stdin, env, cwd, signal, onOutput }: Execution): Promise<Ended> {
  return new Promise((resolve, reject) => {
    // A group of its own: ending a shell alone would leave what it started.
    const child = spawn(command[0] as string, command.slice(1), { env, cwd, detached: true });
    const kill = () => {
      try {
        process.kill(-(child.pid as number), "SIGTERM");
      } catch {
        // it has ended by itself
      }
    };
    signal?.addEventListener("abort", kill, { once: true });
    const output = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8").on("data", (text: string) => {
        output[name] += text;
        onOutput?.(text);
      });
    }
    child.on("error", reject);
    child.on("close", (code, killedBy) => {
      signal?.removeEventListener("abort", kill);
      resolve({ code: code ?? killedBy, ...output });
    });
    child.stdin.on("error", () => undefined); // a program need not read its input
    child.stdin.end(stdin ?? "");
  });
}
