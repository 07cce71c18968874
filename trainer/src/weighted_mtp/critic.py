"""The critic: a value head on a trunk that predicts, at every token, the verifiable reward of the whole solution.

V_t = sigmoid(linear(norm(h_t))), h_t the trunk state after token t. Trained where it is read: from the last prompt
token to the last but one, that is at the states in which the response tokens are chosen. Each solution counts once,
however long it is. The linear layer starts at zero: V = 1/2, loss ln 2.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weighted_mtp.data import Sample
from weighted_mtp.errors import ModelError
from weighted_mtp.model import ModelParams, RMSNorm, Transformer, meta_key
from weighted_mtp.model_io import (
    Weights,
    gather_parameters,
    load_parameters,
    tensors_hash,
    weight_files,
    write_json,
)
from weighted_mtp.packing import Batch
from weighted_mtp.parallel import World, inference, local_part, shard
from weighted_mtp.results_version import RESULTS_VERSION


class ValueHead(nn.Module):
    """RMSNorm and a linear layer to one logit, always in fp32."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.norm = RMSNorm(dim, eps)
        self.linear = nn.utils.skip_init(nn.Linear, dim, 1, device="meta")

    def forward(self, h: Tensor) -> Tensor:
        return self.linear(self.norm(h.float())).sum(-1)  # FSDP warns of views


class CriticModel(nn.Module):
    """Trunk and value head. The trunk is frozen unless `train_trunk`."""

    def __init__(self, params: ModelParams, train_trunk: bool) -> None:
        super().__init__()
        self.trunk = Transformer(params, trunk_only=True)
        self.value_head = ValueHead(params.dim, params.norm_eps)
        self.trunk.requires_grad_(train_trunk)
        self.train_trunk = train_trunk

    def forward(self, tokens: Tensor, positions: Tensor, documents: Tensor) -> Tensor:
        """-> logits of V [B, S] fp32."""
        with torch.set_grad_enabled(self.train_trunk and torch.is_grad_enabled()):
            h, _ = self.trunk(tokens, positions, documents)
        return self.value_head(h)


def _trunk_key(name: str, params: ModelParams) -> str:
    return meta_key(name.removeprefix("trunk."), params)


def load_critic(
    trunk: Path, world: World, config: Any, *, train_trunk: bool, checkpoint: Path | None = None
) -> CriticModel:
    """A sharded critic: the trunk of a model directory, the value head at zero or from a critic checkpoint (whose
    own trunk, if it has one, takes the place of the model's)."""
    params = ModelParams.read(trunk / "params.json")
    with torch.device("meta"):
        model = CriticModel(params, train_trunk)
    shard(model, world, config, fp32_modules=(model.value_head,))
    own_trunk = checkpoint is not None and (checkpoint / "trunk.safetensors").is_file()
    source = weight_files(checkpoint, "trunk") if own_trunk and checkpoint else weight_files(trunk)
    load_parameters(model.trunk, Weights(source), lambda name: _trunk_key(name, params), f"trunk {trunk.name}", world)
    if checkpoint is not None:
        head = Weights([checkpoint / "value_head.safetensors"])
        load_parameters(model.value_head, head, lambda name: name, f"critic {checkpoint}", world)
    else:
        with torch.no_grad():
            for name, parameter in model.value_head.named_parameters():
                local_part(parameter).fill_(1.0 if name == "norm.weight" else 0.0)
    return model


@dataclass(frozen=True)
class CriticCheckpoint:
    """A critic on disk, checked against the trunk that will be loaded under it."""

    path: Path
    scorer_hash: str


