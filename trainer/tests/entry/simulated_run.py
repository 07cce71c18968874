"""A bucket in memory, a trainer that writes piece by piece, and what must hold in the bucket at every moment."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from weighted_mtp.entry import layout
from weighted_mtp.entry.store import Object
from weighted_mtp.events import Events

SILENT = Events(False)
STEPS, KEEP_LAST = 8, 2
SIZE = 300


class Killed(BaseException):
    """Power cut."""


def nothing(*_: object) -> None:
    pass


def content(name: str) -> bytes:
    return (f"{name};" * SIZE).encode()[:SIZE]


def loss(seed: int, step: int) -> float:
    return random.Random(seed * 1000 + step).random()


def best_step(seed: int) -> int:
    return min(range(1, STEPS + 1), key=lambda step: loss(seed, step))


class Memory:
    """A bucket. What is called before every request makes the trainer go on, and fails."""

    uri, bucket = "s3://memory/x", "memory"

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.before: Callable[[str], None] = nothing
        self.after: Callable[[str], None] = nothing
        self._versions = itertools.count()

    def list(self) -> dict[str, Object]:
        self.before("list")
        return {name: Object(len(data), version) for name, (data, version) in self.objects.items()}

    def read(self, name: str) -> bytes | None:
        self.before(f"read {name}")
        return self.objects[name][0] if name in self.objects else None

    def read_part(self, name: str, version: Object, start: int, end: int) -> tuple[bytes, str | None]:
        data, found = self.objects[name]
        assert found == version.e_tag
        return data[start:end], None

    def sha256(self, name: str, version: Object) -> str | None:
        return None

    def write(self, name: str, source: bytes | IO[bytes], size: int) -> Object:
        self.before(f"write {name}")
        data = source if isinstance(source, bytes) else source.read()
        assert len(data) == size
        version = f"v{next(self._versions)}"
        self.objects[name] = (data, version)
        self.after(f"write {name}")
        return Object(size, version)

    def delete(self, names: list[str]) -> None:
        for name in names:
            self.before(f"delete {name}")
            self.objects.pop(name, None)
            self.after(f"delete {name}")


def trainer(output: Path, seed: int, number: int) -> Iterator[None]:
    """The trainer's writes to the disk, one by one, from whatever the disk holds. Attempts of odd `number` find the
    newest step damaged and save it again; the bytes of two saves always differ."""
    output.mkdir(parents=True, exist_ok=True)
    yield
    best = output / "checkpoint_best"
    if (output / "COMPLETED.json").exists():
        assert best.is_dir()
        return
    if not (output / "run.json").exists():
        (output / "run.json").write_text("{}")
    (output / "run.lock").write_text("1")
    yield
    committed = layout.committed_steps(output)[number % 2 :]
    progress = {"step": 0, "best_loss": None}
    if committed:
        marker = json.loads((output / f"checkpoints/{committed[0]}/COMMITTED").read_text())
        progress = marker["progress"]
        check_step({p.name: p.read_bytes() for p in (output / "checkpoints" / committed[0]).iterdir()})
    points = (output / "curve.jsonl").read_text().splitlines() if (output / "curve.jsonl").exists() else []
    assert len(points) >= progress["step"], "the curve of a committed step is there"
    (output / "curve.jsonl").write_text("".join(f"{point}\n" for point in points[: progress["step"]]))
    assert progress["step"] < STEPS or best.is_dir(), "nothing would export it again"
    if best.is_dir():
        check_best({p.name: p.read_bytes() for p in best.iterdir()})
    for step in range(progress["step"] + 1, STEPS + 1):
        yield
        with (output / "curve.jsonl").open("a") as curve:
            curve.write(f'{{"step": {step}}}\n')
        value = loss(seed, step)
        if not best.is_dir() or progress["best_loss"] is None or value < progress["best_loss"]:
            yield from export(best, step, number)
            progress["best_loss"] = value
        progress["step"] = step
        yield from save(output, step, progress, number)
    yield
    (output / "config.json").write_text("{}")
    yield
    (output / "COMPLETED.json").write_text(json.dumps({"checkpoint": "checkpoint_best"}))


def export(best: Path, step: int, number: int) -> Iterator[None]:
    new, old = best.with_name("checkpoint_best.new"), best.with_name("checkpoint_best.old")
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir()
    for name in ("model", "params"):
        (new / name).write_bytes(content(f"best {step} {number}"))
        yield
    if best.exists():
        best.rename(old)
        yield
    new.rename(best)
    yield
    for path in sorted(old.iterdir()) if old.exists() else []:
        path.unlink()
        yield
    shutil.rmtree(old, ignore_errors=True)


def save(output: Path, step: int, progress: dict[str, Any], number: int) -> Iterator[None]:
    directory = output / f"checkpoints/step-{step:08d}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    files = {}
    for name in ("__0_0.distcp", ".metadata"):
        data = content(f"{step} {name} {number}")
        (directory / name).write_bytes(data)
        files[name] = [len(data), zlib.crc32(data)]
        yield
    (directory / "COMMITTED.tmp").write_text(json.dumps({"progress": progress, "files": files}))
    (directory / "COMMITTED.tmp").replace(directory / "COMMITTED")
    yield
    for old in layout.committed_steps(output)[KEEP_LAST:]:
        for path in sorted((output / "checkpoints" / old).iterdir(), reverse=step % 2 == 0):
            path.unlink()
            yield
        (output / "checkpoints" / old).rmdir()


def check_step(files: dict[str, bytes]) -> None:
    for name, expected in json.loads(files["COMMITTED"])["files"].items():
        assert [len(files[name]), zlib.crc32(files[name])] == expected, "it counts and is not whole"


def check_best(files: dict[str, bytes]) -> None:
    assert files.keys() == {"model", "params"}
    assert files["model"] == files["params"], "a mixture of two models"


def check_bucket(bucket: Memory, seed: int) -> None:
    """What counts is whole."""
    data = {name: found for name, (found, _) in bucket.objects.items()}
    listing = {name: Object(len(found), version) for name, (found, version) in bucket.objects.items()}
    for step in layout.steps_in(listing):
        if layout.marker_name(step) in data:
            directory = f"checkpoints/{step}"
            check_step({name: data[f"{directory}/{name}"] for name in layout.below(directory, listing)})
            assert len(data["curve.jsonl"].splitlines()) >= layout.step_number(step)
    best = layout.below("checkpoint_best", listing)
    if data.get("checkpoint_best.files.json") == layout.manifest_of(best):
        check_best({name: data[f"checkpoint_best/{name}"] for name in best})
    if "COMPLETED.json" in data:
        assert data["checkpoint_best/model"].startswith(f"best {best_step(seed)} ".encode())
        assert data["checkpoint_best.files.json"] == layout.manifest_of(best)
        assert len(data["curve.jsonl"].splitlines()) == STEPS
