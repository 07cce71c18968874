/** Processes that outlive whoever started them, found again without ever mistaking a reused process id for them. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

/** A process id is reused; together with its start time since boot, and the boot, it is not. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTicks: string;
  readonly bootId: string;
}

/** Who `pid` is now; undefined when there is no such process, or it is a zombie that only waits to be reaped. */
export function identify(pid: number): ProcessIdentity | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The command, in parentheses, may itself hold spaces and parentheses; the fields are counted from behind it.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (fields[0] === "Z" || fields[0] === "X") return undefined;
    return {
      pid,
      startTicks: fields[19] as string,
      bootId: readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(),
    };
  } catch {
    return undefined;
  }
}

export function isAlive(identity: ProcessIdentity): boolean {
  const now = identify(identity.pid);
  return now !== undefined && now.startTicks === identity.startTicks && now.bootId === identity.bootId;
}

/**
 * Starts `command` in a session of its own, output appended to `logFile`, environment exactly `env`.
 * Ctrl-C in the terminal and the end of this process do not reach it.
 */
export function spawnDetached(
  command: readonly string[],
  options: { logFile: string; env: NodeJS.ProcessEnv; cwd: string },
): ChildProcess {
  const log = openSync(options.logFile, "a", 0o600);
  try {
    const [file, ...args] = command as [string, ...string[]];
    return spawn(file, args, { detached: true, stdio: ["ignore", log, log], env: options.env, cwd: options.cwd });
  } finally {
    closeSync(log);
  }
}

/** Sends `signal` to the process group that `leader` leads; a group that is gone is what was wanted. */
export function signalGroup(leader: number, signal: NodeJS.Signals): void {
  signalProcess(-leader, signal);
}

/** Sends `signal` to one process; one that has ended meanwhile is what was wanted. */
export function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Resolves to whether the process was gone within `milliseconds`. */
export async function waitForExit(identity: ProcessIdentity, milliseconds: number): Promise<boolean> {
  const deadline = Date.now() + milliseconds;
  while (isAlive(identity)) {
    if (Date.now() > deadline) return false;
    await sleep(50);
  }
  return true;
}

const INHERITED = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "OMP_NUM_THREADS"] as const;

/** What a process that we start may know: never the stack's config or passphrase, nor whatever else the caller exported. */
export function cleanEnvironment(extra: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const inherited = INHERITED.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]]));
  return { ...Object.fromEntries(inherited), ...extra };
}
