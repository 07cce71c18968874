"""Prepares what the minitest stack trains on: two tiny models and a data set, below storage/minitest.

  datasets/humaneval/processed/  solutions with executed rewards (weighted_mtp.preparation)
  models/tiny-mtp/               random weights in Meta's layout: trunk of 2 blocks, 4 heads
  models/tiny-reference/         the same trunk and first head, trained on the correct training solutions

Each is made once, and again only when what it is made from changes. On one machine the bytes are always the
same.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

UP_TO_DATE = ", up to date"
REPOSITORY = Path(__file__).resolve().parent.parent
SOURCE = REPOSITORY / "trainer" / "src"
sys.path.insert(0, str(SOURCE))

# Standard library only up to here and in these: when nothing is to do, torch is not imported.
from weighted_mtp.errors import EXIT_BAD_INPUT, InputError  # noqa: E402
from weighted_mtp.preparation import cache, cli  # noqa: E402

SEED = 42
PARAMS = {
    "dim": 64,
    "n_layers": 6,
    "n_heads": 4,
    "n_kv_heads": 4,
    "vocab_size": 32000,
    "n_future_tokens": 4,
    "multiple_of": 32,
    "rope_theta": 10000.0,
    "norm_eps": 1e-5,
}
INIT_STD = 0.02
REFERENCE = {"steps": 50, "batch_size": 4, "learning_rate": 5e-3, "at_most": 0.6}
DATA = "datasets/humaneval/processed"
MODEL_FILES = ("params.json", "model.safetensors", "tokenizer.model")


def make_data(root: Path, stamp: Path, allow_unsandboxed: bool) -> str:
    """The data set; returns one line about it."""
    argv = ["--output", str(root / DATA), "--seed", str(SEED)]
    options = cli.parser().parse_args([*argv, "--allow-unsandboxed"] if allow_unsandboxed else argv)
    made = cli.prepare(options, lambda line: print(f"  {line}", file=sys.stderr, flush=True), stamp)
    return f"{made['correct']} correct and {made['incorrect']} incorrect solutions" + (
        UP_TO_DATE if made["cached"] else ""
    )


def make_model(name: str, root: Path, stamp: Path, make: Callable[[], tuple], **values: object) -> str:
    """models/<name>/ from make() -> (ModelParams, tensors by Meta's key, remark), unless it is up to date."""
    tokenizer = cli.bundled_tokenizer()
    code = [Path(__file__), *(SOURCE / "weighted_mtp" / file for file in ("model.py", "tokenizer.py"))]
    packages = ("torch", "safetensors", "sentencepiece", "mistral-common")
    wanted = cache.inputs(packages, code, tokenizer=cache.sha256(tokenizer), **values)
    summary = cache.fresh(stamp, wanted, root)
    if summary:
        return f"{summary['remark']}{UP_TO_DATE}"
    from safetensors.torch import save

    stamp.unlink(missing_ok=True)
    params, tensors, remark = make()
    directory = root / "models" / name
    cache.write(directory / "tokenizer.model", tokenizer.read_bytes())
    cache.write(directory / "model.safetensors", save(tensors))
    cache.write(directory / "params.json", (json.dumps(params, indent=2) + "\n").encode())
    cache.seal(stamp, wanted, root, [directory / file for file in MODEL_FILES], {"remark": remark})
    return remark


def base_model() -> tuple:
    """Seeded normal weights (std INIT_STD), norms 1."""
    import torch

    from weighted_mtp.model import ModelParams, Transformer, meta_key

    params = ModelParams(**PARAMS)
    generator = torch.Generator().manual_seed(SEED)
    tensors = {}
    for name, parameter in sorted(Transformer(params).named_parameters()):
        value = torch.empty(parameter.shape).normal_(0, INIT_STD, generator=generator)
        tensors[meta_key(name, params)] = value if value.dim() > 1 else torch.ones_like(value)
    count = sum(value.numel() for value in tensors.values())
    return PARAMS, tensors, f"{count / 1e6:.2f} M parameters, fp32, random"


def reference_model(root: Path) -> tuple:
    """The base's trunk and head 1, trained by next-token prediction on the correct training solutions.

    One thread and a fixed order, so that the bytes are the same each time. InputError if it does not get well
    below the untrained base on the training solutions: as a reference it would mean nothing.
    """
    import torch
    from safetensors.torch import load_file

    from weighted_mtp.model import ModelParams, Transformer, meta_key
    from weighted_mtp.tokenizer import SentencePiece

    # One thread is deterministic as it is; use_deterministic_algorithms would import the compiler (6 s).
    torch.set_num_threads(1)
    params = ModelParams(**PARAMS).with_heads(1)
    model = Transformer(params)
    base = load_file(root / "models" / "tiny-mtp" / "model.safetensors")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(base[meta_key(name, params)])
    tokenizer = SentencePiece(root / "models" / "tiny-mtp" / "tokenizer.model")

    def correct(file: str) -> list[tuple[list[int], int]]:
        rows = map(json.loads, (root / DATA / file).read_text(encoding="utf-8").splitlines())
        return [tokenizer.encode_pair(row["prompt"], row["solution"]) for row in rows if row["reward"] == 1]

    def loss(samples: list[tuple[list[int], int]]) -> torch.Tensor:
        """Mean cross entropy of the samples' response tokens."""
        length = max(len(ids) for ids, _ in samples)
        tokens = torch.zeros(len(samples), length, dtype=torch.long)
        documents = torch.ones_like(tokens)  # padding is a document of its own
        trained = torch.zeros(len(samples), length, dtype=torch.bool)
        for row, (ids, start) in enumerate(samples):
            tokens[row, : len(ids)] = torch.tensor(ids)
            documents[row, : len(ids)] = 0
            trained[row, start : len(ids)] = True
        positions = torch.arange(length).expand_as(tokens)
        state, context = model(tokens, positions, documents)
        # Logits only where there is a response: they are most of the work.
        hidden = model.heads[0](state, context)[:, :-1][trained[:, 1:]]
        return torch.nn.functional.cross_entropy(model.unembed(hidden), tokens[:, 1:][trained[:, 1:]])

    train, valid = correct("train.jsonl"), correct("valid.jsonl")
    with torch.no_grad():
        before = [float(loss(samples[:24])) for samples in (train, valid)]
    steps, size = REFERENCE["steps"], REFERENCE["batch_size"]
    generator = torch.Generator().manual_seed(SEED)
    weights = list(model.parameters())
    first, second = ([torch.zeros_like(w) for w in weights] for _ in range(2))
    for step in range(steps):
        batch = [train[i] for i in torch.randperm(len(train), generator=generator)[:size]]
        gradients = torch.autograd.grad(loss(batch), weights)
        # Adam written out: torch.optim imports the compiler too.
        rate = REFERENCE["learning_rate"] * (1 - step / steps)
        with torch.no_grad():
            for w, g, m, v in zip(weights, gradients, first, second, strict=True):
                m.lerp_(g, 1 - 0.9)
                v.lerp_(g * g, 1 - 0.99)
                scale = (v / (1 - 0.99 ** (step + 1))).sqrt_().add_(1e-8)
                w.addcdiv_(m, scale, value=-rate / (1 - 0.9 ** (step + 1)))
    with torch.no_grad():
        after = [float(loss(samples[:24])) for samples in (train, valid)]
    if not after[0] < REFERENCE["at_most"] * before[0]:
        raise InputError(
            f"the reference model's loss only went from {before[0]:.2f} to {after[0]:.2f}",
            "train it longer: raise REFERENCE['steps'] in tools/minitest.py",
        )
    tensors = {meta_key(name, params): value.detach().clone() for name, value in model.named_parameters()}
    content = PARAMS | {"n_layers": params.n_layers, "n_future_tokens": params.n_future_tokens}
    remark = f"loss {before[0]:.2f} -> {after[0]:.2f}, on held-out problems {before[1]:.2f} -> {after[1]:.2f}"
    return content, tensors, remark


def prepare(root: Path, allow_unsandboxed: bool = False) -> None:
    """All three, one line each on standard output. Raises InputError or OSError."""
    # Beside the data, not in it: who hashes a model or a data set must not see how it came about.
    stamps = root / "stamps"
    base = {"seed": SEED, "params": PARAMS, "std": INIT_STD}

    def trained_on() -> dict:
        files = [root / DATA / "train.jsonl", root / DATA / "valid.jsonl"]
        return base | {"recipe": REFERENCE, "data": [cache.sha256(file) for file in files]}

    steps = {
        DATA: lambda: make_data(root, stamps / "humaneval.json", allow_unsandboxed),
        "models/tiny-mtp": lambda: make_model("tiny-mtp", root, stamps / "tiny-mtp.json", base_model, **base),
        "models/tiny-reference": lambda: make_model(
            "tiny-reference",
            root,
            stamps / "tiny-reference.json",
            lambda: reference_model(root),
            **trained_on(),
        ),
    }
    for name, step in steps.items():
        started = time.monotonic()
        remark = step()
        if not remark.endswith(UP_TO_DATE):  # what was there already is no news
            print(f"{name}: {remark} ({time.monotonic() - started:.1f} s)", flush=True)


def main() -> int:
    """Exit codes: 0 done or up to date; 2 refused, with cause and remedy on standard error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output",
        type=Path,
        default=REPOSITORY / "storage" / "minitest",
        metavar="DIR",
        help="(%(default)s)",
    )
    parser.add_argument(
        "--allow-unsandboxed",
        action="store_true",
        help="where isolation is impossible, run generated code with your own rights instead of refusing",
    )
    options = parser.parse_args()
    try:
        prepare(options.output, options.allow_unsandboxed)
    except InputError as error:
        print(f"error: {error.cause}; {error.remedy}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except OSError as error:
        print(f"error: {error}; make it accessible or name another --output", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
