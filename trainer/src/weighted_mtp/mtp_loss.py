"""The loss of the language-model pipelines, and the order in which it is computed.

    L = sum_k head_weight_k * L_k        L_k = sum(w * CE_k) / Z_k

over the targets of head k in the whole optimizer step (all ranks and micro-batches); Z_k is their number, known
from the masks before the first forward, so that the gradient is the same for any split of the step. The heads run
forward and backward one after another on the detached trunk output (arXiv 2404.19737, section 2): the logits of
one head are in memory at a time, and the trunk's backward runs once, on the sum of their gradients.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from weighted_mtp.data import Sample
from weighted_mtp.model import Context, Transformer
from weighted_mtp.packing import Batch, Row
from weighted_mtp.parallel import inference
from weighted_mtp.weighting import Scheme, WeightStatistics

STATISTICS = 5  # fields of WeightStatistics


def normalisers(rows: Iterable[Row], samples: list[Sample], heads: int) -> list[int]:
    """Z_1 .. Z_n of one optimizer step from all its rows; at least 1, so that an empty step divides nothing by 0."""
    indices = [index for row in rows for index in row]
    return [max(1, sum(samples[i].targets(head) for i in indices)) for head in range(1, heads + 1)]


def head_losses(
    model: Transformer, state: Tensor, context: Context, batch: Batch, number: int
) -> tuple[Tensor, Tensor]:
    """Cross entropy of head `number` (1-based) at each of its N targets: (losses [N] fp32, where [B, S] bool).

    Only the rows that predict something are unembedded: [N, vocab] logits, not [B, S, vocab].
    """
    where = batch.targets(number)
    targets = batch.tokens.roll(-number, dims=1)[where]
    if model.unembed is None:
        raise TypeError("a trunk alone predicts no token")
    logits = model.unembed(model.heads[number - 1](state, context)[where])
    return F.cross_entropy(logits.float(), targets, reduction="none"), where


def forward_backward(
    model: Transformer,
    batch: Batch,
    scheme: Scheme,
    z: list[int],
    head_weights: list[float],
    world_size: int,
) -> Tensor:
    """Add this micro-batch's gradient to the parameters' and return its sums, fp64 [2n + 5].

    The sums: for each head sum(w * CE) / Z_k, for each head sum(CE) / Z_k, and the fields of WeightStatistics;
    added over micro-batches and ranks they are the step's values. Gradients are multiplied by the number of ranks
    because FSDP averages over them.
    """
    n = len(model.heads)
    sums = torch.zeros(2 * n + STATISTICS, dtype=torch.float64, device=batch.tokens.device)
    h, context = model(batch.tokens, batch.positions, batch.documents)
    gradient = torch.zeros_like(h, dtype=torch.float32)
    for k in range(n):
        if isinstance(
            model, FSDPModule
        ):  # the unembedding stays gathered over the heads and its gradient is reduced once
            model.set_is_last_backward(False)
            if isinstance(model.unembed, FSDPModule):
                model.unembed.set_requires_gradient_sync(k == n - 1)
                model.unembed.set_reshard_after_backward(k == n - 1)
        state = h.detach().requires_grad_()
        losses, where = head_losses(model, state, context, batch, k + 1)
        weights = scheme.weights(batch, k + 1, where, losses.detach())
        loss = (weights * losses).sum() / z[k]
        (loss * (head_weights[k] * world_size)).backward()
        gradient += state.grad
        sums[k] = loss.detach()
        sums[n + k] = losses.detach().double().sum() / z[k]
        sums[2 * n :] += WeightStatistics.sums(weights)
    if isinstance(model, FSDPModule):
        model.set_is_last_backward(True)
    h.backward(gradient.type_as(h))
    return sums


def validation_sums(model: Transformer, batch: Batch) -> Tensor:
    """Unweighted cross entropy of head 1: fp64 [sum, number of targets]."""
    with inference(model):
        h, context = model(batch.tokens, batch.positions, batch.documents)
        losses, _ = head_losses(model, h, context, batch, 1)
    total = losses.double().sum()
    return torch.stack((total, torch.full_like(total, losses.numel())))


def token_losses(model: Transformer, batch: Batch) -> Tensor:
    """Head 1's loss of every trained token, at that token's place [B, S] fp32, 0 elsewhere (a reference's scores)."""
    with inference(model):
        h, context = model(batch.tokens, batch.positions, batch.documents)
        losses, where = head_losses(model, h, context, batch, 1)
    placed = torch.zeros(where.shape, device=losses.device)
    placed[where] = losses
    return placed.roll(1, dims=1)
