"""TD errors and generalised advantage estimation, defined as in TRL, verl and OpenRLHF (arXiv 1506.02438).

Everything is indexed by the *token that was chosen*: `values[:, j]` is V of the state in which response token j was
chosen, that is V read at the token before it; for j = 0 that is the last prompt token. The verifiable reward R
arrives with the last response token and with it the episode ends:

    delta_j = gamma * values[j+1] - values[j]        for j < last
    delta_last = R - values[last]
    A_j = delta_j + gamma * lam * A_{j+1}
"""

from __future__ import annotations

import torch
from torch import Tensor


def td_errors(values: Tensor, rewards: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """values [N, T] float, rewards [N] float, mask [N, T] bool (True for response tokens, which come first) ->
    delta [N, T], 0 outside the mask. With gamma = 1 they sum to R - values[:, 0] (telescoping)."""
    following = torch.zeros_like(mask)
    following[:, :-1] = mask[:, 1:]
    after = torch.zeros_like(values)
    after[:, :-1] = values[:, 1:]
    gain = torch.where(following, gamma * after, rewards[:, None].to(values.dtype))
    return torch.where(mask, gain - values, 0.0)


def advantages(values: Tensor, rewards: Tensor, mask: Tensor, gamma: float, lam: float) -> Tensor:
    """GAE, same shapes. lam = 0 gives the TD errors, lam = 1 and gamma = 1 give R - values."""
    delta = td_errors(values, rewards, mask, gamma)
    out = torch.empty_like(delta)
    running = torch.zeros_like(delta[:, 0])
    for j in range(delta.shape[1] - 1, -1, -1):
        running = delta[:, j] + gamma * lam * running
        out[:, j] = running
    return out
