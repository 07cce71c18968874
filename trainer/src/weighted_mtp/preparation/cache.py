"""Prepared files that are made once: a stamp beside them says what they were made from."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inputs(packages: Iterable[str], code: Iterable[Path], **values: object) -> dict[str, object]:
    """What a result depends on: Python, package versions, source files (by content), further values."""

    def installed(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "missing"

    return {
        "python": platform.python_version(),
        "packages": {name: installed(name) for name in packages},
        "code": {path.name: sha256(path) for path in sorted(code)},
        **json.loads(json.dumps(values)),
    }


def fresh(stamp: Path, wanted: Mapping[str, object]) -> dict | None:
    """The stamp's summary if the files it lists are there, unchanged, and made from `wanted`; else None.

    Sizes and modification times stand for the content, so that large files cost nothing; a file whose time
    differs is hashed.
    """
    try:
        record = json.loads(stamp.read_text(encoding="utf-8"))
        if record["inputs"] != wanted:
            return None
        for name, known in record["files"].items():
            path = stamp.parent / name
            status = path.stat()
            if status.st_size != known["size"]:
                return None
            if status.st_mtime_ns != known["mtime_ns"] and sha256(path) != known["sha256"]:
                return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return record["summary"]


def write(path: Path, data: bytes) -> None:
    """Writes a file so that no reader ever sees part of it; makes its directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def seal(
    stamp: Path, wanted: Mapping[str, object], files: Iterable[Path], summary: Mapping[str, object]
) -> None:
    """Writes the stamp, last of all: what stands below stamp.parent in `files` is complete."""
    known = {}
    for path in files:
        status = path.stat()
        name = str(path.relative_to(stamp.parent))
        known[name] = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256(path)}
    record = {"inputs": wanted, "files": known, "summary": summary}
    write(stamp, (json.dumps(record, indent=1) + "\n").encode())
