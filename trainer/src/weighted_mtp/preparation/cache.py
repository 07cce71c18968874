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


def fresh(stamp: Path, wanted: Mapping[str, object], root: Path) -> dict | None:
    """The stamp's summary if it was made from `wanted` and its files below `root` are unchanged; else
    None."""
    try:
        record = json.loads(stamp.read_text(encoding="utf-8"))
        same = record["inputs"] == wanted and all(
            sha256(root / name) == known for name, known in record["files"].items()
        )
        return record["summary"] if same else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write(path: Path, data: bytes) -> None:
    """Writes a file so that no reader ever sees part of it; makes its directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def seal(
    stamp: Path,
    wanted: Mapping[str, object],
    root: Path,
    files: Iterable[Path],
    summary: Mapping[str, object],
) -> None:
    """Writes the stamp, last of all: the `files` below `root` are complete.

    There is no time and no absolute path in it: made again from the same inputs it is the same.
    """
    known = {str(path.relative_to(root)): sha256(path) for path in files}
    record = {"inputs": wanted, "files": known, "summary": summary}
    write(stamp, (json.dumps(record, indent=1) + "\n").encode())
