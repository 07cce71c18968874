"""Data files, tokenization, packing and order."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weighted_mtp.data import Sample, load_samples, read_examples
from weighted_mtp.errors import DataError, ModelError
from weighted_mtp.mtp_loss import normalisers
from weighted_mtp.packing import Plan, collate, pack, permutation
from weighted_mtp.tokenizer import SentencePiece, Tokenizer, check_same_mapping, load_tokenizer

GOOD = {"problem": "p", "prompt": "a", "solution": "b", "reward": 1, "difficulty": 0}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{", "line 2 is not JSON"),
        ("[1]", "line 2 is not a JSON object"),
        (json.dumps({**GOOD, "reward": 2}), "line 2: field 'reward' is 2, not 0 or 1"),
        (json.dumps({**GOOD, "reward": True}), "line 2: field 'reward' is not a whole number: True"),
        (json.dumps({**GOOD, "reward": "1"}), "line 2: field 'reward' is not a whole number: '1'"),
        (json.dumps({**GOOD, "prompt": None}), "line 2: field 'prompt' is not text: None"),
        (json.dumps({**GOOD, "solution": ""}), "line 2: field 'solution' is empty"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "problem"}), "line 2: field 'problem' is missing"),
    ],
)
def test_errors_name_file_line_and_field(tmp_path: Path, line: str, expected: str) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text(json.dumps(GOOD) + "\n" + line + "\n")
    with pytest.raises(DataError) as error:
        read_examples(file)
    assert str(file) in str(error.value)
    assert expected in str(error.value)


def test_nothing_to_train_on(tmp_path: Path, workspace: Path) -> None:
    tokenizer = load_tokenizer(workspace / "models/tiny", "hf-sentencepiece")
    with pytest.raises(DataError, match="does not exist"):
        read_examples(tmp_path / "absent.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="is empty"):
        read_examples(tmp_path / "empty.jsonl")
    (tmp_path / "wrong.jsonl").write_text(json.dumps({**GOOD, "reward": 0}) + "\n")
    with pytest.raises(DataError, match="no correct solution"):
        load_samples(tmp_path / "wrong.jsonl", tokenizer, 128, correct_only=True)
    (tmp_path / "long.jsonl").write_text(json.dumps({**GOOD, "prompt": "x = 1\n" * 500}) + "\n")
    with pytest.raises(DataError, match="fits into 128 tokens"):
        load_samples(tmp_path / "long.jsonl", tokenizer, 128, correct_only=True)


def test_the_text_is_encoded_as_one_and_split_at_the_seam(workspace: Path) -> None:
    tokenizer = load_tokenizer(workspace / "models/tiny", "hf-sentencepiece")
    assert isinstance(tokenizer, SentencePiece)
    prompt, solution = "def f(x):\n    # é日 é\n", "    return x + 1\n"
    tokens, prompt_length = tokenizer.encode_pair(prompt, solution)
    processor = tokenizer._processor
    assert tokens == [tokenizer.bos, *processor.encode(prompt + solution), tokenizer.eos]
    assert processor.decode(tokens[1:prompt_length]).strip() in prompt
    assert len(processor.decode(tokens[1:prompt_length])) <= len(prompt)
    assert solution.strip() in processor.decode(tokens[prompt_length:-1])


def test_tables_are_compared_by_content_not_size() -> None:
    class Table(Tokenizer):
        def __init__(self, pieces: list[str]) -> None:
            self.pieces = pieces

        def spans(self, text: str) -> list[tuple[int, int]]:
            return []

    sizes = {"a": 3, "b": 3}
    check_same_mapping({"a": Table(["x", "y", "z"]), "b": Table(["x", "y", "z"])}, sizes)
    with pytest.raises(ModelError, match="id 1 is 'y' in the one, 'z' in the other"):
        check_same_mapping({"a": Table(["x", "y", "z"]), "b": Table(["x", "z", "y"])}, sizes)
    with pytest.raises(ModelError, match="id 3 is absent in the one, 'w' in the other"):
        check_same_mapping({"a": Table(["x", "y", "z"]), "b": Table(["x", "y", "z", "w"])}, sizes)
    with pytest.raises(ModelError, match=r"b has vocab_size 4 in params\.json"):
        check_same_mapping({"a": Table(["x"]), "b": Table(["x"])}, {"a": 3, "b": 4})


def samples_of(lengths: list[tuple[int, int]]) -> list[Sample]:
    return [
        Sample("p", np.arange(i * 100, i * 100 + n, dtype=np.int32) % 300, min(p, n - 1), 1)
        for i, (n, p) in enumerate(lengths)
    ]


@given(st.lists(st.tuples(st.integers(2, 30), st.integers(1, 20)), min_size=1, max_size=12), st.integers(1, 5))
@settings(max_examples=60)
def test_normalisers_count_exactly_the_targets_in_the_masks(lengths: list[tuple[int, int]], heads: int) -> None:
    samples = samples_of(lengths)
    rows = pack(list(range(len(samples))), [s.length for s in samples], 40, True)
    batch = collate([*rows, ()], samples)
    counted = [max(1, int(batch.targets(k).sum())) for k in range(1, heads + 1)]
    assert counted == normalisers(rows, samples, heads)


@given(st.lists(st.integers(1, 64), min_size=1, max_size=40), st.booleans(), st.integers(0, 9))
def test_every_epoch_has_every_document_once(lengths: list[int], packing: bool, seed: int) -> None:
    plan = Plan(lengths, max_length=64, packing=packing, rows_per_step=4, epochs=2, max_steps=None, seed=seed)
    seen = [i for step in range(1, plan.steps + 1) for row in plan.step(step) for i in row]
    half = len(lengths)
    assert sorted(seen[:half]) == sorted(seen[half:]) == list(range(half))
    for step in range(1, plan.steps + 1):
        assert len(plan.step(step)) == 4
        assert all(sum(lengths[i] for i in row) <= 64 for row in plan.step(step))


def test_ranks_share_one_order() -> None:
    plan = Plan([9] * 50, max_length=18, packing=True, rows_per_step=8, epochs=1, max_steps=None, seed=3)
    for step in range(1, plan.steps + 1):
        rows = plan.step(step)
        one = [Plan.micro_batch(rows, m, 0, 4, 1) for m in range(2)]
        two = [Plan.micro_batch(rows, m, 0, 2, 2) + Plan.micro_batch(rows, m, 1, 2, 2) for m in range(2)]
        assert one == two
        assert [row for part in one for row in part] == rows


def test_the_permutation_never_changes() -> None:
    """Committed runs depend on it; a change needs a new RESULTS_VERSION."""
    assert permutation(8, 42, 0) == [2, 4, 5, 7, 3, 0, 6, 1]
    assert permutation(8, 42, 1) != permutation(8, 42, 0)


def test_place_puts_values_where_the_documents_lie() -> None:
    samples = samples_of([(5, 2), (7, 3)])
    batch = collate([(1, 0)], samples)
    placed = batch.place([torch.arange(5.0), 10 + torch.arange(7.0)])
    assert placed[0, :12].tolist() == [10, 11, 12, 13, 14, 15, 16, 0, 1, 2, 3, 4]
    assert batch.positions[0, :12].tolist() == [*range(7), *range(5)]
    assert batch.targets(2)[0].nonzero().flatten().tolist() == [1, 2, 3, 4, 7, 8, 9]
