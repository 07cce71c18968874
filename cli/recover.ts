/** `wmtp recover`: clears what a killed `pulumi` left behind - its lock on the stack, and creates it never finished. */

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { PROJECT } from "../components/stack-file.ts";
import { exportState, UserError } from "./state.ts";

/** A lock file of Pulumi's file backend. */
interface Lock {
  readonly pid: number;
  readonly hostname: string;
  readonly username: string;
  readonly timestamp: string;
}

/** @returns what was done, a line each; empty when there was nothing to do. */
export async function recover(stack: string): Promise<string[]> {
  const folder = fileBackend();
  const done = folder === undefined ? [] : [...removeDeadLocks(folder, stack), ...removeTornAttributes(folder, stack)];
  return [...done, ...(await clearPendingCreates(stack))];
}

/** The folder of a file backend; undefined for any other. */
function fileBackend(): string | undefined {
  const backend = process.env.PULUMI_BACKEND_URL ?? "";
  return backend.startsWith("file://") ? join(fileURLToPath(backend), ".pulumi") : undefined;
}

/** Only locks of processes that are dead on this very host; any other lock may be a colleague at work. */
function removeDeadLocks(folder: string, stack: string): string[] {
  const directory = join(folder, "locks", "organization", PROJECT, stack);
  if (!existsSync(directory)) return [];
  const locks = readdirSync(directory).filter((name) => name.endsWith(".json")); // beside each lies an .attrs file
  return locks.flatMap((name) => {
    const file = join(directory, name);
    const lock: Lock = JSON.parse(readFileSync(file, "utf8"));
    if (lock.hostname !== hostname() || isRunning(lock.pid)) {
      throw new UserError(
        `stack ${stack} is locked by ${lock.username}@${lock.hostname} (pid ${lock.pid}, since ${lock.timestamp}): wait for it; if it is dead, run pulumi cancel --stack ${stack}`,
      );
    }
    for (const path of [file, `${file}.attrs`]) rmSync(path, { force: true });
    return [`removed the lock of a pulumi that was killed (pid ${lock.pid}, ${lock.timestamp})`];
  });
}

/**
 * The file backend replaces the state as a whole, but not what it notes beside it: a kill between the two leaves that empty, and then the
 * state, which is whole, cannot be read any more ("failed to load checkpoint: EOF"). Without the note it can.
 */
function removeTornAttributes(folder: string, stack: string): string[] {
  const file = join(folder, "stacks", PROJECT, `${stack}.json.attrs`);
  if (!existsSync(file)) return [];
  try {
    JSON.parse(readFileSync(file, "utf8"));
    return [];
  } catch {
    rmSync(file);
    return ["removed what a killed pulumi had half written beside the state; the state is whole"];
  }
}

/** The launcher finds what a create had begun by its name, so forgetting the open operation loses nothing. */
async function clearPendingCreates(stack: string): Promise<string[]> {
  const exported = await exportState(stack).catch(() => undefined); // no such stack yet: nothing pending either
  const pending = exported?.deployment.pending_operations?.filter(({ type }) => type === "creating") ?? [];
  if (exported === undefined || pending.length === 0) return [];
  const state = JSON.parse(exported.text);
  state.deployment.pending_operations = state.deployment.pending_operations.filter(
    ({ type }: { type: string }) => type !== "creating",
  );
  const imported = spawnSync("pulumi", ["stack", "import", "--stack", stack, "--non-interactive"], {
    input: JSON.stringify(state),
    encoding: "utf8",
  });
  if (imported.status !== 0) throw new UserError(`could not clear pending creates: ${imported.stderr.trim()}`);
  return [
    `cleared ${pending.length} create(s) that a killed pulumi had begun; what they started is found again by name`,
  ];
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
