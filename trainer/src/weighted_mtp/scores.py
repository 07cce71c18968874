"""Scores of a whole data set, computed once and kept on disk by (scorer, data).

A critic's values and a reference's losses depend on nothing but the scorer's weights and the data, so they need
not be computed in the training loop, and no second large model shares its memory.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from weighted_mtp.data import Sample
from weighted_mtp.packing import Batch, Row, collate, pack
from weighted_mtp.parallel import World

FORMAT = "1"


def cache_file(directory: Path, kind: str, scorer_hash: str, data_hash: str, precision: str) -> Path:
    key = hashlib.sha256(f"{FORMAT} {kind} {scorer_hash} {data_hash} {precision}".encode()).hexdigest()
    return directory / f"{kind}-{key[:32]}.safetensors"


def read_cache(path: Path, samples: list[Sample]) -> list[Tensor] | None:
    """Scores per sample [length] fp32, or None if there are none, or the file is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    lengths = [sample.length for sample in samples]
    try:
        flat = load_file(path)["scores"]
    except (OSError, KeyError, SafetensorError):
        return None
    if flat.shape != (sum(lengths),) or not bool(torch.isfinite(flat).all()):
        return None
    return list(flat.split(lengths))


def write_cache(path: Path, scores: list[Tensor]) -> None:
    """Atomically; two runs that compute the same scores write the same file."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    save_file({"scores": torch.cat(scores)}, temporary)
    temporary.replace(path)


def compute(
    model: nn.Module,
    score: Callable[[nn.Module, Batch], Tensor],
    samples: list[Sample],
    world: World,
    max_length: int,
    batch_size: int,
) -> list[Tensor]:
    """Scores per sample [length] fp32 on the CPU of every rank.

    `score` gives [B, S] for a batch. The batches are the same for any number of ranks and are dealt out to them in
    turn; a rank without one runs an empty batch, because a sharded forward needs everybody.
    """
    order = sorted(range(len(samples)), key=lambda i: (samples[i].length, i))
    rows = pack(order, [sample.length for sample in samples], max_length, packing=True)
    batches = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    starts = [0]
    for sample in samples:
        starts.append(starts[-1] + sample.length)
    flat = torch.zeros(starts[-1])
    for turn in range(0, len(batches), world.size):
        mine: list[Row] = batches[turn + world.rank] if turn + world.rank < len(batches) else [()]
        values = score(model, collate(mine, samples).to(world.device)).float().cpu()
        for r, row in enumerate(mine):
            at = 0
            for index in row:
                length = samples[index].length
                flat[starts[index] : starts[index] + length] = values[r, at : at + length]
                at += length
    flat = world.sum(flat.to(world.device)).cpu()  # each score comes from one rank, the others add zeros
    return list(flat.split([sample.length for sample in samples]))


def cached(
    path: Path, samples: list[Sample], world: World, make: Callable[[], list[Tensor]]
) -> tuple[list[Tensor], bool]:
    """The scores of a cache file, made and written by `make` (called by all ranks) where it is missing, and
    whether they were made."""
    found = all(world.gather_objects(path.is_file() and read_cache(path, samples) is not None))
    if not found:
        scores = make()
        if world.rank == 0:
            write_cache(path, scores)
        world.barrier()
    scores = read_cache(path, samples)
    if scores is None:
        raise RuntimeError(f"the score cache {path} cannot be read back")
    return scores, not found
