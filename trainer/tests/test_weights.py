"""Advantages and weights: the identities that define them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weighted_mtp.advantages import advantages, td_errors
from weighted_mtp.config import Weighting
from weighted_mtp.weighting import WeightStatistics, top_k_weights, weights_from_advantages


@st.composite
def episodes(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    lengths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    width = max(lengths) + draw(st.integers(0, 3))
    values = torch.rand(len(lengths), width, generator=generator, dtype=torch.float64)
    rewards = torch.randint(0, 2, (len(lengths),), generator=generator).double()
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    return values, rewards, mask


@given(episodes())
def test_td_errors_telescope_for_gamma_1(episode) -> None:
    values, rewards, mask = episode
    torch.testing.assert_close(td_errors(values, rewards, mask, 1.0).sum(1), rewards - values[:, 0])


@given(episodes())
def test_lambda_1_is_reward_minus_value(episode) -> None:
    values, rewards, mask = episode
    expected = torch.where(mask, rewards[:, None] - values, 0.0)
    torch.testing.assert_close(advantages(values, rewards, mask, 1.0, 1.0), expected)


@given(episodes(), st.floats(0, 1))
def test_lambda_0_is_the_td_error(episode, gamma: float) -> None:
    values, rewards, mask = episode
    torch.testing.assert_close(advantages(values, rewards, mask, gamma, 0.0), td_errors(values, rewards, mask, gamma))


@given(episodes(), st.floats(0, 1), st.floats(0, 1), st.integers(0, 5))
def test_padding_does_not_matter(episode, gamma: float, lam: float, more: int) -> None:
    values, rewards, mask = episode
    wide = torch.cat((values.masked_fill(~mask, 7.5), torch.full((len(values), more), -3.0).double()), 1)
    wide_mask = torch.cat((mask, torch.zeros(len(values), more, dtype=torch.bool)), 1)
    got = advantages(wide, rewards, wide_mask, gamma, lam)
    torch.testing.assert_close(got[:, : values.shape[1]], advantages(values, rewards, mask, gamma, lam))
    assert (got[~wide_mask] == 0).all()


def test_gae_by_hand() -> None:
    values, rewards = torch.tensor([[0.5, 0.25, 0.75]]).double(), torch.tensor([1.0]).double()
    mask = torch.ones(1, 3, dtype=torch.bool)
    delta = [0.9 * 0.25 - 0.5, 0.9 * 0.75 - 0.25, 1.0 - 0.75]
    a2 = delta[2]
    a1 = delta[1] + 0.9 * 0.8 * a2
    a0 = delta[0] + 0.9 * 0.8 * a1
    torch.testing.assert_close(advantages(values, rewards, mask, 0.9, 0.8), torch.tensor([[a0, a1, a2]]).double())


@given(episodes(), st.floats(0.05, 4), st.floats(0, 0.9), st.floats(1.1, 5))
def test_weights_have_mean_1_and_keep_the_clip_ratio(episode, beta: float, low: float, high: float) -> None:
    values, rewards, mask = episode
    config = Weighting(beta=beta, min_weight=low, max_weight=high)
    weights = weights_from_advantages(advantages(values, rewards, mask, 1.0, 0.95), mask, config)
    valid = weights[mask]
    assert math.isclose(valid.mean().item(), 1.0, rel_tol=1e-9)
    assert (weights[~mask] == 0).all()
    if low > 0:
        assert valid.max() / valid.min() <= high / low * (1 + 1e-9)


def test_clipping_alone_would_raise_the_mean() -> None:
    a = torch.randn(1, 200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    clipped = a.exp().clamp(0.1, 3.0)
    assert 1.25 < clipped.mean() < 1.35
    weights = weights_from_advantages(a, torch.ones_like(a, dtype=torch.bool), Weighting())
    whitened = (a - a.mean()) / a.std(unbiased=False)
    expected = whitened.exp().clamp(0.1, 3.0)
    torch.testing.assert_close(weights, expected / expected.mean(), rtol=1e-6, atol=1e-8)


def test_equal_advantages_give_uniform_weights() -> None:
    a = torch.full((2, 3), 0.25, dtype=torch.float64)
    weights = weights_from_advantages(a, torch.ones_like(a, dtype=torch.bool), Weighting())
    torch.testing.assert_close(weights, torch.ones_like(a))


@given(st.lists(st.integers(-3, 3), max_size=60), st.floats(0.01, 1.0))
def test_top_k_selects_exactly_ceil_k_n_with_ties_to_the_first(scores: list[int], k: float) -> None:
    weights = top_k_weights(torch.tensor(scores, dtype=torch.float32), k)
    count = min(len(scores), math.ceil(k * len(scores) - 1e-9 * len(scores)))
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    assert {i for i, w in enumerate(weights.tolist()) if w > 0} == set(order[:count])
    if scores:
        assert math.isclose(weights.mean().item(), 1.0, rel_tol=1e-5)


@pytest.mark.parametrize(("k", "n", "count"), [(0.6, 5, 3), (0.6, 7, 5), (1.0, 4, 4), (0.1, 1, 1), (0.7, 10, 7)])
def test_top_k_counts(k: float, n: int, count: int) -> None:
    assert int((top_k_weights(torch.zeros(n), k) > 0).sum()) == count


@settings(max_examples=30)
@given(st.lists(st.floats(0, 4), min_size=2, max_size=50))
def test_statistics_add_up(weights: list[float]) -> None:
    w = torch.tensor(weights, dtype=torch.float32)
    halves = WeightStatistics.sums(w[: len(w) // 2]) + WeightStatistics.sums(w[len(w) // 2 :])
    torch.testing.assert_close(halves, WeightStatistics.sums(w))
    metrics = WeightStatistics(*halves.tolist()).metrics()
    if metrics:
        assert 0 <= metrics["weights/ess"] <= 1 + 1e-9
        assert metrics["weights/entropy"] <= 1 + 1e-9


def test_statistics_of_uniform_weights() -> None:
    metrics = WeightStatistics(*WeightStatistics.sums(torch.ones(8)).tolist()).metrics()
    assert metrics == pytest.approx({"weights/mean": 1, "weights/ess": 1, "weights/entropy": 1, "weights/selected": 1})
