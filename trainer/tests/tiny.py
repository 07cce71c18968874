"""Small models and data for tests: random but seeded, of the real architecture."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from weighted_mtp.model import ModelParams, Transformer, meta_key
from weighted_mtp.model_io import write_model

TRAINER = Path(__file__).resolve().parents[1]
PARAMS = ModelParams(dim=32, n_layers=4, n_heads=4, n_kv_heads=2, vocab_size=320, n_future_tokens=3, multiple_of=32)


@cache
def tokenizer_bytes(vocab_size: int = 320) -> bytes:
    """A little SentencePiece model with byte fallback, trained on the lines that `make_data` writes."""
    import sentencepiece

    lines = [line for problem in range(60) for text in example(problem, problem) for line in text.splitlines()]
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, vocab_size=vocab_size, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2, num_threads=1,
        hard_vocab_limit=False, character_coverage=1.0,
    )  # fmt: skip
    return out.getvalue()


def example(problem: int, variant: int) -> tuple[str, str]:
    """(prompt, solution)"""
    rng = random.Random(problem)
    name = rng.choice(["add", "scale", "shift", "mix"])
    a, b = rng.randint(1, 9), rng.randint(1, 9)
    operator = "+-*"[variant % 3]
    prompt = f"def {name}_{problem}(x):\n    # {name} by {a} and {b}\n"
    return prompt, f"    y = x {operator} {a}\n" + f"    y = y {operator} {b}\n" * (1 + problem % 3) + "    return y\n"


def make_model(root: Path, name: str = "tiny", params: ModelParams = PARAMS, seed: int = 0) -> Path:
    model = Transformer(params)
    model.initialise(seed, std=0.05)
    tensors = {meta_key(key, params): tensor for key, tensor in model.state_dict().items()}
    source = root / ".tokenizer"
    source.mkdir(parents=True, exist_ok=True)
    (source / "tokenizer.model").write_bytes(tokenizer_bytes())
    write_model(root / name, tensors, params, source)
    return root / name


def make_data(path: Path, problems: range) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        for problem in problems:
            for variant in range(3):
                prompt, solution = example(problem, variant)
                record = {"problem": f"p/{problem}", "prompt": prompt, "solution": solution,
                          "reward": int(variant == problem % 3 or variant == 0), "difficulty": 1}  # fmt: skip
                file.write(json.dumps(record) + "\n")
    return path


def make_workspace(root: Path) -> Path:
    """models/{tiny,reference,other}, datasets/toy/processed/{train,valid}.jsonl"""
    make_model(root / "models", "tiny", seed=0)
    make_model(root / "models", "reference", seed=1)
    make_model(root / "models", "other", seed=2)
    make_data(root / "datasets/toy/processed/train.jsonl", range(12))
    make_data(root / "datasets/toy/processed/valid.jsonl", range(20, 26))
    return root


def overrides(root: Path, pipeline: str, **extra: Any) -> list[str]:
    """--override arguments for a short run in the workspace; `training__epochs=2` becomes training.epochs=2."""
    values: dict[str, Any] = {
        "models.base": "tiny",
        "data.train": "toy/processed/train.jsonl",
        "data.valid": "toy/processed/valid.jsonl",
        "data.max_length": 128,
        "training.batch_size": 2,
        "training.gradient_accumulation_steps": 2,
        "training.epochs": 4,
        "training.learning_rate": 0.003,
        "training.log_interval": 2,
        "checkpoint.save_interval": 4,
        "distributed.backend": "gloo",
        "distributed.compute_backend": "cpu",
        "distributed.mixed_precision": "fp32",
        "paths.models": str(root / "models"),
        "paths.datasets": str(root / "datasets"),
        "paths.output": str(root / "out" / pipeline),
        "paths.scores": str(root / "scores"),
    }
    if pipeline == "rho1":
        values["models.reference"] = "reference"
    values |= {key.replace("__", "."): value for key, value in extra.items()}
    return [part for key, value in values.items() for part in ("--override", f"{key}={json.dumps(value)}")]


def command(root: Path, pipeline: str, *arguments: str, ranks: int = 1, **extra: Any) -> list[str]:
    start = [sys.executable, "-m"]
    if ranks > 1:
        start += ["torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}", "-m"]
    config = TRAINER / "configs" / pipeline / f"{pipeline}.yaml"
    return [
        *start, f"weighted_mtp.pipelines.run_{pipeline}", "--config", str(config),
        *overrides(root, pipeline, **extra), *arguments,
    ]  # fmt: skip


def environment(**extra: str) -> dict[str, str]:
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("WMTP_", "MLFLOW_", "RANK"))}
    keep |= {"PYTHONPATH": str(TRAINER / "src"), "OMP_NUM_THREADS": "1"}
    return {**keep, **extra}


def start(root: Path, pipeline: str, *arguments: str, ranks: int = 1, env: dict[str, str] | None = None, **extra: Any):
    return subprocess.Popen(
        command(root, pipeline, *arguments, ranks=ranks, **extra),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(**(env or {})),
    )  # fmt: skip


class Finished:
    """A finished run: exit code, events and output."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.stdout, self.stderr = process.communicate(timeout=300)
        self.code = process.returncode
        self.events = [json.loads(line[7:]) for line in self.stdout.splitlines() if line.startswith("[wmtp] ")]

    def all(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]

    def one(self, name: str) -> dict[str, Any]:
        (event,) = self.all(name)
        return event


def train(
    root: Path, pipeline: str, *arguments: str, ranks: int = 1, env: dict[str, str] | None = None, **extra: Any
) -> Finished:
    return Finished(start(root, pipeline, *arguments, ranks=ranks, env=env, **extra))


def stop_at_step(process: subprocess.Popen[str], step: int, number: signal.Signals) -> None:
    """Send a signal when the run reports that step."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("[wmtp] "):
            event = json.loads(line[7:])
            if event["event"] == "progress" and event["step"] >= step:
                process.send_signal(number)
                return
    raise AssertionError(f"never reached step {step}: {process.stderr.read() if process.stderr else ''}")
