"""A directory as it is at one moment, by its open files: what the trainer replaces or removes stays readable."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class Opened:
    """One open file."""

    name: str
    file: IO[bytes]
    size: int
    identity: tuple[int, ...]  # differs when the file was written anew


Snapshot = list[Opened]


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[Snapshot | None]:
    """All files below `directory`, open, sorted by name; None if it is not there, or went while we looked."""
    with contextlib.ExitStack() as stack:
        try:
            handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, handle)
            snapshot = sorted(_files(handle, "", stack), key=lambda found: found.name)
        except (FileNotFoundError, NotADirectoryError):
            snapshot = None
        yield snapshot


def _files(handle: int, prefix: str, stack: contextlib.ExitStack) -> Iterator[Opened]:
    # Opened relative to the directory's handle: a directory that is renamed meanwhile is still this one.
    for name in os.listdir(handle):
        child = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=handle)
        found = os.fstat(child)
        if stat.S_ISDIR(found.st_mode):
            stack.callback(os.close, child)
            yield from _files(child, f"{prefix}{name}/", stack)
        else:
            file = stack.enter_context(os.fdopen(child, "rb", buffering=0))
            identity = (found.st_ino, found.st_size, found.st_mtime_ns)
            yield Opened(prefix + name, file, found.st_size, identity)
