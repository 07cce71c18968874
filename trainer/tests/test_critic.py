"""The value head, its metrics and its checkpoint."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from weighted_mtp import critic
from weighted_mtp.config import Distributed
from weighted_mtp.data import Sample
from weighted_mtp.errors import ModelError
from weighted_mtp.model_io import Weights, find_model, model_hash, tensors_hash, trunk_hash, weight_files
from weighted_mtp.objectives import Critic
from weighted_mtp.packing import collate
from weighted_mtp.scores import cache_file, cached, compute, read_cache

FP32 = Distributed(backend="gloo", compute_backend="cpu", mixed_precision="fp32", activation_checkpointing=False)
SAMPLES = [
    Sample("a", np.arange(3, 15, dtype=np.int32), 5, 1),
    Sample("b", np.arange(40, 49, dtype=np.int32), 2, 0),
    Sample("c", np.arange(70, 90, dtype=np.int32), 12, 1),
]


@pytest.fixture(scope="module")
def model(workspace: Path, world):
    return critic.load_critic(workspace / "models/tiny", world, FP32, train_trunk=False)


def test_every_solution_counts_once_and_starts_at_ln_2(model, workspace: Path, world) -> None:
    objective = Critic(model, SAMPLES, "bce", workspace / "models/tiny", "x", world)
    rows = [(0, 1), (2,)]
    sums = objective.forward_backward(collate(rows, SAMPLES), objective.normalisers(rows))
    assert sums.item() == pytest.approx(math.log(2))
    assert all(parameter.grad is None for parameter in model.trunk.parameters())
    metrics = objective.validation_metrics(objective.validation_sums(collate(rows, SAMPLES), SAMPLES))
    assert metrics["loss"] == pytest.approx(math.log(2))
    assert metrics["explained_variance"] == pytest.approx(0.0, abs=1e-6)
    model.zero_grad()


def test_values_are_read_from_the_last_prompt_token_to_the_last_but_one(model) -> None:
    batch = collate([(0,)], SAMPLES)
    _, rewards, shares = critic.read_values(model, batch, *critic.value_targets(SAMPLES))
    assert batch.targets(1)[0].nonzero().flatten().tolist() == list(range(4, 11))
    assert shares.tolist() == pytest.approx([1 / 7] * 7)
    assert rewards.tolist() == [1.0] * 7


def test_explained_variance() -> None:
    r = torch.tensor([0.0, 1.0, 1.0, 0.0])
    for v, expected in ((r, 1.0), (torch.full((4,), 0.3), 0.0), (1 - r, -3.0)):
        e = r - v
        got = critic.explained_variance(4, float(r.sum()), float((r * r).sum()), float(e.sum()), float((e * e).sum()))
        assert got == pytest.approx(expected, abs=1e-6)
    assert critic.explained_variance(4, 4.0, 4.0, 1.0, 1.0) is None


def test_mse_is_on_the_value() -> None:
    logits, rewards = torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0])
    torch.testing.assert_close(critic.value_losses(logits, rewards, "mse"), (logits.sigmoid() - rewards) ** 2)


@pytest.fixture
def saved(model, workspace: Path, world, tmp_path: Path) -> Path:
    trunk = workspace / "models/tiny"
    critic.save_critic(tmp_path / "critic", model, trunk, trunk_hash(trunk), world)
    return tmp_path / "critic"


def test_checkpoint_belongs_to_a_trunk(saved: Path, workspace: Path, world) -> None:
    tiny, other = workspace / "models/tiny", workspace / "models/other"
    found = critic.open_critic(saved, tiny, trunk_hash(tiny))
    assert found.path == saved
    critic.load_critic(tiny, world, FP32, train_trunk=False, checkpoint=saved)
    with pytest.raises(ModelError, match=r"was trained on trunk tiny .* but other has sha256"):
        critic.open_critic(saved, other, trunk_hash(other))


def test_missing_and_damaged_checkpoints(saved: Path, workspace: Path, tmp_path: Path) -> None:
    tiny = workspace / "models/tiny"
    with pytest.raises(ModelError, match="needs a critic"):
        critic.open_critic(None, tiny, "x")
    with pytest.raises(ModelError, match="does not exist"):
        critic.open_critic(tmp_path / "absent", tiny, "x")
    with pytest.raises(ModelError, match="is not a critic checkpoint"):
        critic.open_critic(workspace, tiny, "x")
    (saved / "critic.json").write_text("{")
    with pytest.raises(ModelError, match="is damaged"):
        critic.open_critic(saved, tiny, "x")


def test_hashes_do_not_depend_on_how_files_are_split(workspace: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    tiny = workspace / "models/tiny"
    weights = Weights(weight_files(tiny))
    keys = weights.keys()
    copy = tmp_path / "split"
    shutil.copytree(tiny, copy)
    (copy / "model.safetensors").unlink()
    parts = {"model-1.safetensors": keys[::2], "model-2.safetensors": keys[1::2]}
    for name, chosen in parts.items():
        save_file({key: weights.full(key) for key in chosen}, copy / name)
    index = {"weight_map": {key: name for name, chosen in parts.items() for key in chosen}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    assert model_hash(copy) == model_hash(tiny)
    assert trunk_hash(copy) == trunk_hash(tiny) != trunk_hash(workspace / "models/other")
    assert tensors_hash(weights, keys[:3]) != tensors_hash(weights, keys[:2])


def test_pickles_are_refused_with_the_command_that_converts(workspace: Path, tmp_path: Path) -> None:
    shutil.copytree(workspace / "models/tiny", tmp_path / "old")
    (tmp_path / "old/model.safetensors").rename(tmp_path / "old/consolidated.pth")
    with pytest.raises(ModelError) as error:
        find_model(str(tmp_path), "old", "base model")
    assert "pickle consolidated.pth" in str(error.value)
    assert "python -m weighted_mtp convert" in str(error.value)
    with pytest.raises(ModelError, match=r"paths\.models holds old"):
        find_model(str(tmp_path), "new", "base model")


def test_scores_are_computed_once_and_damage_is_noticed(model, world, tmp_path: Path) -> None:
    path = cache_file(tmp_path, "critic", "scorer", "data", "fp32")
    assert path != cache_file(tmp_path, "critic", "scorer", "data", "bf16")

    def make() -> list[torch.Tensor]:
        return compute(model, critic.token_values, SAMPLES, world, max_length=24, batch_size=1)

    scores, made = cached(path, SAMPLES, world, make)
    assert made
    assert [len(s) for s in scores] == [s.length for s in SAMPLES]
    again, made = cached(path, SAMPLES, world, make)
    assert not made
    assert all(torch.equal(a, b) for a, b in zip(scores, again, strict=True))
    path.write_bytes(path.read_bytes()[:-9])
    assert read_cache(path, SAMPLES) is None
    assert cached(path, SAMPLES, world, make)[1]
    assert not list(tmp_path.glob("*.tmp"))


def test_scores_do_not_depend_on_the_batching(model, world) -> None:
    a = compute(model, critic.token_values, SAMPLES, world, max_length=24, batch_size=1)
    b = compute(model, critic.token_values, SAMPLES, world, max_length=64, batch_size=3)
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y)
