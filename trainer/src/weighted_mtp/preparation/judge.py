"""Decides by execution whether a candidate passes trusted tests.

Two sandboxes take part: the candidate's, started anew for every candidate, and the checker's, which lives as
long as the judge. They share one socket. `inside` says why the verdict cannot be forged.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from weighted_mtp.preparation import inside
from weighted_mtp.preparation.sandbox import Result, Sandbox, Spawned


@dataclass(frozen=True)
class Tests:
    """Trusted tests of one problem.

    prelude: source of what the tests may use besides the candidate. test: source that defines
    `check(candidate)`. entry_point: the function of the candidate that is tested.
    """

    __test__ = False  # not for pytest's collection

    prelude: str
    test: str
    entry_point: str


class Judge:
    """Judges candidates one after another; use one judge per thread, and close it (a context manager).

    A judge and its checker belong to the thread that made the first verdict: the checker dies with it.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._checker: tuple[Spawned, socket.socket] | None = None  # and how to talk to it

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the checker; the next verdict starts another."""
        if self._checker:
            process, control = self._checker
            control.close()
            self.sandbox.kill(process)
            self._checker = None

    def _start_checker(self) -> socket.socket:
        if self._checker and self._checker[0].poll() is None:
            return self._checker[1]
        self.close()
        control, theirs = socket.socketpair()
        with theirs:
            self._checker = self.sandbox.spawn("checker", theirs.fileno()), control
        return control

    def verdict(self, source: str, tests: Tests) -> Result:
        """Runs the tests against `source` (a whole module that defines the entry point)."""
        started = time.monotonic()
        limits = self.sandbox.limits
        control = self._start_checker()
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                candidate = self.sandbox.spawn("candidate", theirs.fileno())
            try:
                job = {"limits": limits.rlimits(self.sandbox.isolated), "entry_point": tests.entry_point}
                with contextlib.suppress(BrokenPipeError):
                    inside.send(ours, job | {"source": source})
                # The checker may use more CPU time than the candidate: whose fault it was must stay clear.
                check = job | {"prelude": tests.prelude, "test": tests.test}
                check["limits"] = {
                    "RLIMIT_CPU": 10 * limits.cpu_seconds,
                    "RLIMIT_AS": 2 * limits.memory_bytes,
                }
                data = json.dumps(check).encode()
                socket.send_fds(control, [struct.pack(">I", len(data))], [ours.fileno()])
                control.sendall(data)
                ours.close()
                reply = self._await(control, started + limits.wall_seconds)
            finally:
                self.sandbox.kill(candidate)
        seconds = time.monotonic() - started
        if reply is None:
            self.close()  # whatever the checker still does belongs to this candidate
            return Result("timed out", f"no verdict after {limits.wall_seconds:g} s", "", seconds)
        if reply["passed"]:
            return Result("passed", "", "", seconds)
        return Result("failed", reply["reason"], "", seconds)

    @staticmethod
    def _await(control: socket.socket, deadline: float) -> dict | None:
        control.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            return inside.receive(control)
        except TimeoutError:
            return None
        finally:
            control.settimeout(None)


def judge_all(
    sandbox: Sandbox,
    jobs: Sequence[tuple[str, Tests]],
    workers: int = 2,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Result]:
    """Verdicts of all (source, tests), in order. `workers` (default 2) judge at the same time.

    progress is called after each verdict with the number of those that are done.
    """
    local, judges, lock, done = threading.local(), [], threading.Lock(), 0

    def one(job: tuple[str, Tests]) -> Result:
        nonlocal done
        if not hasattr(local, "judge"):
            local.judge = Judge(sandbox)
            judges.append(local.judge)
        result = local.judge.verdict(*job)
        with lock:
            done += 1
            progress(done)
        return result

    pool = ThreadPoolExecutor(workers)
    try:
        return list(pool.map(one, jobs))
    finally:
        pool.shutdown(cancel_futures=True)
        for judge in judges:
            judge.close()
