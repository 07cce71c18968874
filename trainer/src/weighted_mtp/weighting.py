"""Scores -> weights. Every scheme gives weights of mean 1 over the trained targets, so that no scheme is a hidden
change of the learning rate (exp and clip alone raise the mean by 30 to 90 %)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from weighted_mtp.advantages import advantages
from weighted_mtp.config import Weighting
from weighted_mtp.data import Sample
from weighted_mtp.packing import Batch


class Scheme(Protocol):
    """Weights of one head's targets in one micro-batch."""

    def weights(self, batch: Batch, head: int, where: Tensor, losses: Tensor) -> Tensor:
        """`where` [B, S] bool marks the N positions that head `head` predicts from, `losses` [N] fp32 (detached) is
        its cross entropy there -> weights [N] fp32. Called by all ranks for every micro-batch and head."""
        ...


class Uniform:
    """Every token alike."""

    def weights(self, batch: Batch, head: int, where: Tensor, losses: Tensor) -> Tensor:
        return torch.ones_like(losses)


class Fixed:
    """Weights per token of the data set, known before training; indexed by target and shared by the heads."""

    def __init__(self, per_sample: list[Tensor]) -> None:
        self._per_sample = per_sample

    def weights(self, batch: Batch, head: int, where: Tensor, losses: Tensor) -> Tensor:
        return batch.place(self._per_sample).roll(-head, dims=1)[where]


class ExcessLoss:
    """Rho-1 (arXiv 2404.07965): train on the fraction `top_k` of targets with the largest loss above the reference's.

    Selected within each head (a later head is worse everywhere), over all ranks of one micro-batch: exactly
    ceil(top_k * N) targets, the first of equal ones in global order. Their weight is N / count, the others' 0.
    """

    def __init__(self, reference_losses: list[Tensor], top_k: float, world: Gather) -> None:
        self._reference = reference_losses
        self._top_k = top_k
        self._world = world

    def weights(self, batch: Batch, head: int, where: Tensor, losses: Tensor) -> Tensor:
        excess = losses - batch.place(self._reference).roll(-head, dims=1)[where]
        return self._world.top_k_weights(excess, self._top_k)


class Gather(Protocol):
    """What ExcessLoss needs of the process group."""

    def top_k_weights(self, scores: Tensor, top_k: float) -> Tensor: ...


def top_k_weights(scores: Tensor, top_k: float) -> Tensor:
    """scores [N] -> N / count for the count = ceil(top_k * N) largest, ties to the lower index, else 0."""
    total = scores.numel()
    if total == 0:
        return torch.zeros_like(scores)
    # 0.6 * 5 is 3.0000000000000004 in floating point, which must not select a fourth
    count = min(total, math.ceil(top_k * total - 1e-9 * total))
    chosen = torch.sort(scores, descending=True, stable=True).indices[:count]
    weights = torch.zeros_like(scores)
    weights[chosen] = total / count
    return weights


def critic_weights(values: list[Tensor], samples: list[Sample], config: Weighting) -> list[Tensor]:
    """Per sample, V at the position of every token [length] -> weights [length] fp32, 0 for prompt tokens.

    w = clip(exp(whiten(A) / beta), min_weight, max_weight), whitened and set to mean 1 with the statistics of the
    whole data set: V depends on critic and data alone, so the weights of a run are fixed, exact and independent
    of the number of ranks (advantage-weighted regression, arXiv 1910.00177). `values[i][t]` is read after token t.
    """
    longest = max(sample.response_length for sample in samples)
    chosen_in = torch.zeros(len(samples), longest, dtype=torch.float64)
    mask = torch.zeros(len(samples), longest, dtype=torch.bool)
    for i, sample in enumerate(samples):
        chosen_in[i, : sample.response_length] = values[i][sample.prompt_length - 1 : sample.length - 1]
        mask[i, : sample.response_length] = True
    rewards = torch.tensor([sample.reward for sample in samples], dtype=torch.float64)
    weights = weights_from_advantages(advantages(chosen_in, rewards, mask, config.gamma, config.lam), mask, config)
    out = []
    for i, sample in enumerate(samples):
        placed = torch.zeros(sample.length)
        placed[sample.prompt_length :] = weights[i, : sample.response_length].float()
        out.append(placed)
    return out


def weights_from_advantages(advantage: Tensor, mask: Tensor, config: Weighting) -> Tensor:
    """advantage [N, T], mask [N, T] bool -> weights [N, T] of mean 1 over the mask, 0 elsewhere."""
    valid = advantage[mask]
    spread = valid.std(unbiased=False)
    whitened = (advantage - valid.mean()) / (spread + 1e-8)
    # the largest exponent that matters is log(max_weight): clamping first keeps exp from overflowing
    exponent = (whitened / config.beta).clamp(max=math.log(config.max_weight) + 1.0)
    weights = torch.where(mask, exponent.exp().clamp(config.min_weight, config.max_weight), 0.0)
    return weights / weights[mask].mean()


@dataclass(frozen=True)
class WeightStatistics:
    """Sums over trained targets that can be added over heads, micro-batches and ranks."""

    count: float
    total: float
    squares: float
    logs: float
    selected: float

    @staticmethod
    def sums(weights: Tensor) -> Tensor:
        """weights [N] -> the five sums, fp64 [5]."""
        w = weights.double()
        return torch.stack(
            (
                torch.full_like(w.sum(), w.numel()),
                w.sum(),
                (w * w).sum(),
                torch.xlogy(w, w).sum(),
                (w > 0).double().sum(),
            )
        )

    def metrics(self) -> dict[str, float]:
        """Effective sample size as a fraction of the tokens, entropy relative to uniform (1 = uniform), mean, and
        the fraction with a weight above 0."""
        if not self.count or not self.total:
            return {}
        entropy = math.log(self.total) - self.logs / self.total
        return {
            "weights/mean": self.total / self.count,
            "weights/ess": self.total**2 / self.squares / self.count,
            "weights/entropy": entropy / math.log(self.count) if self.count > 1 else 1.0,
            "weights/selected": self.selected / self.count,
        }
