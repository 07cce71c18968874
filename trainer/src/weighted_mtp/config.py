"""The trainer's configuration: every key, its type, its bounds and its default. Nowhere else is there a default.

A pipeline's file (`configs/<pipeline>/<pipeline>.yaml`) holds only what differs for that pipeline. `schema.json`
is generated from these classes, so that the stack program can resolve and check overrides without Python.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from weighted_mtp.results_version import RESULTS_VERSION

Pipeline = Literal["critic", "verifiable", "baseline", "rho1", "ntp"]
PIPELINES: tuple[str, ...] = ("critic", "verifiable", "baseline", "rho1", "ntp")

# A name below a root that the launcher mounts: never absolute, never climbing out.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$")]


class Section(BaseModel):
    """Strict: an unknown key is an error, and "8" is not 8."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Models(Section):
    """Directories below `paths.models`."""

    base: Name = Field("llama-7b-mtp", description="the model to train")
    reference: Name | None = Field(None, description="rho1: the model whose losses are subtracted")
    critic_trunk: Name | None = Field(None, description="trunk of the critic; null: the base model")
    tokenizer: Literal["hf-sentencepiece", "hf-transformers"] = Field(
        "hf-sentencepiece", description="tokenizer.model through sentencepiece, or tokenizer.json through tokenizers"
    )


class Data(Section):
    """JSON Lines below `paths.datasets`: problem, prompt, solution, reward (0 or 1), difficulty."""

    train: Name = "codecontests/processed/train.jsonl"
    valid: Name = "codecontests/processed/valid.jsonl"
    max_length: int = Field(2048, ge=8, description="tokens of one row; longer documents are left out, and counted")
    packing: bool = Field(True, description="several documents in one row, attention kept within each")
    valid_samples: int = Field(64, ge=1, description="documents of the fixed validation batch")


class Training(Section):
    """The optimisation. An effective batch is batch_size x gradient_accumulation_steps x ranks rows."""

    epochs: int = Field(1, ge=1)
    max_steps: int | None = Field(None, ge=1, description="stop after so many optimizer steps; null: all epochs")
    batch_size: int = Field(6, ge=1, description="rows per rank and micro-batch")
    gradient_accumulation_steps: int = Field(4, ge=1)
    optimizer: Literal["adamw"] = "adamw"
    learning_rate: float = Field(2e-5, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.95, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)
    max_grad_norm: float = Field(1.0, gt=0)
    warmup_steps: int = Field(0, ge=0)
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="after the warm-up, down to 0")
    seed: int = Field(42, ge=0)
    log_interval: int = Field(10, ge=1, description="steps between two points in the tracker and two progress lines")


class Loss(Section):
    """L = sum over heads of head_weight_k * L_k."""

    heads: int | None = Field(None, ge=1, description="train only the first so many heads (ntp: 1); null: all")
    head_weights: list[float] | None = Field(None, description="one per head; null: 1/n each")


class Weighting(Section):
    """How a token's score becomes its weight; weights have mean 1 over the trained tokens."""

    scheme: Literal["uniform", "critic", "rho1"] = "uniform"
    beta: float = Field(1.0, gt=0, description="critic: temperature of exp(whitened advantage / beta)")
    min_weight: float = Field(0.1, ge=0, description="critic: clip before the mean is set to 1")
    max_weight: float = Field(3.0, gt=0, description="critic: clip before the mean is set to 1")
    gamma: float = Field(1.0, ge=0, le=1, description="critic: discount")
    lam: float = Field(0.95, ge=0, le=1, description="critic: lambda of GAE; 0 is the plain TD error")
    top_k: float = Field(0.6, gt=0, le=1, description="rho1: fraction of the targets of each head that is trained")

    @model_validator(mode="after")
    def _ordered(self) -> Weighting:
        if self.min_weight > self.max_weight:
            raise ValueError(f"min_weight {self.min_weight} is above max_weight {self.max_weight}")
        return self


class Critic(Section):
    """The value head (pipeline critic)."""

    loss: Literal["bce", "mse"] = Field("bce", description="against the reward, on sigmoid(logit)")
    train_trunk: bool = Field(False, description="train a copy of the trunk too; it goes into the checkpoint")


class Checkpoint(Section):
    """Checkpoints for resuming, every `save_interval` steps and at the end."""

    save_interval: int = Field(100, ge=1)
    keep_last: int = Field(2, ge=1)
    save_final: bool = Field(False, description="also export the last weights, not only the best")


class Distributed(Section):
    """One process per GPU (or CPU worker), FSDP2 over all of them."""

    backend: Literal["nccl", "gloo"] = "nccl"
    init_method: Literal["env://"] = "env://"
    timeout_seconds: int = Field(1800, ge=1)
    num_proc: int = Field(8, ge=1, description="processes that tokenize large data sets")
    sharding: Literal["full_shard"] = "full_shard"
    auto_wrap: bool = Field(True, description="every block an FSDP unit of its own")
    activation_checkpointing: bool = True
    mixed_precision: Literal["bf16", "fp32"] = Field("bf16", description="compute; parameters and sums stay fp32")
    compute_backend: Literal["auto", "cuda", "cpu"] = "auto"


class Paths(Section):
    """Where things are. The only keys that are not part of a run's identity."""

    models: str = "/app/models"
    datasets: str = "/app/datasets"
    output: str = Field("", description="default: /app/checkpoints/<pipeline>")
    scores: str = "/app/checkpoints/scores"


class TrainConfig(Section):
    """Everything that one run needs to know, except secrets and the tracker's address (environment)."""

    pipeline: Pipeline
    models: Models = Models()
    data: Data = Data()
    training: Training = Training()
    loss: Loss = Loss()
    weighting: Weighting = Weighting()
    critic: Critic = Critic()
    checkpoint: Checkpoint = Checkpoint()
    distributed: Distributed = Distributed()
    paths: Paths = Paths()

    @model_validator(mode="before")
    @classmethod
    def _default_output(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("paths") or {}, dict) and "pipeline" in data:
            paths = dict(data.get("paths") or {})
            paths["output"] = paths.get("output") or f"/app/checkpoints/{data['pipeline']}"
            return {**data, "paths": paths}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        scheme = self.weighting.scheme
        if scheme == "critic" and self.pipeline != "verifiable":
            raise ValueError(f"weighting.scheme critic belongs to pipeline verifiable, not {self.pipeline}")
        if scheme == "rho1" and self.pipeline != "rho1":
            raise ValueError(f"weighting.scheme rho1 belongs to pipeline rho1, not {self.pipeline}")
        if scheme == "rho1" and self.models.reference is None:
            raise ValueError("weighting.scheme rho1 needs models.reference, the name of a reference model")
        heads, weights = self.loss.heads, self.loss.head_weights
        if weights is not None and heads is not None and len(weights) != heads:
            raise ValueError(f"loss.head_weights has {len(weights)} entries for loss.heads {heads}")
        return self

    @property
    def trunk_name(self) -> str:
        return self.models.critic_trunk or self.models.base

    def effective_batch(self, world_size: int) -> int:
        """Rows of one optimizer step over all ranks."""
        return self.training.batch_size * self.training.gradient_accumulation_steps * world_size

    def identity(self) -> dict[str, Any]:
        """The resolved configuration without the paths: what makes two runs the same run."""
        return self.model_dump(mode="json", exclude={"paths"})

    def own_fingerprint(self, world_size: int) -> str:
        """Fingerprint of a run started by hand; a launcher passes a better one, with the data's hashes, in
        WMTP_FINGERPRINT."""
        content = {"config": self.identity(), "world_size": world_size, "results_version": RESULTS_VERSION}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
