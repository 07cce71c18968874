"""AdamW and the learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from weighted_mtp.config import Training


def build_optimizer(model: nn.Module, config: Training) -> torch.optim.Optimizer:
    """AdamW over the trainable parameters; norms and biases are not decayed."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        fused=True,
    )


def learning_rate(config: Training, step: int, steps: int) -> float:
    """The rate of step `step` (1-based) of `steps`: linear warm-up, then the schedule, down to nearly 0 at the end."""
    if step <= config.warmup_steps:
        return config.learning_rate * step / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - 1 - config.warmup_steps) / max(1, steps - config.warmup_steps)
    factor = 1.0 - done if config.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
    return config.learning_rate * factor


def clip_gradients(model: nn.Module, max_norm: float) -> Tensor:
    """Scale the gradients to a global L2 norm of at most `max_norm` -> the norm before, a plain scalar tensor."""
    from torch.distributed.tensor import DTensor

    norm = nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], max_norm)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
