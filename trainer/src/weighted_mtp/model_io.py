"""Model directories in and out: params.json, safetensors in Meta's key layout, tokenizer. Never a pickle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from weighted_mtp.errors import ModelError
from weighted_mtp.model import ModelParams, Transformer, meta_key
from weighted_mtp.parallel import World, local_part, local_rows

PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl")
TOKENIZER_FILES = ("tokenizer.model", "tokenizer.json")


def find_model(root: str, name: str, role: str) -> Path:
    """The directory of a model, checked for everything that a run reads. Raises ModelError."""
    directory = Path(root) / name
    if not directory.is_dir():
        known = sorted(p.name for p in Path(root).iterdir() if p.is_dir()) if Path(root).is_dir() else []
        raise ModelError(
            f"{role} {name!r} does not exist: {directory}",
            f"paths.models holds {', '.join(known)}" if known else f"paths.models ({root}) is missing or empty",
        )
    if not (directory / "params.json").is_file():
        raise ModelError(f"{role} {name!r} has no params.json: {directory}", "fetch or convert the model again")
    weight_files(directory)
    return directory


def weight_files(directory: Path, stem: str = "model") -> list[Path]:
    """The safetensors files of a directory; refuses a directory that holds only pickles."""
    index = directory / f"{stem}.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [directory / name for name in names]
    else:
        files = [directory / f"{stem}.safetensors"]
    missing = [file for file in files if not file.is_file()]
    if not missing:
        return files
    pickles = sorted(p.name for p in directory.iterdir() if p.suffix in PICKLES)
    if pickles:
        raise ModelError(
            f"{directory} holds the pickle {pickles[0]} and no {missing[0].name}; a pickle can run code when loaded",
            f"convert it: python -m weighted_mtp convert {directory / pickles[0]} {directory}",
        )
    raise ModelError(f"{missing[0]} does not exist", "fetch the model again")


class Weights:
    """Lazy access to the tensors of one or several safetensors files: only what is asked for is read."""

    def __init__(self, files: list[Path]) -> None:
        from safetensors import SafetensorError, safe_open

        self._handles = {}
        for file in files:
            try:
                handle = safe_open(file, "pt")
            except (SafetensorError, OSError) as error:
                raise ModelError(f"{file} is damaged: {error}", "fetch the model again") from error
            self._handles.update(dict.fromkeys(handle.keys(), handle))

    def keys(self) -> list[str]:
        return sorted(self._handles)

    def shape(self, key: str) -> list[int]:
        return self._handles[key].get_slice(key).get_shape()

    def rows(self, key: str, start: int, end: int) -> Tensor:
        return self._handles[key].get_slice(key)[start:end]

    def full(self, key: str) -> Tensor:
        return self._handles[key].get_tensor(key)


def load_parameters(
    model: nn.Module, weights: Weights, key_of: Callable[[str], str], source: str, world: World
) -> None:
    """Fill a sharded model; every rank reads only its own rows. Raises ModelError for a missing key or wrong shape."""
    known = set(weights.keys())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            key = key_of(name)
            if key not in known:
                raise ModelError(f"{source} has no tensor {key}", "is params.json the one of these weights?")
            if weights.shape(key) != list(parameter.shape):
                raise ModelError(
                    f"{source}: {key} has shape {weights.shape(key)}, params.json makes it {list(parameter.shape)}",
                    "is params.json the one of these weights?",
                )
            start, end = local_rows(parameter.shape[0], world.rank, world.size)
            local = local_part(parameter)
            if end > start:
                local.copy_(weights.rows(key, start, end))


def load_transformer(
    directory: Path, world: World, config, *, heads: int | None, trunk_only: bool = False
) -> Transformer:
    """A sharded Transformer from a model directory. `heads`: keep only so many (None: all)."""
    from weighted_mtp.parallel import shard

    params = ModelParams.read(directory / "params.json")
    if heads is not None and heads > params.n_future_tokens:
        raise ModelError(
            f"model {directory.name} has {params.n_future_tokens} heads, loss.heads asks for {heads}",
            "lower loss.heads",
        )
    if heads is not None:
        params = params.with_heads(heads)
    with torch.device("meta"):
        model = Transformer(params, trunk_only)
    shard(model, world, config)
    load_parameters(
        model, Weights(weight_files(directory)), lambda name: meta_key(name, params), f"model {directory.name}", world
    )
    return model


def tensors_hash(weights: Weights, keys: list[str]) -> str:
    """sha256 over names, dtypes, shapes and bytes of some tensors: the same for one file or many."""
    digest = hashlib.sha256()
    for key in sorted(keys):
        tensor = weights.full(key)
        digest.update(f"{key} {tensor.dtype} {list(tensor.shape)}\n".encode())
        if tensor.numel():
            digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def trunk_hash(directory: Path) -> str:
    """Identity of a model's trunk: embeddings and all blocks before the heads."""
    params = ModelParams.read(directory / "params.json")
    weights = Weights(weight_files(directory))
    trunk = [f"layers.{i}." for i in range(params.n_trunk_layers)] + ["tok_embeddings."]
    return tensors_hash(weights, [key for key in weights.keys() if key.startswith(tuple(trunk))])  # noqa: SIM118


def model_hash(directory: Path) -> str:
    """Identity of all weights of a model."""
    weights = Weights(weight_files(directory))
    return tensors_hash(weights, weights.keys())


def gather_parameters(model: nn.Module, key_of: Callable[[str], str], rank: int) -> dict[str, Tensor]:
    """Full tensors by key on rank 0 (on the CPU), an empty dict elsewhere. All ranks must call it."""
    from torch.distributed.tensor import DTensor

    out = {}
    for name, parameter in model.named_parameters():
        tensor = parameter.detach()
        if isinstance(tensor, DTensor):
            tensor = tensor.full_tensor()
        if rank == 0:
            out[key_of(name)] = tensor.cpu().contiguous().clone()
    return out


def write_model(directory: Path, tensors: dict[str, Tensor], params: ModelParams, tokenizer_from: Path) -> None:
    """A model directory as it is read: model.safetensors, params.json and the tokenizer."""
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    params.write(directory / "params.json")
    for name in TOKENIZER_FILES:
        if (tokenizer_from / name).is_file():
            shutil.copyfile(tokenizer_from / name, directory / name)


def write_json(path: Path, content: object) -> None:
    """Atomically: whoever sees the file sees all of it, also after a power cut."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def replace_directory(directory: Path, write: Callable[[Path], None]) -> None:
    """Write a new version of a directory beside the old one and swap them."""
    new, old = directory.with_name(directory.name + ".new"), directory.with_name(directory.name + ".old")
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    write(new)
    if directory.exists():
        directory.rename(old)
    new.rename(directory)
    shutil.rmtree(old, ignore_errors=True)
