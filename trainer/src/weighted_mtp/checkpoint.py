"""Checkpoints for resuming: DCP directories that count only once their COMMITTED marker is there.

    checkpoints/step-00000010/   DCP: every rank writes its shards; then rank 0 writes COMMITTED, atomically
    curve.jsonl                  synced before the marker, so that a committed step's curve is on disk

The marker holds sizes and checksums of the files: a damaged checkpoint is skipped for an older one.
"""

from __future__ import annotations

import json
import shutil
import time
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weighted_mtp.errors import InputError
from weighted_mtp.model_io import write_json
from weighted_mtp.parallel import World

MARKER = "COMMITTED"


@dataclass
class Progress:
    """What a run has to remember besides parameters and optimizer state."""

    step: int = 0
    first_loss: float | None = None
    best_loss: float | None = None
    best_step: int | None = None
    seconds: float = 0.0  # spent in training, over all attempts


@dataclass
class Marker:
    fingerprint: str
    world_size: int
    progress: dict[str, Any]
    files: dict[str, list[int]] = field(default_factory=dict)  # name -> [bytes, crc32]


def train_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Parameters and optimizer moments by name, as DTensors that DCP can save and fill in place."""
    state: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue  # a frozen trunk is in its model directory
        state[f"model.{name}"] = parameter.detach()
        moments = optimizer.state[parameter]
        if not moments:
            moments["step"] = torch.zeros((), dtype=torch.float32, device=_step_device(optimizer, parameter))
            moments["exp_avg"] = torch.zeros_like(parameter)
            moments["exp_avg_sq"] = torch.zeros_like(parameter)
        for key, value in moments.items():
            state[f"optimizer.{name}.{key}"] = value
    return state


def _step_device(optimizer: torch.optim.Optimizer, parameter: Tensor) -> torch.device:
    return parameter.device if optimizer.defaults.get("fused") else torch.device("cpu")


def _checksum(path: Path) -> list[int]:
    crc, size = 0, 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            crc, size = zlib.crc32(block, crc), size + len(block)
    return [size, crc]


class Checkpoints:
    """The step checkpoints of one output directory. All ranks call all methods."""

    def __init__(self, output: Path, world: World, keep_last: int, fingerprint: str) -> None:
        self.directory = output / "checkpoints"
        self.world = world
        self.keep_last = keep_last
        self.fingerprint = fingerprint
        self.seconds = 0.0  # of the last save

    def path(self, step: int) -> Path:
        return self.directory / f"step-{step:08d}"

    def committed(self) -> list[int]:
        """Steps with a marker, newest first."""
        if not self.directory.is_dir():
            return []
        return sorted((int(m.parent.name[5:]) for m in self.directory.glob(f"step-*/{MARKER}")), reverse=True)

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        import torch.distributed.checkpoint as dcp

        started = time.monotonic()
        path = self.path(progress.step)
        if self.world.rank == 0:
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
        self.world.barrier()
        writer = dcp.FileSystemWriter(path, single_file_per_rank=True)
        dcp.save(train_state(model, optimizer), storage_writer=writer)
        own = {p.name: _checksum(p) for p in path.glob(f"__{self.world.rank}_*")}
        files: dict[str, list[int]] = {}
        for part in self.world.gather_objects(own):
            files.update(part)
        if self.world.rank == 0:
            files[".metadata"] = _checksum(path / ".metadata")
            write_json(path / MARKER, asdict(Marker(self.fingerprint, self.world.size, asdict(progress), files)))
            for step in self.committed()[self.keep_last :]:
                shutil.rmtree(self.path(step), ignore_errors=True)
        self.world.barrier()
        self.seconds = time.monotonic() - started

    def load_newest(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Progress | None, list[str]]:
        """Fill model and optimizer from the newest sound checkpoint -> its progress (None: there is none) and what
        was skipped and why. All ranks agree on which one."""
        import torch.distributed.checkpoint as dcp

        skipped = []
        for step in self.committed():
            marker, problem = self._verify(step)
            problems = [p for p in self.world.gather_objects(problem) if p]
            if not problems and marker is not None:
                if marker.fingerprint != self.fingerprint:
                    raise InputError(
                        f"{self.directory} holds checkpoints of another run ({marker.fingerprint[:12]}, "
                        f"this one is {self.fingerprint[:12]})",
                        "give every run its own paths.output, or remove the directory",
                    )
                state = train_state(model, optimizer)
                dcp.load(state, storage_reader=dcp.FileSystemReader(self.path(step)))
                for name, parameter in model.named_parameters():
                    if parameter.requires_grad:
                        for key in optimizer.state[parameter]:
                            optimizer.state[parameter][key] = state[f"optimizer.{name}.{key}"]
                return Progress(**marker.progress), skipped
            skipped.append(f"{self.path(step).name}: {problems[0] if problems else 'no marker'}")
        return None, skipped

    def _verify(self, step: int) -> tuple[Marker | None, str | None]:
        """The marker, and what is wrong. Each rank checks its own files; rank 0 also those of ranks that are gone."""
        path = self.path(step)
        try:
            marker = Marker(**json.loads((path / MARKER).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            return None, f"its marker cannot be read ({error})"
        for number, (name, expected) in enumerate(sorted(marker.files.items())):
            if number % self.world.size != self.world.rank:
                continue
            try:
                actual = _checksum(path / name)
            except OSError as error:
                return marker, f"{name}: {error.strerror}"
            if actual != expected:
                return marker, f"{name} is damaged (bytes, crc32 {actual} instead of {expected})"
        return marker, None
