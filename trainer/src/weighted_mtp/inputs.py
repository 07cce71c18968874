"""Everything that a run reads, found and checked before anything is trained (and before a process group exists)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from weighted_mtp.config import TrainConfig
from weighted_mtp.critic import CriticCheckpoint, open_critic
from weighted_mtp.data import Sample, load_samples
from weighted_mtp.model import ModelParams
from weighted_mtp.model_io import find_model, model_hash, trunk_hash
from weighted_mtp.packing import permutation
from weighted_mtp.tokenizer import Tokenizer, check_same_mapping, load_tokenizer


@dataclass
class Inputs:
    """Directories, checked against each other, and the tokenized data."""

    base: Path
    trunk: Path
    train: list[Sample]
    valid: list[Sample]
    reference: Path | None = None
    reference_hash: str | None = None
    trunk_sha256: str | None = None
    critic: CriticCheckpoint | None = None
    summary: list[str] = field(default_factory=list)


def find_models(config: TrainConfig) -> dict[str, Path]:
    """Role -> directory of every model that this pipeline reads. Raises ModelError."""
    root, names = config.paths.models, config.models
    if config.pipeline == "critic":
        return {"trunk": find_model(root, config.trunk_name, "critic trunk")}
    found = {"base": find_model(root, names.base, "base model")}
    if config.weighting.scheme == "critic":
        found["trunk"] = find_model(root, config.trunk_name, "critic trunk")
    if config.weighting.scheme == "rho1":
        assert names.reference is not None
        found["reference"] = find_model(root, names.reference, "reference model")
    return found


def check_tokenizers(config: TrainConfig, models: dict[str, Path]) -> Tokenizer:
    """One id -> piece mapping for all of them -> the tokenizer."""
    tokenizers = {path.name: load_tokenizer(path, config.models.tokenizer) for path in dict.fromkeys(models.values())}
    sizes = {path.name: ModelParams.read(path / "params.json").vocab_size for path in models.values()}
    check_same_mapping(tokenizers, sizes)
    return next(iter(tokenizers.values()))


def read_inputs(config: TrainConfig, critic_checkpoint: Path | None) -> Inputs:
    """Find, check and tokenize. Raises ConfigError, ModelError or DataError."""
    models = find_models(config)
    base = models.get("base") or models["trunk"]
    trunk = models.get("trunk") or base
    reads_critic = config.weighting.scheme == "critic"
    sha256 = trunk_hash(trunk) if reads_critic or config.pipeline == "critic" else None
    critic = open_critic(critic_checkpoint, trunk, sha256) if reads_critic and sha256 else None
    tokenizer = check_tokenizers(config, models)
    summary = []
    loaded: dict[str, list[Sample]] = {}
    for split, name in (("train", config.data.train), ("valid", config.data.valid)):
        path = Path(config.paths.datasets) / name
        samples, too_long = load_samples(
            path, tokenizer, config.data.max_length, correct_only=config.pipeline != "critic"
        )
        loaded[split] = samples
        line = f"{split}: {len(samples)} documents, {sum(s.length for s in samples)} tokens from {path}"
        summary.append(line + (f"; {too_long} longer than data.max_length left out" if too_long else ""))
    reference = models.get("reference")
    return Inputs(
        base=base,
        trunk=trunk,
        train=loaded["train"],
        valid=fixed_batch(loaded["valid"], config.data.valid_samples),
        reference=reference,
        reference_hash=model_hash(reference) if reference else None,
        trunk_sha256=sha256,
        critic=critic,
        summary=summary,
    )


def fixed_batch(samples: list[Sample], count: int) -> list[Sample]:
    """The validation batch: at most `count` samples, spread over the file by a permutation that no seed changes, so
    that its losses can be compared between runs and pipelines."""
    return [samples[i] for i in sorted(permutation(len(samples), 0, 0)[:count])]
