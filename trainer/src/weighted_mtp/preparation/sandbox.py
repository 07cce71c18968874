"""Runs untrusted Python source in bubblewrap, or refuses.

What a sandboxed process gets: user, pid, net, ipc, uts and cgroup namespaces and a /proc of its own; no
network interface but an unconnected loopback; a read-only view of /usr and of the interpreter's prefix and
nothing else of the host; a small tmpfs at /tmp, which is its working directory and home too; an environment
of five fixed variables; a new session; death with its parent; resource limits; a wall-clock limit that kills
the whole pid namespace. As root it also runs under another user id (65534), since process limits do not bind
root.

Limits of it, to know: the kernel is shared (a hole in it is a hole in the sandbox; nested user namespaces are
switched off, system calls are not filtered). Memory is limited per process and memory files count for none,
so the total is bounded by processes x (memory_bytes + open_files x file_bytes) + disk_bytes and not by one
figure. What lies in /usr can be read. Time can be measured.
"""

from __future__ import annotations

import contextlib
import functools
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from weighted_mtp.errors import InputError
from weighted_mtp.preparation import inside

NOBODY = 65534
# Hash seed fixed: the order of a set must not decide whether a candidate passes.
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "TMPDIR": "/tmp",
}


class SandboxUnavailable(InputError):
    """Untrusted code cannot be isolated here."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one sandboxed process tree.

    cpu_seconds (2): CPU time of one process. wall_seconds (5): time until everything is killed.
    memory_bytes (512 MiB): address space of one process. file_bytes (4 MiB): size of one file.
    disk_bytes (16 MiB): all files in /tmp. processes (4): processes and threads, the sandbox's two included.
    open_files (32). output_bytes (64 KiB): what is kept of the output; 64 times as much ends the program.
    """

    cpu_seconds: int = 2
    wall_seconds: float = 5.0
    memory_bytes: int = 512 << 20
    file_bytes: int = 4 << 20
    disk_bytes: int = 16 << 20
    processes: int = 4
    open_files: int = 32
    output_bytes: int = 64 << 10

    def rlimits(self, isolated: bool) -> dict[str, int]:
        """Names and values for `inside.apply_limits`."""
        limits = {
            "RLIMIT_CPU": self.cpu_seconds,
            "RLIMIT_AS": self.memory_bytes,
            "RLIMIT_FSIZE": self.file_bytes,
            "RLIMIT_NOFILE": self.open_files,
            "RLIMIT_CORE": 0,
        }
        if isolated:  # outside a user namespace it would count every process of the user
            limits["RLIMIT_NPROC"] = self.processes
        return limits


@dataclass(frozen=True)
class Result:
    """How one program or candidate ended. status: "passed", "failed" or "timed out"; reason: empty when
    passed."""

    status: str
    reason: str
    output: str
    seconds: float

    @property
    def passed(self) -> bool:
        return self.status == "passed"


@functools.cache
def _inside_source() -> str:
    return Path(inside.__file__).read_text(encoding="utf-8")


@functools.cache
def _interpreter() -> tuple[str, str]:
    """(executable, prefix) of the base interpreter, links resolved. A virtual environment is not shown at
    all."""
    executable = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    return executable, os.path.realpath(sys.base_prefix)


def _view(disk_bytes: int, proc: list[str]) -> list[str]:
    """Arguments that make the file system: what Python needs, read-only, and small tmpfs."""
    args = ["--ro-bind", "/usr", "/usr"]
    for name in ("/bin", "/sbin", "/lib", "/lib64", "/lib32"):
        if os.path.islink(name):
            args += ["--symlink", os.readlink(name), name]
        elif os.path.isdir(name):
            args += ["--ro-bind", name, name]
    executable, prefix = _interpreter()
    shown = ["/usr"]
    for path in (prefix, os.path.dirname(executable)):
        if any(path == other or path.startswith(other + "/") for other in shown):
            continue
        # Left to itself bubblewrap makes the parents 0700, and the outer view's are another user's.
        for parent in reversed(Path(path).parents[:-1]):
            args += ["--dir", str(parent)]
        args += ["--ro-bind", path, path]
        shown.append(path)
    args += [*proc, "--dev", "/dev"]
    # bubblewrap's own root and /dev are tmpfs without a size: read-only, or a candidate fills the memory
    # there.
    args += ["--size", str(disk_bytes), "--tmpfs", "/tmp", "--remount-ro", "/dev", "--remount-ro", "/"]
    return [*args, "--chdir", "/tmp"]


def _isolation(bwrap: str, disk_bytes: int) -> list[str]:
    """The command in front of the interpreter."""
    common = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    common += ["--die-with-parent", "--new-session", "--clearenv"]
    for name, value in ENVIRONMENT.items():
        common += ["--setenv", name, value]
    own = [
        "--unshare-user",
        "--disable-userns",
        "--uid",
        str(NOBODY),
        "--gid",
        str(NOBODY),
        "--hostname",
        "sandbox",
    ]
    inner = [bwrap, *common, *own, *_view(disk_bytes, ["--proc", "/proc"]), "--"]
    if os.geteuid() != 0:
        return inner
    # The kernel exempts root's processes from RLIMIT_NPROC even in a user namespace, so another user id it
    # is. That one may not be allowed to walk to the interpreter (/root is 0700): an outer bubblewrap first
    # makes the same view with root's rights. It keeps the host's /proc, since a new one may be mounted only
    # where an uncovered one is visible.
    caps = ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
    return [bwrap, *common, *caps, *_view(disk_bytes, ["--bind", "/proc", "/proc"]), "--", *drop, *inner]


