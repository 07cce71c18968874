/** The container of a run: bubblewrap with this machine's programs, an /app of its own, and nothing else to write to. */
import { mkdirSync, readdirSync, readlinkSync, realpathSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

const PROJECT = resolve(import.meta.dirname, "..", "..", "..");
const STAND_IN = join(PROJECT, "test", "support", "stand-in-trainer.ts");
const PYTHON = join(PROJECT, ".tools", "trainer", "bin", "python");
/** Made anew in every container, or not there at all. */
const OWN = new Set(["app", "cache", "dev", "proc", "root", "run", "tmp", "stub", "stand-in", "lost+found"]);

export interface ContainerPaths {
  /** Becomes /app. */
  readonly app: string;
  /** Becomes /stand-in: what tests tell the stand-in trainer, and what it says it has done. */
  readonly standIn: string;
  /** Becomes /stub/bin. */
  readonly bin: string;
  /** Directories of this machine by their place in the container. */
  readonly imports: Readonly<Record<string, string>>;
}

/** bubblewrap's words before the command. The environment is bubblewrap's own, so that no secret is on a command line. */
export function containerOptions(paths: ContainerPaths, workdir: string, infoFd: number): string[] {
  const python = dirname(dirname(realpathSync(PYTHON)));
  return [
    ...["--die-with-parent", "--unshare-pid", "--as-pid-1", "--info-fd", String(infoFd)],
    ...readdirSync("/", { withFileTypes: true }).flatMap((entry) => {
      const path = `/${entry.name}`;
      if (OWN.has(entry.name)) return [];
      if (entry.isSymbolicLink()) return ["--symlink", readlinkSync(path), path];
      return entry.isDirectory() ? ["--ro-bind", path, path] : [];
    }),
    ...["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/root", "--tmpfs", "/cache"],
    // Again, for a project or a Python below /root or /tmp.
    ...["--ro-bind", PROJECT, PROJECT],
    ...(python.startsWith("/usr") ? [] : ["--ro-bind", python, python]),
    ...["--ro-bind", paths.bin, "/stub/bin", "--ro-bind", realpathSync(process.execPath), "/stub/node"],
    ...["--bind", paths.standIn, "/stand-in", "--bind", paths.app, "/app"],
    ...["--ro-bind", join(PROJECT, "trainer", "src"), "/app/src"],
    ...["--ro-bind", join(PROJECT, "trainer", "configs"), "/app/configs"],
    ...Object.entries(paths.imports).flatMap(([path, directory]) => ["--bind", directory, path]),
    ...["--chdir", workdir, "--"],
  ];
}

/** What a node gives every run beside the run's own environment. */
export function nodeEnvironment(s3Url: string): Record<string, string> {
  return {
    PATH: "/stub/bin:/usr/local/bin:/usr/bin:/bin",
    HOME: "/root",
    LANG: "C.UTF-8",
    PYTHONPATH: "/app/src",
    PYTHONDONTWRITEBYTECODE: "1",
    STAND_IN_HOME: "/stand-in",
    AWS_ENDPOINT_URL: s3Url,
    AWS_ALLOW_HTTP: "true",
    AWS_EC2_METADATA_DISABLED: "true",
  };
}

/** `python` and `torchrun` of the container: the real ones, but for the trainer itself, unless that is to be real as well. */
export function writePrograms(directory: string, trainer: string): void {
  mkdirSync(directory, { recursive: true });
  const standIn = `case " $* " in *" weighted_mtp.entry "*) ;; *" weighted_mtp.pipelines."*) exec /stub/node --disable-warning=ExperimentalWarning ${STAND_IN} "$@" ;; esac\n`;
  const program = (real: string) => `#!/bin/sh\n${trainer === "real" ? "" : standIn}exec ${real} "$@"\n`;
  const programs = {
    python: program(PYTHON),
    python3: program(PYTHON),
    torchrun: program(`${PYTHON} -m torch.distributed.run`),
  };
  for (const [name, text] of Object.entries(programs)) writeFileSync(join(directory, name), text, { mode: 0o755 });
}
