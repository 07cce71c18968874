"""The process group, and FSDP2 over it. Without RANK in the environment: rank 0 of 1, by the same code."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from weighted_mtp.config import Distributed
from weighted_mtp.errors import ConfigError
from weighted_mtp.model import Block
from weighted_mtp.weighting import top_k_weights


class World:
    """The ranks of this run and the few collectives that the trainer needs."""

    def __init__(self, config: Distributed) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.size = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
        self.device = _device(config)
        store = None if "RANK" in os.environ else dist.HashStore()
        dist.init_process_group(
            config.backend,
            init_method=None if store else config.init_method,
            store=store,
            rank=self.rank,
            world_size=self.size,
            timeout=datetime.timedelta(seconds=config.timeout_seconds),
        )

    def sum(self, tensor: Tensor) -> Tensor:
        """Summed over the ranks, in place; every rank gets the same bits."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()

    def gather_objects(self, item: Any) -> list[Any]:
        """One picklable item a rank -> all of them, by rank, on every rank."""
        if self.size == 1:
            return [item]
        out: list[Any] = [None] * self.size
        dist.all_gather_object(out, item)
        return out

    def top_k_weights(self, scores: Tensor, top_k: float) -> Tensor:
        """`weighting.top_k_weights` over the scores of all ranks in rank order -> those of this rank."""
        if self.size == 1:
            return top_k_weights(scores, top_k)
        counts = [torch.zeros(1, dtype=torch.int64, device=scores.device) for _ in range(self.size)]
        dist.all_gather(counts, torch.tensor([scores.numel()], device=scores.device))
        sizes = [int(count) for count in counts]
        padded = scores.new_zeros(max(sizes))
        padded[: scores.numel()] = scores
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        everything = torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
        start = sum(sizes[: self.rank])
        return top_k_weights(everything, top_k)[start : start + scores.numel()]

    def close(self) -> None:
        dist.destroy_process_group()


def _device(config: Distributed) -> torch.device:
    kind = config.compute_backend
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError("distributed.compute_backend is cuda, but torch sees no GPU", "check driver, or set cpu")
    if kind == "cpu" and config.backend == "nccl":
        raise ConfigError("distributed.backend nccl needs a GPU, and torch sees none", "set distributed.backend=gloo")
    if kind == "cpu":
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def shard(model: nn.Module, world: World, config: Distributed, fp32_modules: tuple[nn.Module, ...] = ()) -> None:
    """FSDP2 full_shard of a model that lies on the meta device; afterwards it is on the world's device, empty.

    Parameters, gradients and optimizer state are fp32 shards; with mixed_precision bf16 the forward and backward
    compute in bf16 and gradients are still reduced in fp32. With one rank it is the same code path.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(world.device.type, (world.size,))
    dtype = torch.bfloat16 if config.mixed_precision == "bf16" else torch.float32
    # cast_forward_inputs would round RoPE's cosines to bf16
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    exact = MixedPrecisionPolicy(param_dtype=torch.float32, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for module in fp32_modules:
        fully_shard(module, mesh=mesh, mp_policy=exact, reshard_after_forward=False)
    for name, module in model.named_modules():
        if isinstance(module, Block):
            # a head's backward follows its forward at once: it holds one block's activations either way
            module.recompute = config.activation_checkpointing and not name.startswith("heads.")
            if config.auto_wrap:
                fully_shard(module, mesh=mesh, mp_policy=policy)
    unembed = getattr(model, "unembed", None)
    if unembed is not None:
        fully_shard(unembed, mesh=mesh, mp_policy=policy, reshard_after_forward=False)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    model.to_empty(device=world.device)


@contextlib.contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """A forward without gradient. Afterwards all parameters are shards again: FSDP2 leaves its root gathered after a
    forward without backward, and the next backward then loses the root's gradient (the embedding's)."""
    try:
        with torch.no_grad():
            yield
    finally:
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()


def local_part(parameter: Tensor) -> Tensor:
    """The rows of a sharded parameter that are on this rank."""
    if not isinstance(parameter, DTensor):
        raise TypeError("a parameter of a model that is not sharded")
    return parameter.to_local()


def local_rows(total: int, rank: int, size: int) -> tuple[int, int]:
    """The rows [start, end) of a tensor of `total` rows that FSDP2 keeps on `rank` (torch.chunk's split)."""
    per_rank = -(-total // size)
    return min(rank * per_rank, total), min((rank + 1) * per_rank, total)
