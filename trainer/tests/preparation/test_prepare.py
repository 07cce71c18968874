"""The two commands: `prepare`, and tools/minitest.py."""

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from weighted_mtp.preparation import cache, cli

TOOL = Path(__file__).resolve().parents[3] / "tools" / "minitest.py"
SMALL = ["--problems", "3", "--held-out", "1", "--mutants", "3", "--rewrites", "2"]


def rows(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A small data set, below <root>/datasets/humaneval/processed as the tool expects it."""
    directory = tmp_path_factory.mktemp("data") / "datasets" / "humaneval" / "processed"
    assert cli.main([*SMALL, "--output", str(directory)]) == 0
    return directory


@pytest.fixture
def minitest(monkeypatch):
    spec = importlib.util.spec_from_file_location("minitest", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_data_set(data):
    train, valid = rows(data / "train.jsonl"), rows(data / "valid.jsonl")
    trained, held_out = {row["problem"] for row in train}, {row["problem"] for row in valid}
    assert (len(trained), len(held_out)) == (3, 1)
    assert not trained & held_out
    for row in train + valid:
        assert row["reward"] in (0, 1) and type(row["reward"]) is int
    share = sum(row["reward"] for row in train) / len(train)
    assert 0.3 < share < 0.7


def test_second_time_does_nothing(data, capsys):
    before = {file: file.stat().st_mtime_ns for file in data.iterdir()}
    assert cli.main([*SMALL, "--output", str(data)]) == 0
    assert "up to date" in capsys.readouterr().out
    assert before == {file: file.stat().st_mtime_ns for file in data.iterdir()}


def test_made_again_when_damaged_or_asked_for_otherwise(data, tmp_path, capsys):
    again = tmp_path / "again"
    assert cli.main([*SMALL, "--output", str(again)]) == 0
    for name in ("train.jsonl", "valid.jsonl", ".prepared.json"):
        assert (again / name).read_bytes() == (data / name).read_bytes()
    (again / "train.jsonl").write_text("cut off")
    assert cli.main([*SMALL, "--output", str(again)]) == 0
    assert (again / "train.jsonl").read_bytes() == (data / "train.jsonl").read_bytes()
    assert "up to date" not in capsys.readouterr().out
    assert cli.main([*SMALL, "--seed", "7", "--output", str(again)]) == 0
    assert (again / "train.jsonl").read_bytes() != (data / "train.jsonl").read_bytes()
    assert sorted(file.name for file in again.iterdir()) == [".prepared.json", "train.jsonl", "valid.jsonl"]


def test_too_many_problems(tmp_path, capsys):
    assert cli.main(["--problems", "500", "--output", str(tmp_path / "out")]) == 2
    assert "504 problems are asked for" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_progress_says_rate_and_time_left(monkeypatch):
    now, said = iter([0.0, 1.0, 2.5, 2.9, 4.0]), []
    monkeypatch.setattr(cli.time, "monotonic", lambda: next(now))
    report = cli._progress(said.append)
    for done in (10, 25, 29, 40):
        report(done, 80)
    assert said == [
        "judged 25 of 80 solutions, 10/s, 6 s to go",
        "judged 40 of 80 solutions, 10/s, 4 s to go",
    ]


def test_stamp(tmp_path):
    (tmp_path / "a").write_text("one")
    stamp = tmp_path / "stamp"
    assert cache.fresh(stamp, {"x": 1}, tmp_path) is None
    cache.seal(stamp, {"x": 1}, tmp_path, [tmp_path / "a"], {"n": 2})
    assert cache.fresh(stamp, {"x": 1}, tmp_path) == {"n": 2}
    assert cache.fresh(stamp, {"x": 2}, tmp_path) is None
    (tmp_path / "a").write_text("two")
    assert cache.fresh(stamp, {"x": 1}, tmp_path) is None
    (tmp_path / "a").unlink()
    assert cache.fresh(stamp, {"x": 1}, tmp_path) is None
    stamp.write_text("[]")
    assert cache.fresh(stamp, {"x": 1}, tmp_path) is None


def test_models(minitest, monkeypatch, data, tmp_path):
    import torch
    from safetensors import safe_open

    root = data.parents[2]
    monkeypatch.setattr(minitest, "REFERENCE", minitest.REFERENCE | {"steps": 4, "at_most": 1.0})
    threads = torch.get_num_threads()
    names = {"tiny-mtp": minitest.base_model, "tiny-reference": lambda: minitest.reference_model(root)}
    for name, make in names.items():
        minitest.make_model(name, root, root / f"{name}.json", make)
    first = {name: (root / "models" / name / "model.safetensors").read_bytes() for name in names}
    assert "up to date" in minitest.make_model("tiny-mtp", root, root / "tiny-mtp.json", minitest.base_model)
    for name, make in names.items():  # from nothing, the same bytes
        (root / f"{name}.json").unlink()
        assert "up to date" not in minitest.make_model(name, root, root / f"{name}.json", make)
        assert (root / "models" / name / "model.safetensors").read_bytes() == first[name]
    torch.set_num_threads(threads)

    with safe_open(root / "models/tiny-mtp/model.safetensors", "pt") as file:
        keys = set(file.keys())
        assert file.get_tensor("extra_heads.2.feed_forward.w1.weight").shape == (192, 64)
        assert file.get_tensor("output.weight").shape == (32000, 64)
        assert math.isclose(file.get_tensor("output.weight").std(), 0.02, rel_tol=0.01)
        assert file.get_tensor("norm.weight").eq(1).all()
    blocks = ["layers.0", "layers.1", "layers.2", "extra_heads.0", "extra_heads.1", "extra_heads.2"]
    parts = ["attention_norm", "ffn_norm", *(f"attention.w{c}" for c in "qkvo")]
    parts += [f"feed_forward.w{n}" for n in (1, 2, 3)]
    ends = {"tok_embeddings.weight", "norm.weight", "output.weight"}
    assert keys == {f"{block}.{part}.weight" for block in blocks for part in parts} | ends
    with safe_open(root / "models/tiny-reference/model.safetensors", "pt") as file:
        assert set(file.keys()) == {key for key in keys if not key.startswith("extra_heads")}
    params = json.loads((root / "models/tiny-reference/params.json").read_text())
    assert (params["n_layers"], params["n_future_tokens"], params["vocab_size"]) == (3, 1, 32000)


@pytest.mark.slow
def test_tool_from_nothing_twice(tmp_path):
    outputs = [tmp_path / "one", tmp_path / "two"]
    for output in outputs:
        done = subprocess.run([sys.executable, TOOL, "--output", output], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 3
    files = [{f.relative_to(o): f.read_bytes() for f in o.rglob("*") if f.is_file()} for o in outputs]
    assert files[0] == files[1]
    made = {f: f.stat().st_mtime_ns for f in outputs[0].rglob("*")}
    done = subprocess.run([sys.executable, TOOL, "--output", outputs[0]], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")  # what is up to date is no news
    assert {f: f.stat().st_mtime_ns for f in outputs[0].rglob("*")} == made
