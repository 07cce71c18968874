"""The download engine: many objects at a time, many parts of a large one, into files that are whole or not there.

Replaceable: `remove_stale`, `wanting` and `fetch` are all that others use. Content is compared with the hash that an
object carries, where it carries one, else only sizes are. A part is asked for by the version that was listed, so that
no file is put together from two versions. Several machines may fill one directory: each writes files of its own, and
whoever is whole last gives its file the name.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from weighted_mtp.entry.store import PART_BYTES, Object, Place, patiently
from weighted_mtp.errors import InputError

DOWNLOADS_AT_A_TIME = 16  # in memory: 16 parts of 16 MiB
UNFINISHED = ".wmtp-part"
STALE_SECONDS = 24 * 3600.0  # a part that nobody wrote to for so long has lost its writer
LOOK_SECONDS = 0.25
HASH_BYTES = 1 << 20

Pause = Callable[[float], None]  # waits, or raises InterruptedError once nobody wants the result any more


@dataclass(frozen=True)
class Item:
    """One object and the file that it becomes."""

    place: Place
    name: str
    version: Object
    target: Path

    def is_there(self) -> bool:
        return self.target.is_file() and self.target.stat().st_size == self.version.size


class _File:
    """The unfinished file of one item; the last part to arrive gives it its name."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.ranges = [
            (start, min(start + PART_BYTES, item.version.size)) for start in range(0, item.version.size, PART_BYTES)
        ] or [(0, 0)]
        self._left = len(self.ranges)
        self._lock = threading.Lock()
        self._path = item.target.with_name(_part_name(item.target.name))
        self._handle = -1
        self._sha256: str | None = None

    def fetch(self, start: int, end: int, progress: Callable[[int], None], pause: Pause) -> None:
        with self._lock:
            pause(0)  # after `discard` no file is made any more
            if self._handle < 0:
                self.item.target.parent.mkdir(parents=True, exist_ok=True)
                self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        sha256: str | None = None
        if end > start:
            item = self.item
            received, sha256 = patiently(lambda: item.place.read_part(item.name, item.version, start, end), pause)
            content = memoryview(received)
            at = start
            while at < end:
                at += os.pwrite(self._handle, content[at - start :], at)
        progress(end - start)
        with self._lock:
            self._sha256 = sha256 or self._sha256
            self._left -= 1
            if self._left:
                return
        os.close(self._handle)
        self._finish(pause)

    def _finish(self, pause: Pause) -> None:
        if self._sha256 and _sha256(self._path, pause) != self._sha256:
            raise InputError(
                f"{self.item.target} is not what was uploaded to {self.item.place.uri}/{self.item.name}: "
                "its SHA-256 differs",
                "start the run again; if that does not help, remove that object, then run pulumi up to upload it again",
            )
        self._path.replace(self.item.target)

    def discard(self) -> None:
        """Remove what is unfinished, once the transfer is stopped: its name is never used again."""
        with self._lock, contextlib.suppress(OSError):
            self._path.unlink()


def _part_name(name: str) -> str:
    """A name that no other process on any machine uses, cut so that it is no longer than a file name may be."""
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:32]
    return f"{name[:40]}.{host}-{os.getpid()}-{secrets.token_hex(8)}{UNFINISHED}"


def remove_stale(items: list[Item]) -> None:
    """Remove what killed processes, here or on machines that share the directories, left unfinished a day ago."""
    wanted = {item.target for item in items}
    for directory in {item.target.parent for item in items}:
        for path in directory.glob(f"*{UNFINISHED}"):
            with contextlib.suppress(OSError):  # another machine may remove it too
                if path not in wanted and time.time() - path.stat().st_mtime > STALE_SECONDS:
                    path.unlink()


def wanting(items: list[Item], progress: Callable[[int], None], check: Callable[[], None]) -> list[Item]:
    """The items whose files are not there, or have another size or content than their object. `progress` and `check`
    are those of `fetch`, and so are the errors."""
    different: set[Path] = set()

    def compare(item: Item, pause: Pause) -> None:
        expected = patiently(lambda: item.place.sha256(item.name, item.version), pause)
        with contextlib.suppress(FileNotFoundError):  # somebody removes it just now
            if expected is None or _sha256(item.target, pause, progress) == expected:
                return
        different.add(item.target)

    there = [item for item in items if item.is_there()]
    _do((partial(compare, item) for item in there if item.version.size), check)
    return [item for item in items if item.target in different or not item.is_there()]


def fetch(items: list[Item], progress: Callable[[int], None], check: Callable[[], None]) -> None:
    """Make every item's file, also where there is one. `progress` gets bytes, from any thread; `check` is called
    several times a second by this thread and may raise, which ends the transfer.

    Raises InputError (disk full, no permission, an object that changed or is damaged) and Unavailable.
    """
    files = [_File(item) for item in items]
    try:
        _do((partial(file.fetch, start, end, progress) for file in files for start, end in file.ranges), check)
    except BaseException:
        for file in files:
            file.discard()
        raise
    for item in items:
        if not item.is_there():
            raise InputError(f"{item.target} has not the size of {item.place.uri}/{item.name}", "start the run again")


def _do(calls: Iterable[Callable[[Pause], None]], check: Callable[[], None]) -> None:
    """Make the calls, many at a time. The first that fails, and `check`, end it without waiting for the others."""
    stopped = threading.Event()

    def pause(seconds: float) -> None:
        if stopped.wait(seconds):
            raise InterruptedError

    pool = ThreadPoolExecutor(DOWNLOADS_AT_A_TIME, thread_name_prefix="fetch")
    running: set[Future[None]] = set()
    try:
        for call in calls:
            running.add(pool.submit(call, pause))
            while len(running) >= 2 * DOWNLOADS_AT_A_TIME:
                running = _look(running, check)
        while running:
            running = _look(running, check)
    except OSError as error:
        raise _explained(error) from error
    finally:
        stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _sha256(path: Path, pause: Pause, progress: Callable[[int], None] = lambda _: None) -> str:
    """Of the file's content, in hex."""
    hashed = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while content := file.read(HASH_BYTES):
            pause(0)
            hashed.update(content)
            progress(len(content))
    return hashed.hexdigest()


def _look(running: set[Future[None]], check: Callable[[], None]) -> set[Future[None]]:
    """Wait a moment -> those that still run. Raises what one of them raised."""
    done, running = wait(running, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
    check()
    for future in done:
        future.result()
    return running


def _explained(error: OSError) -> InputError:
    if error.errno == errno.ENOSPC:
        return InputError(
            f"No space left on device while fetching {error.filename or 'the inputs'}", "choose a larger disk"
        )
    return InputError(f"cannot write {error.filename}: {error.strerror}", "look at the container's directories")


Result = TypeVar("Result")


def in_background(call: Callable[[], Result], check: Callable[[], None]) -> Result:
    """What `call` returns, while `check` can end the waiting (a signal handler runs only between calls)."""
    result: list[Result] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            result.append(call())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(LOOK_SECONDS)
        check()
    if failure:
        raise failure[0]
    return result[0]
