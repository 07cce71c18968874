"""The loss: equal to plain autograd, for any packing, padding, micro-batching and number of ranks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import tiny
from weighted_mtp import mtp_loss, run
from weighted_mtp.data import Sample
from weighted_mtp.inputs import read_inputs
from weighted_mtp.model import Transformer
from weighted_mtp.overrides import load_config
from weighted_mtp.packing import collate
from weighted_mtp.trainer import make_plan, validate
from weighted_mtp.weighting import ExcessLoss, Fixed, Scheme, Uniform, top_k_weights

HEADS = tiny.PARAMS.n_future_tokens
EVEN = [1.0 / HEADS] * HEADS


class Alone:
    """A process group of one, without one."""

    def top_k_weights(self, scores: torch.Tensor, top_k: float) -> torch.Tensor:
        return top_k_weights(scores, top_k)


@pytest.fixture(scope="module")
def samples(workspace: Path) -> list[Sample]:
    arguments = tiny.overrides(workspace, "baseline")[1::2]
    return read_inputs(load_config(tiny.TRAINER / "configs/baseline/baseline.yaml", arguments), None).train


def model_of(seed: int = 0, recompute: bool = False) -> Transformer:
    model = Transformer(tiny.PARAMS)
    model.initialise(seed, std=0.05)
    for block in [*model.layers, *model.heads]:
        block.recompute = recompute
    return model


def weights_of(samples: list[Sample]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.rand(sample.length, generator=generator) * 2 for sample in samples]


def gradients(
    samples: list[Sample], micro_batches: list[list[tuple[int, ...]]], scheme: Scheme, recompute: bool = False
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model = model_of(recompute=recompute)
    z = mtp_loss.normalisers([row for rows in micro_batches for row in rows], samples, HEADS)
    total = sum(mtp_loss.forward_backward(model, collate(rows, samples), scheme, z, EVEN, 1) for rows in micro_batches)
    return total, {name: p.grad for name, p in model.named_parameters()}


def assert_same(a, b, rtol: float = 1e-4, atol: float = 1e-6) -> None:
    torch.testing.assert_close(a[0], b[0], rtol=1e-5, atol=1e-6)
    for name in a[1]:
        torch.testing.assert_close(a[1][name], b[1][name], rtol=rtol, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


def reference_loss(model: Transformer, sample: Sample, per_token: torch.Tensor) -> list[torch.Tensor]:
    """Straight from the definition, one document, all heads in one graph: sum(w * CE) of each head."""
    tokens = torch.from_numpy(sample.tokens.astype("int64"))[None]
    h, context = model(tokens, torch.arange(sample.length)[None], torch.zeros_like(tokens))
    out = []
    for k, head in enumerate(model.heads, 1):
        logits = model.unembed(head(h, context))[0]
        loss = torch.zeros(())
        for t in range(sample.length - k):
            if t + k >= sample.prompt_length:
                loss = loss + per_token[t + k] * F.cross_entropy(logits[t], tokens[0, t + k])
        out.append(loss)
    return out


@pytest.mark.parametrize("recompute", [False, True])
def test_sequential_heads_equal_plain_autograd(samples: list[Sample], recompute: bool) -> None:
    chosen = [0, 3, 7, 8]
    weights = weights_of(samples)
    got = gradients(samples, [[(0, 3)], [(7,), (8,)]], Fixed(weights), recompute)
    model = model_of()
    z = mtp_loss.normalisers([(i,) for i in chosen], samples, HEADS)
    per_head = [reference_loss(model, samples[i], weights[i]) for i in chosen]
    losses = [sum(parts[k] for parts in per_head) / z[k] for k in range(HEADS)]
    sum(w * loss for w, loss in zip(EVEN, losses, strict=True)).backward()
    torch.testing.assert_close(got[0][:HEADS], torch.stack(losses).detach().double(), rtol=1e-5, atol=1e-6)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(got[1][name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_packed_documents_equal_separate_ones(samples: list[Sample]) -> None:
    scheme = Fixed(weights_of(samples))
    assert_same(
        gradients(samples, [[(0, 1, 2), (3, 4)]], scheme), gradients(samples, [[(i,) for i in range(5)]], scheme)
    )


@pytest.mark.parametrize("split", [[[0, 1, 2, 3, 4, 5]], [[0], [1, 2, 3], [4], [5]], [[5, 4, 3], [2, 1, 0]]])
def test_any_micro_batching_gives_the_same_gradient(samples: list[Sample], split: list[list[int]]) -> None:
    scheme = Uniform()
    whole = gradients(samples, [[(i,) for i in range(6)]], scheme)
    assert_same(gradients(samples, [[(i,) for i in part] for part in split], scheme), whole)


def test_empty_rows_and_padding_change_nothing(samples: list[Sample]) -> None:
    scheme = Uniform()
    whole = gradients(samples, [[(0,), (1,)]], scheme)
    assert_same(gradients(samples, [[(0,), (1,), ()], [(), ()]], scheme), whole)
    longest = max(range(len(samples)), key=lambda i: samples[i].length)
    assert_same(gradients(samples, [[(longest,), (0,)]], scheme), gradients(samples, [[(longest,)], [(0,)]], scheme))


def test_a_step_without_targets_has_a_zero_gradient(samples: list[Sample]) -> None:
    sums, grads = gradients(samples, [[()]], Uniform())
    assert float(sums.abs().sum()) == 0
    assert all(grad is not None and float(grad.abs().sum()) == 0 for grad in grads.values())


def test_rho1_trains_exactly_the_selected_targets(samples: list[Sample]) -> None:
    rows = [(0, 1), (2,)]
    n = [sum(samples[i].targets(k) for i in (0, 1, 2)) for k in range(1, HEADS + 1)]
    sums, _ = gradients(samples, [rows], ExcessLoss([torch.zeros(s.length) for s in samples], 0.6, Alone()))
    count, total, _, _, selected = sums[2 * HEADS :].tolist()
    assert count == sum(n)
    assert selected == sum(-(-6 * m // 10) for m in n)
    assert total == pytest.approx(count)
    everything, _ = gradients(samples, [rows], ExcessLoss([torch.zeros(s.length) for s in samples], 1.0, Alone()))
    torch.testing.assert_close(everything[:HEADS], everything[HEADS : 2 * HEADS], rtol=1e-6, atol=0)
    assert (sums[:HEADS] > everything[:HEADS]).all()  # without a reference the hardest tokens are chosen


def test_rho1_scores_are_the_losses_of_the_reference(samples: list[Sample]) -> None:
    model = model_of(seed=4)
    batch = collate([(0, 1)], samples)
    placed = mtp_loss.token_losses(model, batch)
    expected = reference_loss(model, samples[0], torch.ones(samples[0].length))[0]
    assert placed[0, : samples[0].length].sum().item() == pytest.approx(expected.item(), rel=1e-5)
    assert (placed[0][~batch.trained[0]] == 0).all()
    # a model that is its own reference has no excess loss with head 1
    scheme = ExcessLoss([placed[0, : samples[0].length], placed[0, samples[0].length :]], 0.5, Alone())
    h, context = model(batch.tokens, batch.positions, batch.documents)
    losses, where = mtp_loss.head_losses(model, h, context, batch, 1)
    excess = losses - batch.place(scheme._reference).roll(-1, 1)[where]
    torch.testing.assert_close(excess, torch.zeros_like(excess), atol=1e-5, rtol=0)


@pytest.mark.parametrize("pipeline", ["baseline", "critic"])
def test_sharded_equals_plain_also_after_a_validation(workspace: Path, world, pipeline: str) -> None:
    """FSDP2 once lost the embedding's gradient in the first backward after a forward without one."""
    options = tiny.overrides(workspace, pipeline, critic__train_trunk=True)[1::2]
    config = load_config(tiny.TRAINER / f"configs/{pipeline}/{pipeline}.yaml", options)
    inputs = read_inputs(config, None)
    objective = run.make_objective(config, inputs, None if pipeline == "critic" else Uniform(), world)
    if pipeline == "critic":
        with torch.no_grad():
            objective.model.value_head.linear.weight.to_local().fill_(0.3)
    rows = make_plan(config, inputs.train, 1).step(1)
    z = objective.normalisers(rows)

    def gradient() -> dict[str, torch.Tensor]:
        objective.model.zero_grad(set_to_none=True)
        for part in (rows[:2], rows[2:]):
            objective.forward_backward(collate(part, inputs.train), z)
        return {name: p.grad.full_tensor() for name, p in objective.model.named_parameters()}

    first = gradient()
    before = validate(objective, inputs.valid, config, world)
    after_validation = gradient()
    assert validate(objective, inputs.valid, config, world) == before
    for name, expected in first.items():
        assert expected.abs().max() > 0, name
        assert torch.equal(after_validation[name], expected), name
    if pipeline == "baseline":
        plain = Transformer(objective.model.params)
        plain.load_state_dict({k: v.full_tensor() for k, v in objective.model.state_dict().items()})
        for part in (rows[:2], rows[2:]):
            mtp_loss.forward_backward(plain, collate(part, inputs.train), Uniform(), z, EVEN, 1)
        for name, parameter in plain.named_parameters():
            torch.testing.assert_close(first[name], parameter.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("pipeline", ["baseline", "rho1", "critic"])
def test_one_and_two_ranks_have_the_same_loss_and_gradient(workspace: Path, tmp_path: Path, pipeline: str) -> None:
    """A real process group: gloo, FSDP2, the same global batch on 1 and on 2 ranks."""
    results = []
    for ranks, batch_size in ((1, 4), (2, 2)):
        out = tmp_path / f"{ranks}.json"
        script = Path(__file__).with_name("gradient_of_one_step.py")
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
        options = tiny.overrides(workspace, pipeline, training__batch_size=batch_size)
        options += ["--override", f"paths.scores={tmp_path / str(ranks)}"]
        done = subprocess.run(
            [*start, str(script), str(out), pipeline, *options[1::2]],
            env=tiny.environment(), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        results.append(json.loads(out.read_text()))
    one, two = results
    assert one["z"] == two["z"]
    torch.testing.assert_close(torch.tensor(one["sums"]), torch.tensor(two["sums"]), rtol=1e-5, atol=1e-7)
    for name in one["gradients"]:
        a, b = torch.tensor(one["gradients"][name]), torch.tensor(two["gradients"][name])
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
