"""Data sets: JSON Lines in, tokenized samples out. Errors name the file, the line and the field."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weighted_mtp.errors import DataError
from weighted_mtp.tokenizer import Tokenizer

FIELDS: dict[str, tuple[type, ...]] = {"problem": (str, int), "prompt": (str,), "solution": (str,), "reward": (int,)}


@dataclass(frozen=True)
class Example:
    """One solution of one problem, as in the file."""

    problem: str
    prompt: str
    solution: str
    reward: int


@dataclass(frozen=True)
class Sample:
    """One tokenized document: BOS, prompt, solution, EOS. Tokens before `prompt_length` are never trained on."""

    problem: str
    tokens: np.ndarray  # [length] int32
    prompt_length: int
    reward: int

    @property
    def length(self) -> int:
        return len(self.tokens)

    @property
    def response_length(self) -> int:
        return len(self.tokens) - self.prompt_length

    def targets(self, head: int) -> int:
        """Number of tokens that head `head` (1-based) predicts: the response tokens at least `head` from the
        start of the document."""
        return max(0, self.length - max(self.prompt_length, head))


def read_examples(path: Path) -> list[Example]:
    """All lines of a data file. Raises DataError naming file, line and field."""
    if not path.is_file():
        raise DataError(f"the data file {path} does not exist", "check data.train, data.valid and paths.datasets")
    examples = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                examples.append(_parse(line, f"{path}, line {number}"))
    if not examples:
        raise DataError(f"the data file {path} is empty", "prepare it again: python -m weighted_mtp prepare")
    return examples


def _parse(line: bytes, where: str) -> Example:
    try:
        record: Any = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{where} is not JSON: {error}", "mend or prepare the file again") from error
    if not isinstance(record, dict):
        raise DataError(f"{where} is not a JSON object", "every line holds problem, prompt, solution and reward")
    for field, types in FIELDS.items():
        if field not in record:
            raise DataError(
                f"{where}: field {field!r} is missing", f"it has {', '.join(sorted(record)) or 'no fields'}"
            )
        if not isinstance(record[field], types) or isinstance(record[field], bool):
            kind = " or ".join("text" if t is str else "a whole number" for t in types)
            raise DataError(f"{where}: field {field!r} is not {kind}: {record[field]!r}", "mend the line")
    if record["reward"] not in (0, 1):
        raise DataError(f"{where}: field 'reward' is {record['reward']}, not 0 or 1", "mend the line")
    if not record["solution"]:
        raise DataError(f"{where}: field 'solution' is empty", "remove the line")
    return Example(str(record["problem"]), record["prompt"], record["solution"], record["reward"])


def tokenize(examples: Iterable[Example], tokenizer: Tokenizer, max_length: int) -> list[Sample]:
    """Samples that fit into `max_length` tokens, in order. Longer ones are left out: a cut solution has no
    verifiable reward."""
    samples = []
    for example in examples:
        tokens, prompt_length = tokenizer.encode_pair(example.prompt, example.solution)
        if len(tokens) <= max_length:
            samples.append(Sample(example.problem, np.asarray(tokens, np.int32), prompt_length, example.reward))
    return samples


def load_samples(path: Path, tokenizer: Tokenizer, max_length: int, correct_only: bool) -> tuple[list[Sample], int]:
    """The samples of a file, and how many were left out because they are too long.

    The language-model pipelines train on correct solutions alone (`correct_only`): on wrong programs the loss
    would teach the errors. All of them, so that their losses can be compared.
    """
    examples = read_examples(path)
    chosen = [e for e in examples if e.reward == 1] if correct_only else examples
    if not chosen:
        raise DataError(f"{path} holds no correct solution (reward 1)", "check how its rewards were made")
    samples = tokenize(chosen, tokenizer, max_length)
    if not samples:
        raise DataError(
            f"none of the {len(chosen)} documents of {path} fits into {max_length} tokens", "raise data.max_length"
        )
    return samples, len(chosen) - len(samples)


def content_hash(samples: Iterable[Sample]) -> str:
    """sha256 over what a scorer sees: tokens, prompt lengths and rewards, in order."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(np.asarray([sample.length, sample.prompt_length, sample.reward], "<i8").tobytes())
        digest.update(sample.tokens.astype("<i4").tobytes())
    return digest.hexdigest()
