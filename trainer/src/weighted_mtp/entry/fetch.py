"""The download engine: many objects at a time, many parts of a large one, into files that are whole or not there.

Replaceable: `fetch` is all that others use. It compares sizes, not content; a part is asked for by the version that
was listed, so that no file is put together from two versions.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from weighted_mtp.entry.store import PART_BYTES, Object, Place, patiently
from weighted_mtp.errors import InputError

DOWNLOADS_AT_A_TIME = 16  # in memory: 16 parts of 16 MiB
UNFINISHED = ".wmtp-part"
LOOK_SECONDS = 0.25


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
        self._path = item.target.with_name(item.target.name + UNFINISHED)
        self._handle = -1

    def fetch(self, start: int, end: int, progress: Callable[[int], None], stopped: threading.Event) -> None:
        def pause(seconds: float) -> None:
            if stopped.wait(seconds):
                raise InterruptedError

        with self._lock:
            if self._handle < 0:
                self.item.target.parent.mkdir(parents=True, exist_ok=True)
                self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        if end > start:
            item = self.item
            content = memoryview(patiently(lambda: item.place.read_part(item.name, item.version, start, end), pause))
            at = start
            while at < end:
                at += os.pwrite(self._handle, content[at - start :], at)
        progress(end - start)
        with self._lock:
            self._left -= 1
            if self._left == 0:
                os.close(self._handle)
                self._path.replace(self.item.target)


def fetch(items: list[Item], progress: Callable[[int], None], check: Callable[[], None]) -> None:
    """Make every item's file. `progress` gets bytes, from any thread; `check` is called several times a second by this
    thread and may raise, which ends the transfer. Files that have their size are left alone.

    Raises InputError (disk full, no permission, an object that changed) and Unavailable.
    """
    stopped = threading.Event()
    pool = ThreadPoolExecutor(DOWNLOADS_AT_A_TIME, thread_name_prefix="fetch")
    running: set[Future[None]] = set()
    try:
        for file, start, end in _parts(items):
            running.add(pool.submit(file.fetch, start, end, progress, stopped))
            while len(running) >= 2 * DOWNLOADS_AT_A_TIME:
                running = _look(running, check)
        while running:
            running = _look(running, check)
    except OSError as error:
        raise _explained(error) from error
    finally:
        stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)
    for item in items:
        if not item.is_there():
            raise InputError(f"{item.target} has not the size of {item.place.uri}/{item.name}", "start the run again")


def _parts(items: list[Item]) -> Iterator[tuple[_File, int, int]]:
    for item in items:
        if not item.is_there():
            file = _File(item)
            for start, end in file.ranges:
                yield file, start, end


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


def in_background(call: Callable[[], object], check: Callable[[], None]) -> object:
    """What `call` returns, while `check` can end the waiting (a signal handler runs only between calls)."""
    result: list[object] = []
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
