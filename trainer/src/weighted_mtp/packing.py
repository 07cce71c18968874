"""Which documents go into which row of which step, on every rank: a pure function of lengths, seed and shape.

The order is global: the rows of an optimizer step are the same for 1 rank x 8, 2 x 4 or 4 x 2, and so are the rows
of a micro-batch over all ranks if its size is. A run resumes at step s by asking for step s + 1; there is no
state to save.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from weighted_mtp.data import Sample

Row = tuple[int, ...]  # indices of the samples packed into one row, in order


def permutation(count: int, seed: int, epoch: int) -> list[int]:
    """A permutation of range(count). Sorted by `random.random()`, whose stream Python guarantees for ever (that
    of `shuffle` and of numpy's generators it does not)."""
    generator = random.Random(seed * 1_000_003 + epoch)
    keys = [generator.random() for _ in range(count)]
    return sorted(range(count), key=keys.__getitem__)


def pack(order: list[int], lengths: list[int], max_length: int, packing: bool) -> list[Row]:
    """Fill rows of at most `max_length` tokens with documents in the given order (next fit)."""
    rows: list[Row] = []
    current: list[int] = []
    used = 0
    for index in order:
        if current and (not packing or used + lengths[index] > max_length):
            rows.append(tuple(current))
            current, used = [], 0
        current.append(index)
        used += lengths[index]
    return [*rows, tuple(current)] if current else rows


class Plan:
    """All rows of a training run.

    `rows_per_step` is the effective batch; an epoch's last step is filled up with empty rows, which cost nothing:
    the loss is divided by the number of targets, not of rows.
    """

    def __init__(
        self,
        lengths: list[int],
        *,
        max_length: int,
        packing: bool,
        rows_per_step: int,
        epochs: int,
        max_steps: int | None,
        seed: int,
    ) -> None:
        self._rows: list[Row] = []
        for epoch in range(epochs):
            rows = pack(permutation(len(lengths), seed, epoch), lengths, max_length, packing)
            rows += [()] * (-len(rows) % rows_per_step)
            self._rows += rows
            if max_steps is not None and len(self._rows) >= max_steps * rows_per_step:
                break
        self.rows_per_step = rows_per_step
        self.steps = len(self._rows) // rows_per_step
        if max_steps is not None:
            self.steps = min(self.steps, max_steps)

    def step(self, step: int) -> list[Row]:
        """The rows of optimizer step `step` (1-based), over all ranks and micro-batches."""
        start = (step - 1) * self.rows_per_step
        return self._rows[start : start + self.rows_per_step]

    @staticmethod
    def micro_batch(rows: list[Row], micro: int, rank: int, batch_size: int, world_size: int) -> list[Row]:
        """This rank's rows of one micro-batch; a micro-batch over all ranks is a contiguous part of the step."""
        start = (micro * world_size + rank) * batch_size
        return rows[start : start + batch_size]


@dataclass
class Batch:
    """The rows of one rank and micro-batch as tensors [B, S]."""

    rows: list[Row]
    tokens: Tensor  # int64; padding is 0
    documents: Tensor  # int64: 0, 1, .. within a row; -1 is padding
    positions: Tensor  # int64, from 0 within each document
    trained: Tensor  # bool: response tokens, the targets of the loss

    def targets(self, head: int) -> Tensor:
        """[B, S] bool at the *predicting* position t: head `head` has a target t + head there, in this document."""
        ahead = torch.zeros_like(self.trained)
        if head < self.trained.shape[1]:
            same = self.documents[:, head:] == self.documents[:, :-head]
            ahead[:, :-head] = self.trained[:, head:] & same
        return ahead

    def place(self, per_sample: list[Tensor], fill: float = 0.0) -> Tensor:
        """Values per token of each sample -> [B, S] fp32 as the samples lie in the rows."""
        out = torch.full(self.tokens.shape, fill, dtype=torch.float32)
        for i, row in enumerate(self.rows):
            start = 0
            for index in row:
                values = per_sample[index]
                out[i, start : start + len(values)] = values
                start += len(values)
        return out.to(self.tokens.device)

    def to(self, device: torch.device) -> Batch:
        tensors = (self.tokens, self.documents, self.positions, self.trained)
        return Batch(self.rows, *(tensor.to(device, non_blocking=True) for tensor in tensors))


def collate(rows: list[Row], samples: list[Sample], multiple: int = 8) -> Batch:
    """Tensors for some rows, padded to the longest, rounded up to a multiple."""
    longest = max((sum(samples[i].length for i in row) for row in rows), default=0)
    shape = (len(rows), multiple * max(1, -(-longest // multiple)))
    tokens = torch.zeros(shape, dtype=torch.int64)
    documents = torch.full(shape, -1, dtype=torch.int64)
    positions = torch.zeros(shape, dtype=torch.int64)
    trained = torch.zeros(shape, dtype=torch.bool)
    for r, row in enumerate(rows):
        start = 0
        for number, index in enumerate(row):
            sample = samples[index]
            end = start + sample.length
            tokens[r, start:end] = torch.from_numpy(sample.tokens.astype("int64"))
            documents[r, start:end] = number
            positions[r, start:end] = torch.arange(sample.length)
            trained[r, start + sample.prompt_length : end] = True
            start = end
    return Batch(rows, tokens, documents, positions, trained)
