"""The training command as a process group of its own, which ends with us and by the deadline."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from weighted_mtp.entry import text
from weighted_mtp.errors import InputError, Stopped
from weighted_mtp.events import Events

KILL_SECONDS = 60.0  # between SIGTERM and SIGKILL when the deadline has passed
LOOK_SECONDS = 0.5
PR_SET_PDEATHSIG = 1


class DeadlinePassed(Exception):
    """The run has taken as long as it may."""


class Deadline:
    """How long all of it may take, fetching included: that is what the machine costs."""

    def __init__(self, seconds: int | None, events: Events) -> None:
        self.seconds = seconds
        self._events = events
        self.told = False
        self._started = time.monotonic()

    def has_passed(self) -> bool:
        return self.seconds is not None and time.monotonic() - self._started > self.seconds

    def check(self) -> None:
        """Raises DeadlinePassed, and says so."""
        if self.has_passed():
            self.tell()
            raise DeadlinePassed

    def tell(self) -> None:
        """Say so, once."""
        self.told = True
        self._events.emit("deadline", seconds=self.seconds)
        self._events.say(f"stopped: it ran longer than {text.duration(self.seconds or 0)}")


class Signals:
    """SIGTERM and SIGINT. Before the training they end this process, then they are the trainer's, and after its end
    they change nothing: the last upload is what the time is for."""

    def __init__(self) -> None:
        self._receiver: Callable[[int], None] | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def go_to(self, receiver: Callable[[int], None]) -> None:
        self._receiver = receiver

    def _handle(self, number: int, _frame: object) -> None:
        if self._receiver is None:
            raise Stopped(0, saved=False)
        self._receiver(number)


def train(command: list[str], env: dict[str, str], deadline: Deadline, signals: Signals) -> int:
    """Run the command -> its exit code, 128 + n if signal n ended it. Raises InputError if it cannot be started."""
    try:
        process = subprocess.Popen(command, env=env, start_new_session=True, preexec_fn=_die_with(os.getpid()))
    except OSError as error:
        raise InputError(f"cannot start {command[0]}: {error.strerror}", "is it in the image, and on PATH?") from error

    def send(number: int) -> None:
        if process.poll() is None:  # its id is its group's as long as it has not been waited for
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)

    signals.go_to(send)
    told_at: float | None = None
    while True:
        try:
            code = process.wait(LOOK_SECONDS)
            break
        except subprocess.TimeoutExpired:
            pass
        if told_at is None and deadline.has_passed():
            told_at = time.monotonic()
            deadline.tell()
            send(signal.SIGTERM)
        elif told_at is not None and time.monotonic() - told_at > KILL_SECONDS:
            send(signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):  # what it left behind must not write any more
        os.killpg(process.pid, signal.SIGKILL)
    return code if code >= 0 else 128 - code


def _die_with(parent: int) -> Callable[[], None] | None:
    """For the child, before it becomes the command: end when the parent does, whatever ends that."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up here: nothing but the call happens between fork and exec

    def bind() -> None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:
            os._exit(1)

    return bind
