"""Names of an output directory, as the trainer makes them, and of its copy in the bucket.

Names in the bucket are the same; `scores/` may be elsewhere on the disk. Directories count through a marker that is
written last and removed first: a step's own COMMITTED, and for an exported model EXPORT_MANIFEST of its name, which
lists size and version of every file.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from weighted_mtp.entry.store import Object

COMPLETED = "COMPLETED.json"
COMMITTED = "COMMITTED"
STEPS = "checkpoints"
EXPORTS = ("checkpoint_best", "final")
SCORES = "scores"
CURVE = "curve.jsonl"
PRIVATE = ("run.lock", COMPLETED)  # files of the top that are no records; the completion has its own rules
STEP = re.compile(rf"{STEPS}/(step-\d+)/")


def manifest_name(export: str) -> str:
    """The marker of an exported model directory."""
    return f"{export}.files.json"


def marker_name(step: str) -> str:
    """The marker of a step directory such as `step-00000100`."""
    return f"{STEPS}/{step}/{COMMITTED}"


def is_record(name: str) -> bool:
    """Small files of the top: curve.jsonl, run.json, config.json."""
    manifests = [manifest_name(export) for export in EXPORTS]
    return "/" not in name and name not in (*PRIVATE, *manifests) and not name.endswith((".tmp", ".wmtp-part"))


def below(directory: str, listing: dict[str, Object]) -> dict[str, Object]:
    """The objects of a directory, by their names in it."""
    prefix = f"{directory}/"
    return {name.removeprefix(prefix): found for name, found in listing.items() if name.startswith(prefix)}


def steps_in(listing: dict[str, Object]) -> list[str]:
    """Names of the step directories in the bucket, newest first, with and without a marker."""
    return sorted({match[1] for name in listing if (match := STEP.match(name))}, key=step_number, reverse=True)


def step_number(step: str) -> int:
    return int(step.removeprefix("step-"))


def committed_steps(output: Path) -> list[str]:
    """Names of the step directories on the disk that have their marker, newest first."""
    found = [marker.parent.name for marker in (output / STEPS).glob(f"step-*/{COMMITTED}")]
    return sorted((name for name in found if name[5:].isdigit()), key=step_number, reverse=True)


def step_problem(marker: bytes | None, files: dict[str, Object]) -> str | None:
    """What is wrong with a step's objects, judged by the sizes in its marker; None: nothing."""
    try:
        expected = {name: size for name, (size, _) in json.loads(marker or b"")["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return "its marker cannot be read"
    for name, size in expected.items():
        if name not in files:
            return f"{name} is missing"
        if files[name].size != size:
            return f"{name} has {files[name].size} bytes instead of {size}"
    return None


def manifest_of(files: dict[str, Object]) -> bytes:
    """The marker of an export with these objects."""
    content = {name: {"size": found.size, "e_tag": found.e_tag} for name, found in sorted(files.items())}
    return (json.dumps({"files": content}, indent=2) + "\n").encode()


def last_step(curve: bytes | None) -> int | None:
    """Where the trainer is, by its curve; None if it does not say."""
    if curve is None:
        return None
    lines = curve.split(b"\n")[:-1]  # a last line without an end is still being written
    try:
        return int(json.loads(lines[-1])["step"]) if lines else 0
    except (ValueError, KeyError, TypeError):
        return None
