"""Tokenizers, and the guard that all models of a run use one and the same id -> piece mapping."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from weighted_mtp.errors import ModelError

FILES = {"hf-sentencepiece": "tokenizer.model", "hf-transformers": "tokenizer.json"}


class Tokenizer(ABC):
    """Text to ids. `pieces` is the whole table, by id."""

    bos: int
    eos: int
    pieces: list[str]

    @abstractmethod
    def spans(self, text: str) -> list[tuple[int, int]]:
        """(id, end) of every token of `text`, `end` being the offset in characters behind it."""

    def encode_pair(self, prompt: str, solution: str) -> tuple[list[int], int]:
        """BOS + prompt + solution + EOS as ids, and the index of the first response token.

        The text is encoded in one piece, as the model will see it at generation; a token that straddles the seam
        belongs to the response.
        """
        tokens = self.spans(prompt + solution)
        in_prompt = sum(1 for _, end in tokens if end <= len(prompt))
        return [self.bos, *(token for token, _ in tokens), self.eos], 1 + in_prompt

    def table_hash(self) -> str:
        """sha256 over (id, piece): two tables of one size can be quite different ones."""
        digest = hashlib.sha256()
        for index, piece in enumerate(self.pieces):
            digest.update(f"{index}\0{piece}\n".encode())
        return digest.hexdigest()


class SentencePiece(Tokenizer):
    """`tokenizer.model` (Llama 1 and 2, Mistral v1)."""

    def __init__(self, path: Path) -> None:
        import sentencepiece

        self._processor: Any = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.bos, self.eos = self._processor.bos_id(), self._processor.eos_id()
        self.pieces = self._processor.id_to_piece(list(range(self._processor.get_piece_size())))

    def spans(self, text: str) -> list[tuple[int, int]]:
        mapping = self._processor.encode(text, return_type="offset_mapping")
        return [(index, end) for index, (_, end) in zip(mapping["ids"], mapping["offsets"], strict=True)]


class HuggingFace(Tokenizer):
    """`tokenizer.json` through the `tokenizers` library."""

    def __init__(self, path: Path) -> None:
        import tokenizers

        self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(path))
        table = self._tokenizer.get_vocab(with_added_tokens=True)
        self.pieces = [""] * (max(table.values()) + 1)
        for piece, index in table.items():
            self.pieces[index] = piece

        def special(*names: str) -> int:
            for name in names:
                if name in table:
                    return table[name]
            raise ModelError(f"{path} has none of the tokens {', '.join(names)}", "use a Llama-style tokenizer")

        self.bos, self.eos = special("<s>", "<|begin_of_text|>"), special("</s>", "<|end_of_text|>")

    def spans(self, text: str) -> list[tuple[int, int]]:
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return [(index, end) for index, (_, end) in zip(encoding.ids, encoding.offsets, strict=True)]


def load_tokenizer(directory: Path, kind: str) -> Tokenizer:
    """The tokenizer in a model directory; `kind` is `models.tokenizer`."""
    path = directory / FILES[kind]
    if not path.is_file():
        raise ModelError(f"model {directory.name} has no {path.name} ({path})", "copy it there or set models.tokenizer")
    try:
        return SentencePiece(path) if kind == "hf-sentencepiece" else HuggingFace(path)
    except ImportError as error:
        raise ModelError(
            f"models.tokenizer {kind} needs a package: {error}", "install the trainer's lock file"
        ) from error
    except (RuntimeError, OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as a tokenizer: {error}", "fetch the model again") from error


def check_same_mapping(tokenizers: dict[str, Tokenizer], vocab_sizes: dict[str, int]) -> None:
    """All models (by name) must map every id to the same piece, and have room for all of them.

    Sizes prove nothing: Mistral's and Llama 2's tables both have 32000 entries and differ in nearly all of them.
    """
    (first_name, first), *others = tokenizers.items()
    for name, other in others:
        if other.table_hash() == first.table_hash():
            continue
        where = next(
            (i for i, (a, b) in enumerate(zip(first.pieces, other.pieces, strict=False)) if a != b),
            min(len(first.pieces), len(other.pieces)),
        )

        def piece(tokenizer: Tokenizer, index: int = where) -> str:
            return repr(tokenizer.pieces[index]) if index < len(tokenizer.pieces) else "absent"

        raise ModelError(
            f"models {first_name} and {name} do not share one vocabulary: "
            f"id {where} is {piece(first)} in the one, {piece(other)} in the other "
            f"({len(first.pieces)} and {len(other.pieces)} entries)",
            "choose models with the same tokenizer",
        )
    for name, size in vocab_sizes.items():
        if size != vocab_sizes[first_name] or size < len(first.pieces):
            raise ModelError(
                f"model {name} has vocab_size {size} in params.json; {first_name} has {vocab_sizes[first_name]} "
                f"and the tokenizer {len(first.pieces)} entries",
                "choose models with one vocabulary",
            )
