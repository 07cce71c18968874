/** The docker command, for tests that run containers. */
import { spawnSync } from "node:child_process";
import { join, resolve } from "node:path";

export const PROJECT = resolve(import.meta.dirname, "..", "..");
/** What all our images are built on here; made by `tools/docker --base`. */
export const DEBIAN = "wmtp-debian:bookworm";
/** Debian with its Python: the base image of the trainer, where Docker Hub's is out of reach. */
export const PYTHON = "wmtp-python:bookworm";

const PYTHON_DOCKERFILE = `FROM ${DEBIAN}
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv
`;

/** The dependencies of the trainer's image, on a busy machine; what takes longer hangs. */
const LONGEST_MS = 400_000;

export interface Ran {
  readonly code: number | null;
  /** stdout and stderr together. */
  readonly text: string;
}

export interface Running {
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Without BuildKit, which Debian's Docker lacks the plugin for. */
export function run(command: readonly string[], { stdin = "", env = {} }: Running = {}): Ran {
  const { status, stdout, stderr, error } = spawnSync(command[0] as string, command.slice(1), {
    cwd: PROJECT,
    env: { ...process.env, DOCKER_BUILDKIT: "0", ...env },
    input: stdin,
    encoding: "utf8",
    timeout: LONGEST_MS,
    maxBuffer: 1 << 28,
  });
  if (error) throw error;
  return { code: status, text: stdout + stderr };
}

/** @returns what it prints, trimmed. @throws Error with all it said, if it fails. */
export function mustRun(command: readonly string[], running: Running = {}): string {
  const { code, text } = run(command, running);
  if (code !== 0) throw new Error(`${command.slice(0, 3).join(" ")} ... exited with ${code}:\n${text}`);
  return text.trim();
}

export const docker = (...args: string[]): string => mustRun(["docker", ...args]);

/** An engine, and both base images. */
export function makeBases(): void {
  mustRun([join(PROJECT, "tools", "docker"), "--base"]);
  mustRun(["docker", "build", "--tag", PYTHON, "-"], { stdin: PYTHON_DOCKERFILE });
}
