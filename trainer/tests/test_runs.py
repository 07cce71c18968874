"""Whole runs in processes of their own: resuming, stopping, exit codes, files, every pipeline."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

import tiny
from weighted_mtp import run
from weighted_mtp.config import PIPELINES
from weighted_mtp.curve import read_curve
from weighted_mtp.errors import InputError

pytestmark = pytest.mark.slow


def curve(root: Path, pipeline: str) -> list[dict]:
    return read_curve(root / "out" / pipeline / "curve.jsonl")


def same_weights(a: Path, b: Path) -> bool:
    return (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()


@pytest.mark.parametrize(("precision", "ranks"), [("fp32", 1), ("bf16", 2)])
def test_killed_and_resumed_equals_undisturbed_bit_for_bit(run_root: Path, precision: str, ranks: int) -> None:
    """kill -9, of torchrun for two ranks: its workers go with it."""
    options: dict = {"distributed__mixed_precision": precision, "training__batch_size": 2 // ranks, "ranks": ranks}
    undisturbed = tiny.train(run_root, "baseline", **options, paths__output=str(run_root / "out/whole"))
    assert undisturbed.code == 0, undisturbed.stderr
    process = tiny.start(run_root, "baseline", **options)
    tiny.stop_at_step(process, 6, signal.SIGKILL)
    tiny.Finished(process)
    assert len(curve(run_root, "baseline")) >= 5
    resumed = tiny.train(run_root, "baseline", **options)
    assert resumed.code == 0, resumed.stderr
    assert resumed.one("start")["resumed_from"] == 4
    assert curve(run_root, "baseline") == curve(run_root, "whole")
    assert same_weights(run_root / "out/baseline/checkpoint_best", run_root / "out/whole/checkpoint_best")
    a, b = undisturbed.one("completed"), resumed.one("completed")
    assert {k: a[k] for k in ("first_loss", "final_loss", "steps")} == {
        k: b[k] for k in ("first_loss", "final_loss", "steps")
    }
    assert a["final_loss"] < a["first_loss"]
    assert json.loads((run_root / "out/baseline/COMPLETED.json").read_text()).items() <= {**b}.items()

    # a completed run is adopted: nothing is trained again
    adopted = tiny.train(run_root, "baseline", **options)
    assert adopted.code == 0
    assert adopted.one("completed") == b
    assert not adopted.all("start")


def test_a_completed_run_whose_checkpoint_is_gone_trains_again(run_root: Path) -> None:
    first = tiny.train(run_root, "ntp", training__epochs=1)
    before, best = curve(run_root, "ntp"), run_root / "out/ntp/checkpoint_best"
    weights = (best / "model.safetensors").read_bytes()
    shutil.rmtree(best)
    again = tiny.train(run_root, "ntp", training__epochs=1)
    assert again.code == 0, again.stderr
    assert again.one("start")["resumed_from"] is None
    assert again.one("completed")["final_loss"] == first.one("completed")["final_loss"]
    assert curve(run_root, "ntp") == before
    assert (best / "model.safetensors").read_bytes() == weights


def test_a_damaged_checkpoint_is_skipped(run_root: Path) -> None:
    options = {"checkpoint__keep_last": 2, "training__epochs": 3}
    assert tiny.train(run_root, "ntp", **options).code == 0
    expected = curve(run_root, "ntp")
    output = run_root / "out/ntp"
    (output / "COMPLETED.json").unlink()
    newest, older = sorted((output / "checkpoints").iterdir(), reverse=True)
    shard = next(newest.glob("*.distcp"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    again = tiny.train(run_root, "ntp", **options)
    assert again.code == 0, again.stderr
    assert again.one("start")["resumed_from"] == int(older.name[5:])
    assert f"skipped checkpoint {newest.name}" in again.stdout
    assert curve(run_root, "ntp") == expected

    # an uncommitted one does not count either
    (output / "COMPLETED.json").unlink()
    (newest / "COMMITTED").unlink()
    (older / "COMMITTED").write_text("{")
    shutil.rmtree(output / "checkpoint_best")
    again = tiny.train(run_root, "ntp", **options)
    assert again.one("start")["resumed_from"] is None
    assert curve(run_root, "ntp") == expected


def test_sigterm_saves_and_resumes(run_root: Path) -> None:
    whole = tiny.train(run_root, "ntp", paths__output=str(run_root / "out/whole"))
    assert whole.code == 0, whole.stderr
    process = tiny.start(run_root, "ntp", checkpoint__save_interval=1000, training__log_interval=1)
    tiny.stop_at_step(process, 3, signal.SIGTERM)
    stopped = tiny.Finished(process)
    assert stopped.code == 75, stopped.stderr
    step = stopped.all("checkpoint")[-1]["step"]
    assert stopped.one("exit")["code"] == 75
    resumed = tiny.train(run_root, "ntp", checkpoint__save_interval=1000, training__log_interval=1)
    assert resumed.one("start")["resumed_from"] == step
    points = [{**point, "validation": None} for point in curve(run_root, "ntp")]
    assert points == [{**point, "validation": None} for point in curve(run_root, "whole")]


def test_sigterm_without_time_to_save(run_root: Path) -> None:
    process = tiny.start(
        run_root, "ntp", checkpoint__save_interval=1000, training__log_interval=1, env={"WMTP_GRACE_SECONDS": "0"}
    )
    tiny.stop_at_step(process, 3, signal.SIGTERM)
    stopped = tiny.Finished(process)
    assert stopped.code == 76, stopped.stderr
    assert not list((run_root / "out/ntp").glob("checkpoints/*/COMMITTED"))


def test_all_pipelines(run_root: Path) -> None:
    """Every pipeline end to end; verifiable with the critic that was just trained, on two ranks."""
    runs = {}
    for pipeline in PIPELINES:
        arguments = []
        if pipeline == "verifiable":
            arguments = ["--critic-checkpoint", str(run_root / "out/critic/checkpoint_best")]
        ranks = 2 if pipeline == "verifiable" else 1
        batch = {"training__batch_size": 2 // ranks, "training__epochs": 3, "distributed__mixed_precision": "bf16"}
        run = tiny.train(run_root, pipeline, *arguments, ranks=ranks, **batch)
        assert run.code == 0, run.stderr
        runs[pipeline] = run.one("completed")
        output = run_root / "out" / pipeline
        assert [p["step"] for p in curve(run_root, pipeline)] == list(range(1, runs[pipeline]["steps"] + 1))
        assert (output / "checkpoint_best").is_dir()
        assert runs[pipeline]["final_loss"] < runs[pipeline]["first_loss"]
    assert runs["critic"]["first_loss"] == pytest.approx(0.6931, abs=1e-3)
    assert "explained_variance" in runs["critic"]["metrics"]
    # one model, one validation batch: the language-model pipelines start at one loss
    first = [runs[p]["first_loss"] for p in ("verifiable", "baseline", "rho1", "ntp")]
    assert first == pytest.approx([first[0]] * 4, rel=1e-3)
    assert json.loads((run_root / "out/baseline/checkpoint_best/params.json").read_text())["n_future_tokens"] == 3
    assert json.loads((run_root / "out/ntp/checkpoint_best/params.json").read_text())["n_layers"] == 2
    weights = [p["weights/mean"] for p in curve(run_root, "rho1")]
    assert weights == pytest.approx([1.0] * len(weights))
    assert all(0.59 < p["weights/selected"] < 0.63 for p in curve(run_root, "rho1"))
    # what a run exports can be read as a model again
    shutil.copytree(run_root / "out/ntp/checkpoint_best", run_root / "exported/again")
    again = tiny.train(
        run_root, "ntp", paths__models=str(run_root / "exported"), models__base="again", training__epochs=1,
        paths__output=str(run_root / "out/again"),
    )  # fmt: skip
    assert again.one("completed")["first_loss"] == pytest.approx(runs["ntp"]["final_loss"], rel=1e-2)


def test_critic_with_a_trunk_of_its_own(run_root: Path) -> None:
    run = tiny.train(run_root, "critic", critic__train_trunk=True, training__epochs=1)
    assert run.code == 0, run.stderr
    best = run_root / "out/critic/checkpoint_best"
    assert (best / "trunk.safetensors").is_file()
    run = tiny.train(run_root, "verifiable", "--critic-checkpoint", str(best), training__epochs=1)
    assert run.code == 0, run.stderr
    run = tiny.train(run_root, "verifiable", "--critic-checkpoint", str(best), models__base="other",
                     paths__output=str(run_root / "out/foreign"))  # fmt: skip
    assert run.code == 2
    assert "was trained on trunk tiny" in run.one("exit")["message"]
    assert "models.critic_trunk" in run.stderr


def test_final_is_exported_when_asked(run_root: Path) -> None:
    run = tiny.train(run_root, "ntp", training__epochs=1, checkpoint__save_final=True)
    assert run.code == 0, run.stderr
    assert (run_root / "out/ntp/final/model.safetensors").is_file()


def test_a_loss_that_is_not_finite_stops(run_root: Path) -> None:
    run = tiny.train(run_root, "ntp", training__learning_rate=1e30, training__max_grad_norm=1e30)
    assert run.code == 1
    assert "no step was taken" in run.stderr or "validation loss" in run.stderr
    assert run.one("exit")["message"].startswith("NonFiniteLoss")
    assert not (run_root / "out/ntp/COMPLETED.json").exists()


@pytest.mark.parametrize(
    ("pipeline", "options", "expected"),
    [
        ("ntp", {"training__batch_sise": 1}, "did you mean 'training.batch_size'?"),
        ("ntp", {"models__base": "absent"}, "base model 'absent' does not exist"),
        ("ntp", {"data__train": "toy/absent.jsonl"}, "absent.jsonl does not exist"),
        ("ntp", {"models__tokenizer": "hf-transformers"}, "has no tokenizer.json"),
        ("baseline", {"loss__heads": 9}, "has 3 heads, loss.heads asks for 9"),
        ("baseline", {"distributed__backend": "nccl"}, "set distributed.backend=gloo"),
        ("verifiable", {}, "needs a critic"),
        ("rho1", {"models__reference": "nowhere"}, "reference model 'nowhere' does not exist"),
    ],
)
def test_bad_input_exits_with_2_and_says_what_to_do(
    run_root: Path, pipeline: str, options: dict, expected: str
) -> None:
    run = tiny.train(run_root, pipeline, **options)
    assert run.code == 2, run.stderr
    assert expected in run.stderr.strip().splitlines()[-1]
    assert "Traceback" not in run.stderr
    assert run.one("exit")["code"] == 2


def test_an_output_directory_belongs_to_one_run(run_root: Path) -> None:
    assert tiny.train(run_root, "ntp", training__epochs=1).code == 0
    other = tiny.train(run_root, "ntp", training__epochs=2)
    assert other.code == 2
    assert "belongs to another run" in other.stderr


def test_two_trainers_do_not_share_an_output_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LOCK_SECONDS", 0)
    first = run.claim(tmp_path)
    with pytest.raises(InputError, match=f"process {os.getpid()} is training into"):
        run.claim(tmp_path)
    first.close()
    run.claim(tmp_path).close()


def test_runs_by_either_entry_point(run_root: Path) -> None:
    command = tiny.command(run_root, "ntp", "--dry-run")
    command[2:3] = ["weighted_mtp", "train", "--pipeline", "ntp"]
    assert subprocess.run(command, env=tiny.environment(), capture_output=True, check=False).returncode == 0


def test_dry_run(run_root: Path) -> None:
    run = tiny.train(run_root, "rho1", "--dry-run")
    assert run.code == 0, run.stderr
    assert "effective batch: 4 rows (2 x 2 accumulation steps x 1 ranks)" in run.stdout
    assert "nothing was trained" in run.stdout
    assert not (run_root / "out").exists()
    assert tiny.train(run_root, "verifiable", "--dry-run").code == 2