def open_critic(path: Path | None, trunk: Path, trunk_sha256: str) -> CriticCheckpoint:
    """Read and check a critic checkpoint. Raises ModelError if it is missing or belongs to another trunk."""
    if path is None:
        raise ModelError(
            "pipeline verifiable needs a critic",
            "train pipeline critic and give its checkpoint_best to --critic-checkpoint",
        )
    if not (path / "critic.json").is_file() or not (path / "value_head.safetensors").is_file():
        state = (
            "is not a critic checkpoint (critic.json, value_head.safetensors)" if path.is_dir() else "does not exist"
        )
        raise ModelError(
            f"the critic checkpoint {path} {state}",
            "wait for pipeline critic to complete, or give the directory checkpoint_best to --critic-checkpoint",
        )
    try:
        belongs_to = json.loads((path / "critic.json").read_text(encoding="utf-8"))["trunk"]
        name, expected = belongs_to["name"], belongs_to["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path / 'critic.json'} is damaged: {error!r}", "train pipeline critic again") from error
    if expected != trunk_sha256:
        raise ModelError(
            f"the critic checkpoint {path} was trained on trunk {name} (sha256 {expected[:12]}), "
            f"but {trunk.name} has sha256 {trunk_sha256[:12]}",
            f"set models.critic_trunk to the critic's trunk, or train pipeline critic on {trunk.name}",
        )
    files = [path / "value_head.safetensors"]
    if (path / "trunk.safetensors").is_file():
        files.append(path / "trunk.safetensors")
    weights = Weights(files)
    return CriticCheckpoint(path, f"{trunk_sha256}-{tensors_hash(weights, weights.keys())}")


def save_critic(directory: Path, model: CriticModel, trunk: Path, trunk_sha256: str, world: World) -> None:
    """Write a critic checkpoint into `directory` (rank 0; all ranks must call it)."""
    from safetensors.torch import save_file

    head = gather_parameters(model.value_head, lambda name: name, world.rank)
    params = model.trunk.params
    own = gather_parameters(model.trunk, lambda n: meta_key(n, params), world.rank) if model.train_trunk else {}
    if world.rank:
        return
    directory.mkdir(parents=True, exist_ok=True)
    save_file(head, directory / "value_head.safetensors")
    if own:
        save_file(own, directory / "trunk.safetensors")
    content = {
        "trunk": {"name": trunk.name, "sha256": trunk_sha256},
        "train_trunk": model.train_trunk,
        "dim": params.dim,
        "results_version": RESULTS_VERSION,
    }
    write_json(directory / "critic.json", content)


def value_targets(samples: list[Sample]) -> tuple[list[Tensor], list[Tensor]]:
    """Per sample and token: the reward, and the token's share of its solution (1 / response length, 0 for prompt
    tokens)."""
    rewards, shares = [], []
    for sample in samples:
        share = torch.zeros(sample.length)
        share[sample.prompt_length :] = 1.0 / sample.response_length
        rewards.append(torch.full((sample.length,), float(sample.reward)))
        shares.append(share)
    return rewards, shares


def value_losses(logits: Tensor, rewards: Tensor, kind: str) -> Tensor:
    """logits, rewards [N] fp32 -> loss [N]: BCE, or the squared error of V = sigmoid(logit)."""
    if kind == "bce":
        return F.binary_cross_entropy_with_logits(logits, rewards, reduction="none")
    return (logits.sigmoid() - rewards) ** 2


def read_values(model: CriticModel, batch: Batch, rewards: list[Tensor], shares: list[Tensor]) -> tuple[Tensor, ...]:
    """Logits, rewards and shares [N] at the N positions where V is read."""
    logits = model(batch.tokens, batch.positions, batch.documents)
    where = batch.targets(1)
    return logits[where], batch.place(rewards).roll(-1, 1)[where], batch.place(shares).roll(-1, 1)[where]


def token_values(model: CriticModel, batch: Batch) -> Tensor:
    """V after every token, [B, S] fp32."""
    with inference(model):
        return model(batch.tokens, batch.positions, batch.documents).sigmoid()


def explained_variance(weight: float, r: float, r2: float, error: float, error2: float) -> float | None:
    """1 - Var(R - V) / Var(R) from weighted sums of R, R^2, (R - V), (R - V)^2; None where all rewards are equal."""
    variance = r2 / weight - (r / weight) ** 2
    if variance <= 1e-12:
        return None
    return 1.0 - (error2 / weight - (error / weight) ** 2) / variance
