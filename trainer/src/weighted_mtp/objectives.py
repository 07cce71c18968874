"""What the Trainer optimises: a language model with weighted heads, or a critic. The Trainer knows neither."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from weighted_mtp import critic as value
from weighted_mtp import mtp_loss
from weighted_mtp.critic import CriticModel
from weighted_mtp.data import Sample
from weighted_mtp.model import Transformer, meta_key
from weighted_mtp.model_io import gather_parameters, write_model
from weighted_mtp.packing import Batch, Row
from weighted_mtp.parallel import World, inference
from weighted_mtp.weighting import Scheme, WeightStatistics


class Objective(Protocol):
    """One kind of training. Sums are fp64 vectors that are added over micro-batches and ranks."""

    @property
    def model(self) -> nn.Module: ...

    def normalisers(self, rows: list[Row]) -> list[int]:
        """What the sums of one optimizer step are divided by, from all its rows."""
        ...

    def forward_backward(self, batch: Batch, z: list[int]) -> Tensor:
        """Add the gradient of one micro-batch -> its sums."""
        ...

    def metrics(self, sums: Tensor) -> tuple[float, list[float], dict[str, float]]:
        """The step's (loss, loss of each head, further metrics)."""
        ...

    def validation_sums(self, batch: Batch, samples: list[Sample]) -> Tensor: ...

    def validation_metrics(self, sums: Tensor) -> dict[str, float]:
        """`loss` and whatever else is worth a number."""
        ...

    def export(self, directory: Path) -> None:
        """Write the weights as a model directory; all ranks call it."""
        ...


class LanguageModel:
    """Pipelines verifiable, baseline, rho1 and ntp: `mtp_loss` with one weighting scheme."""

    def __init__(
        self,
        model: Transformer,
        samples: list[Sample],
        scheme: Scheme,
        head_weights: list[float] | None,
        base: Path,
        world: World,
    ) -> None:
        self.model = model
        self._samples = samples
        self._scheme = scheme
        self._heads = len(model.heads)
        self._head_weights = head_weights or [1.0 / self._heads] * self._heads
        self._base = base
        self._world = world

    def normalisers(self, rows: list[Row]) -> list[int]:
        return mtp_loss.normalisers(rows, self._samples, self._heads)

    def forward_backward(self, batch: Batch, z: list[int]) -> Tensor:
        return mtp_loss.forward_backward(self.model, batch, self._scheme, z, self._head_weights, self._world.size)

    def metrics(self, sums: Tensor) -> tuple[float, list[float], dict[str, float]]:
        values = sums.tolist()
        n = self._heads
        loss = sum(weight * part for weight, part in zip(self._head_weights, values[:n], strict=True))
        return loss, values[n : 2 * n], WeightStatistics(*values[2 * n :]).metrics()

    def validation_sums(self, batch: Batch, samples: list[Sample]) -> Tensor:
        return mtp_loss.validation_sums(self.model, batch)

    def validation_metrics(self, sums: Tensor) -> dict[str, float]:
        total, count = sums.tolist()
        return {"loss": total / max(1.0, count)}

    def export(self, directory: Path) -> None:
        params = self.model.params
        tensors = gather_parameters(self.model, lambda name: meta_key(name, params), self._world.rank)
        if self._world.rank == 0:
            write_model(directory, tensors, params, self._base)


class Critic:
    """Pipeline critic: every solution counts once; its loss is the mean over the states in which V is read."""

    def __init__(
        self, model: CriticModel, samples: list[Sample], kind: str, trunk: Path, trunk_sha256: str, world: World
    ) -> None:
        self.model = model
        self._kind = kind
        self._targets = value.value_targets(samples)
        self._trunk = trunk
        self._trunk_sha256 = trunk_sha256
        self._world = world

    def normalisers(self, rows: list[Row]) -> list[int]:
        return [max(1, sum(len(row) for row in rows))]

    def forward_backward(self, batch: Batch, z: list[int]) -> Tensor:
        logits, rewards, shares = value.read_values(self.model, batch, *self._targets)
        loss = (shares * value.value_losses(logits, rewards, self._kind)).sum() / z[0]
        (loss * self._world.size).backward()
        return loss.detach().double()[None]

    def metrics(self, sums: Tensor) -> tuple[float, list[float], dict[str, float]]:
        return sums.item(), [], {}

    def validation_sums(self, batch: Batch, samples: list[Sample]) -> Tensor:
        with inference(self.model):
            logits, rewards, shares = value.read_values(self.model, batch, *value.value_targets(samples))
        w, r, v = shares.double(), rewards.double(), logits.sigmoid().double()
        losses = value.value_losses(logits, rewards, self._kind).double()
        error = r - v
        agree = ((v > 0.5) == (r > 0.5)).double()
        terms = (losses, torch.ones_like(w), r, r * r, error, error * error, agree)
        return torch.stack([(w * term).sum() for term in terms])

    def validation_metrics(self, sums: Tensor) -> dict[str, float]:
        loss, weight, r, r2, error, error2, agree = sums.tolist()
        weight = max(weight, 1e-12)
        out = {"loss": loss / weight, "accuracy": agree / weight, "reward_mean": r / weight}
        explained = value.explained_variance(weight, r, r2, error, error2)
        return out if explained is None else {**out, "explained_variance": explained}

    def export(self, directory: Path) -> None:
        value.save_critic(directory, self.model, self._trunk, self._trunk_sha256, self._world)