class Spawned(subprocess.Popen[bytes]):
    """A process of the sandbox, with the directory that goes with it where isolation made none."""

    scratch: Path | None = None


class Sandbox:
    """Starts processes under `limits` (default: Limits()).

    Raises SandboxUnavailable where it cannot isolate, unless allow_unsandboxed (default False): then resource
    limits, an empty environment and a directory of its own are all that stands between the code and the
    user's files.
    """

    def __init__(self, limits: Limits | None = None, allow_unsandboxed: bool = False) -> None:
        self.limits = limits or Limits()
        self.isolated = True
        cause = self._why_not()
        if cause:
            if not allow_unsandboxed:
                raise SandboxUnavailable(
                    f"untrusted code cannot be isolated on this machine: {cause}",
                    "install bubblewrap 0.8 or newer (Debian, Ubuntu: apt-get install bubblewrap) and allow "
                    "user namespaces for it; in a container that forbids them, run this step outside; to run "
                    "generated code with your own rights and no isolation, say --allow-unsandboxed",
                )
            self.isolated = False

    def _why_not(self) -> str:
        """The reason why isolation does not work; empty when a trial run in it does."""
        if sys.platform != "linux":
            return f"bubblewrap needs Linux, this is {sys.platform}"
        needed = ["bwrap", "setpriv"] if os.geteuid() == 0 else ["bwrap"]
        missing = [name for name in needed if not shutil.which(name)]
        if missing:
            return f"{' and '.join(missing)} not found on PATH"
        trial = self.run("import os; assert os.getpid() <= 3; print('isolated')")
        if trial.passed and trial.output == "isolated\n":
            return ""
        lines = trial.output.strip().splitlines()
        return f"a trial run failed ({lines[-1] if lines else trial.reason})"

    def spawn(self, mode: str, fd: int, stdout: int = subprocess.DEVNULL) -> Spawned:
        """Starts `inside` in that mode with the socket `fd` handed over; end it with `kill`."""
        executable, _ = _interpreter()
        command = [executable, "-I", "-S", "-c", _inside_source(), mode, str(fd)]
        cwd, environment = "/", dict(ENVIRONMENT)
        if self.isolated:
            command = [*_isolation(shutil.which("bwrap") or "bwrap", self.limits.disk_bytes), *command]
        else:
            cwd = tempfile.mkdtemp(prefix="wmtp-unsandboxed-")
            environment |= {"HOME": cwd, "TMPDIR": cwd}
        # bubblewrap's own environment can be read inside as /proc/1/environ: it gets the scrubbed one too.
        process = Spawned(
            command,
            pass_fds=[fd],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT if stdout == subprocess.PIPE else subprocess.DEVNULL,
            env=environment,
            cwd=cwd,
            start_new_session=True,
        )
        process.scratch = None if self.isolated else Path(cwd)
        return process

    def kill(self, process: Spawned) -> None:
        """Ends a spawned process with everything below it and waits for that."""
        # The pid namespace dies with bubblewrap; without one, the process group is all there is.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout:
            process.stdout.close()
        if process.scratch:
            shutil.rmtree(process.scratch, ignore_errors=True)

    def run(self, source: str) -> Result:
        """Runs one whole program; "passed" is exit status 0, which the program itself decides.

        Output is standard output and error, cut at limits.output_bytes. For verdicts use `Judge`.
        """
        started = time.monotonic()
        ours, theirs = socket.socketpair()
        process = self.spawn("program", theirs.fileno(), subprocess.PIPE)
        theirs.close()
        try:
            with ours, contextlib.suppress(BrokenPipeError):
                inside.send(ours, {"limits": self.limits.rlimits(self.isolated), "source": source})
            output, ended = self._collect(process, started + self.limits.wall_seconds)
        finally:
            self.kill(process)
        text = output.decode(errors="replace")
        seconds = time.monotonic() - started
        if not ended:
            return Result("timed out", f"not finished after {self.limits.wall_seconds:g} s", text, seconds)
        if ended == "output":
            return Result("failed", "more output than allowed", text, seconds)
        code = process.returncode
        return Result("failed" if code else "passed", f"exit status {code}" if code else "", text, seconds)

    def _collect(self, process: Spawned, deadline: float) -> tuple[bytes, str]:
        """(output, how it ended): "exit", "output" (too much of it) or "" (out of time)."""
        kept, total = b"", 0
        output = process.stdout
        if output is None:
            raise ValueError("a process without a pipe has no output to collect")
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while selector.select(max(0.0, deadline - time.monotonic())):
                part = os.read(output.fileno(), 1 << 16)
                if not part:
                    break
                total += len(part)
                kept += part[: self.limits.output_bytes - len(kept)]
                if total > 64 * self.limits.output_bytes:
                    return kept, "output"
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return kept, ""
        return kept, "exit"
