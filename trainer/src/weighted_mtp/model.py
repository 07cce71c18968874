"""A Llama with n future-token heads, as `facebook/multi-token-prediction` lays it out (arXiv 2404.19737).

    trunk    tok_embeddings, layers.0 .. layers.{L-2}
    head 1   layers.{L-1}                 (the ordinary last block)
    head k   extra_heads.{k-2}, k = 2..n  (one block each, all reading the same trunk state)
    unembed  norm, output                 (shared by the heads)

`n_layers` counts everything, so L = n_layers - n_future_tokens + 1. Head k at position t predicts token t+k.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True)
class ModelParams:
    """`params.json`, Meta's names."""

    dim: int
    n_layers: int
    n_heads: int
    vocab_size: int
    n_kv_heads: int | None = None
    n_future_tokens: int = 1
    multiple_of: int = 256
    ffn_dim_multiplier: float | None = None
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5

    @classmethod
    def read(cls, path: Path) -> ModelParams:
        """From `params.json`; keys that we do not know are ignored."""
        content = json.loads(path.read_text(encoding="utf-8"))
        known = {field.name for field in fields(cls)}
        return cls(**{key: value for key, value in content.items() if key in known})

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    def with_heads(self, heads: int) -> ModelParams:
        """The same model with only its first `heads` heads."""
        return replace(self, n_layers=self.n_layers - self.n_future_tokens + heads, n_future_tokens=heads)

    @property
    def n_trunk_layers(self) -> int:
        return self.n_layers - self.n_future_tokens

    @property
    def head_dim(self) -> int:
        return self.dim // self.n_heads

    @property
    def ffn_dim(self) -> int:
        """SwiGLU's inner width: two thirds of 4 dim, rounded up to `multiple_of`."""
        hidden = int(2 * 4 * self.dim / 3)
        if self.ffn_dim_multiplier is not None:
            hidden = int(self.ffn_dim_multiplier * hidden)
        return self.multiple_of * -(-hidden // self.multiple_of)


class Context(NamedTuple):
    """What every block needs besides the hidden state."""

    cos: Tensor  # [B, S, 1, head_dim/2] fp32
    sin: Tensor  # [B, S, 1, head_dim/2] fp32
    mask: Tensor  # [B, 1, S, S] bool, True where position i may look at position j


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE on x [B, S, heads, head_dim], interleaved pairs (Meta's layout), computed in fp32."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).type_as(x)


class RMSNorm(nn.Module):
    """Computed in fp32 whatever the input."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), (x.shape[-1],), eps=self.eps).type_as(x) * self.weight


class Linear(nn.Linear):
    """Without bias and without initialisation: weights come from a file."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def reset_parameters(self) -> None:
        """Nothing to do."""


class Embedding(nn.Embedding):
    """Without initialisation."""

    def reset_parameters(self) -> None:
        """Nothing to do."""


class Attention(nn.Module):
    """Grouped-query attention through SDPA, masked so that no token sees another document."""

    def __init__(self, params: ModelParams) -> None:
        super().__init__()
        self.head_dim = params.head_dim
        kv_dim = (params.n_kv_heads or params.n_heads) * params.head_dim
        self.wq = Linear(params.dim, params.n_heads * params.head_dim)
        self.wk = Linear(params.dim, kv_dim)
        self.wv = Linear(params.dim, kv_dim)
        self.wo = Linear(params.n_heads * params.head_dim, params.dim)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        q, k, v = (w(x).unflatten(-1, (-1, self.head_dim)) for w in (self.wq, self.wk, self.wv))
        q, k = rotate(q, context.cos, context.sin), rotate(k, context.cos, context.sin)
        out = F.scaled_dot_product_attention(
            q.transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
            attn_mask=context.mask,
            enable_gqa=self.wk.out_features != self.wq.out_features,
        )
        return self.wo(out.transpose(1, 2).flatten(-2))


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, params: ModelParams) -> None:
        super().__init__()
        self.w1 = Linear(params.dim, params.ffn_dim)
        self.w2 = Linear(params.ffn_dim, params.dim)
        self.w3 = Linear(params.dim, params.ffn_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    """One Llama block. With `recompute`, activations inside it are not kept but computed again in the backward."""

    def __init__(self, params: ModelParams) -> None:
        super().__init__()
        self.attention = Attention(params)
        self.feed_forward = FeedForward(params)
        self.attention_norm = RMSNorm(params.dim, params.norm_eps)
        self.ffn_norm = RMSNorm(params.dim, params.norm_eps)
        self.recompute = False

    def forward(self, x: Tensor, context: Context) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(self._forward, x, context, use_reentrant=False, preserve_rng_state=False)
        return self._forward(x, context)

    def _forward(self, x: Tensor, context: Context) -> Tensor:
        x = x + self.attention(self.attention_norm(x), context)
        return x + self.feed_forward(self.ffn_norm(x))


class Unembed(nn.Module):
    """Final norm and output projection, shared by the heads: [..., dim] -> [..., vocab]."""

    def __init__(self, params: ModelParams) -> None:
        super().__init__()
        self.norm = RMSNorm(params.dim, params.norm_eps)
        self.output = Linear(params.dim, params.vocab_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.norm(x))


class Transformer(nn.Module):
    """`forward` runs the trunk; heads and unembedding are called by whoever computes a loss (see `mtp_loss.py`)."""

    def __init__(self, params: ModelParams, trunk_only: bool = False) -> None:
        super().__init__()
        self.params = params
        self.tok_embeddings = Embedding(params.vocab_size, params.dim)
        self.layers = nn.ModuleList(Block(params) for _ in range(params.n_trunk_layers))
        self.heads = nn.ModuleList(Block(params) for _ in range(0 if trunk_only else params.n_future_tokens))
        self.unembed = None if trunk_only else Unembed(params)

    def forward(self, tokens: Tensor, positions: Tensor, documents: Tensor) -> tuple[Tensor, Context]:
        """tokens, positions, documents [B, S] int -> trunk state [B, S, dim] and the context for the heads.

        `positions` count from 0 within each document; `documents` number the documents of a row, and padding is
        a document of its own, so that packed documents and padding never see one another.
        """
        context = self.context(positions, documents)
        h = self.tok_embeddings(tokens)
        for layer in self.layers:
            h = layer(h, context)
        return h, context

    def initialise(self, seed: int, std: float = 0.02) -> None:
        """Random weights for a model that comes from no file: normal matrices, norms of 1. In the order of the
        parameters, by a generator of its own."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                if parameter.ndim == 1:
                    parameter.fill_(1.0)
                else:
                    parameter.normal_(0.0, std, generator=generator)

    def context(self, positions: Tensor, documents: Tensor) -> Context:
        half = torch.arange(0, self.params.head_dim, 2, device=positions.device, dtype=torch.float32)
        angle = positions[..., None].float() * self.params.rope_theta ** (-half / self.params.head_dim)
        length = positions.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=positions.device).tril()
        same = documents[:, :, None] == documents[:, None, :]
        return Context(angle.cos()[:, :, None], angle.sin()[:, :, None], (same & causal)[:, None])


def meta_key(name: str, params: ModelParams) -> str:
    """Our parameter name -> Meta's key in a file."""
    parts = name.split(".")
    if parts[0] == "heads":
        head = int(parts[1])
        start = ["layers", str(params.n_trunk_layers)] if head == 0 else ["extra_heads", str(head - 1)]
        parts = start + parts[2:]
    elif parts[0] == "unembed":
        parts = parts[1:]
    return ".".join(parts)
