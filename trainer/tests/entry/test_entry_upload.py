"""What is in the bucket at every moment: whoever is killed in between, the next one finds whole things only."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from simulated_run import (
    KEEP_LAST,
    SILENT,
    STEPS,
    Killed,
    Memory,
    best_step,
    check_bucket,
    content,
    export,
    nothing,
    save,
    trainer,
)

from weighted_mtp.entry import layout, resume, upload
from weighted_mtp.entry.store import Unavailable
from weighted_mtp.entry.upload import Uploader, Watcher
from weighted_mtp.errors import InputError
from weighted_mtp.events import Events


def attempt(bucket: Memory, output: Path, seed: int, number: int, kill_after: int | None) -> None:
    """One container: resume, train with uploads in between, finish. Killed before request number `kill_after`."""
    chance = random.Random(seed * 100 + number)
    scores = output / "scores"
    requests = itertools.count()
    work: Iterator[None] = iter(())
    finishing = False

    def before(_: str) -> None:
        if next(requests) == kill_after:
            raise Killed
        for _ in range(chance.choice([0, 0, 1, 2, 30])):
            next(work, None)
        if not finishing and chance.random() < 0.05:
            raise Unavailable("SlowDown")

    def after(_: str) -> None:
        check_bucket(bucket, seed)
        if not finishing and chance.random() < 0.05:
            raise Unavailable("the answer was lost")

    bucket.after = after
    finishing, bucket.before = True, before  # nothing is retried here while it resumes
    found = resume.look(bucket, output, KEEP_LAST)
    resume.restore(found, resume.items(found, bucket, output, scores), output, SILENT, nothing)
    uploader = Uploader(bucket, output, scores, found, SILENT)
    work, finishing = trainer(output, seed, number), False
    next(work)
    while True:
        try:
            uploader.sync()
        except Unavailable:
            continue
        if next(work, 1) == 1:
            break
    finishing = True
    uploader.finish()
    bucket.before = bucket.after = nothing


@pytest.mark.parametrize("seed", range(200))
def test_killed_at_any_request_everything_that_counts_is_whole(tmp_path: Path, seed: int) -> None:
    """Attempts on empty disks, all but the last killed, until one completes; then bucket and disk are equal."""
    chance = random.Random(seed)
    bucket = Memory()
    for number in range(20):
        output = tmp_path / f"disk-{number}"
        kill_after = chance.randrange(5, 90) if number < 8 else None
        try:
            attempt(bucket, output, seed, number, kill_after)
            break
        except Killed:
            check_bucket(bucket, seed)
    equal = {str(p.relative_to(output)): p.read_bytes() for p in output.rglob("*") if p.is_file()}
    assert equal.pop("run.lock", b"") in (b"1", b"")
    stored = {name: data for name, (data, _) in bucket.objects.items()}
    assert stored.pop("checkpoint_best.files.json")
    assert stored == equal
    assert stored["checkpoint_best/model"].startswith(f"best {best_step(seed)} ".encode())
    assert [json.loads(line)["step"] for line in stored["curve.jsonl"].splitlines()] == list(range(1, STEPS + 1))
    steps = layout.steps_in(bucket.list())
    assert steps[0] == f"step-{STEPS:08d}"
    assert len(steps) <= KEEP_LAST


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Memory, Path]:
    """A bucket with a completed run, and its disk."""
    bucket = Memory()
    attempt(bucket, tmp_path / "first", 1, 0, None)
    return bucket, tmp_path


def look(bucket: Memory, output: Path) -> resume.Found:
    return resume.look(bucket, output, KEEP_LAST)


def restored(bucket: Memory, disk: Path) -> Uploader:
    found = look(bucket, disk)
    resume.restore(found, resume.items(found, bucket, disk, disk / "scores"), disk, SILENT, nothing)
    return Uploader(bucket, disk, disk / "scores", found, SILENT)


def test_a_completed_run_comes_back_whole_and_nothing_is_uploaded_again(finished: tuple[Memory, Path]) -> None:
    bucket, root = finished
    requests: list[str] = []
    attempt(bucket, root / "second", 1, 2, None)
    assert (root / "second/COMPLETED.json").read_bytes() == (root / "first/COMPLETED.json").read_bytes()
    bucket.before = requests.append
    found = look(bucket, root / "third")
    resume.restore(
        found, resume.items(found, bucket, root / "third", root / "third/scores"), root / "third", SILENT, nothing
    )
    requests.clear()
    Uploader(bucket, root / "third", root / "third/scores", found, SILENT).finish()
    assert requests == ["list"]


def test_steps_without_a_marker_or_with_another_size_are_passed_by(finished: tuple[Memory, Path]) -> None:
    bucket, root = finished
    del bucket.objects["checkpoints/step-00000008/COMMITTED"]
    found = look(bucket, root / "new")
    assert list(found.markers) == ["step-00000007"]
    assert not [name for name in found.restore if "step-00000008" in name]
    data, version = bucket.objects["checkpoints/step-00000007/.metadata"]
    bucket.objects["checkpoints/step-00000007/.metadata"] = (data[:-1], version)
    found = look(bucket, root / "new")
    assert list(found.markers) == []
    assert "step-00000007: .metadata has 299 bytes instead of 300" in found.skipped
    bucket.objects["checkpoints/step-00000007/COMMITTED"] = (b"{", "v")
    assert "step-00000007: its marker cannot be read" in look(bucket, root / "new").skipped


@pytest.mark.parametrize("change", ["manifest", "file", "extra"])
def test_a_best_model_that_is_not_whole_is_not_taken(finished: tuple[Memory, Path], change: str) -> None:
    bucket, root = finished
    if change == "manifest":
        del bucket.objects["checkpoint_best.files.json"]
    elif change == "file":
        bucket.objects["checkpoint_best/model"] = (content("other"), "of another upload")
    else:
        bucket.objects["checkpoint_best/extra"] = (b"", "v")
    found = look(bucket, root / "new")
    assert not found.best
    assert "checkpoint_best: it was cut off while it was uploaded" in found.skipped
    assert not [name for name in found.restore if name.startswith("checkpoint_best")]


def test_only_so_many_steps_come_back(finished: tuple[Memory, Path]) -> None:
    bucket, root = finished
    assert list(resume.look(bucket, root / "new", 1).markers) == ["step-00000008"]


def test_a_disk_that_is_as_far_is_left_alone(finished: tuple[Memory, Path]) -> None:
    bucket, root = finished
    assert look(bucket, root / "first").restore == []


def test_a_disk_that_is_behind_is_replaced(finished: tuple[Memory, Path]) -> None:
    bucket, root = finished
    disk = root / "behind"
    shutil.copytree(root / "first", disk)
    shutil.rmtree(disk / "checkpoints/step-00000008")
    (disk / "checkpoint_best/model").write_bytes(content("older"))  # of the same size
    (disk / "curve.jsonl").write_text('{"step": 1}\n')
    restored(bucket, disk)
    for name in ("checkpoint_best/model", "curve.jsonl", "checkpoints/step-00000008/COMMITTED"):
        assert (disk / name).read_bytes() == (root / "first" / name).read_bytes()


def test_a_completion_that_the_trainer_forgets_is_forgotten(finished: tuple[Memory, Path]) -> None:
    """The best model was removed by hand: the trainer starts from the beginning, and so must whoever comes next."""
    bucket, root = finished
    for name in ("checkpoint_best/model", "checkpoint_best/params"):
        del bucket.objects[name]
    disk = root / "again"
    uploader = restored(bucket, disk)
    (disk / "COMPLETED.json").unlink()
    shutil.rmtree(disk / "checkpoints")
    uploader.sync()
    assert "COMPLETED.json" in bucket.objects  # as the disk was found: the next one starts from the beginning too
    (disk / "curve.jsonl").write_text('{"step": 1}\n')
    for _ in export(disk / "checkpoint_best", 1, 7):
        pass
    uploader.sync()
    left = look(bucket, root / "new")
    assert "COMPLETED.json" not in left.listing
    assert left.markers == {}


def test_something_else_that_writes_there_is_noticed(
    finished: tuple[Memory, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, root = finished
    disk = root / "disk"
    uploader = restored(bucket, disk)
    before = {name: data for name, (data, _) in bucket.objects.items()}
    for name in ("checkpoints/step-00000007/.metadata", "checkpoint_best/model", "curve.jsonl"):
        del bucket.objects[name]
    monkeypatch.setattr("weighted_mtp.entry.store.PATIENCE_SECONDS", 5.0)
    requests: list[str] = []
    bucket.before = requests.append
    uploader.finish()  # it puts right what it can, and leaves the rest alone
    now = {name: data for name, (data, _) in bucket.objects.items()}
    assert now.keys() == before.keys()
    assert not [request for request in requests if "step-00000008" in request]

    monkeypatch.setattr("weighted_mtp.entry.store.PATIENCE_SECONDS", 0.1)
    (disk / "config.json").write_text("new")
    bucket.after = lambda _: bucket.objects.pop("config.json", None)
    with pytest.raises(Unavailable, match=r"is not what was uploaded \(config.json\)"):
        uploader.finish()


def test_the_last_step_to_resume_from_stays_until_there_is_another(tmp_path: Path) -> None:
    bucket, disk = Memory(), tmp_path / "disk"
    uploader = Uploader(bucket, disk, disk / "scores", look(bucket, disk), SILENT)

    def save_step(step: int) -> None:
        for _ in save(disk, step, {"step": step}, 0):
            pass

    def steps() -> list[str]:
        return [step[-1] for step in layout.steps_in(bucket.list()) if layout.marker_name(step) in bucket.objects]

    save_step(1)
    uploader.sync()
    for step in (2, 3, 4):
        save_step(step)  # the trainer removes 1 and 2
    bucket.before = lambda request: (_ for _ in ()).throw(Unavailable("x")) if "write checkpoints" in request else None
    with pytest.raises(Unavailable):
        uploader.sync()
    uploader._prune()
    bucket.before = nothing
    assert steps() == ["1"]
    uploader.sync()
    assert steps() == ["4", "3"]
    shutil.rmtree(disk / "checkpoints")
    uploader.sync()
    assert steps() == ["4", "3"]


def test_what_the_trainer_removes_while_it_is_uploaded_arrives_whole_or_not_at_all(tmp_path: Path) -> None:
    bucket, disk = Memory(), tmp_path / "disk"
    uploader = Uploader(bucket, disk, disk / "scores", look(bucket, disk), SILENT)
    for _ in save(disk, 1, {"step": 1}, 0):
        pass
    bucket.before = lambda request: shutil.rmtree(disk / "checkpoints") if request.endswith("__0_0.distcp") else None
    uploader.sync()
    assert list(look(bucket, tmp_path / "new").markers) == ["step-00000001"]


def test_pieces_of_an_upload_that_was_cut_off_do_not_stay(tmp_path: Path) -> None:
    bucket, disk = Memory(), tmp_path / "disk"
    pieces = (
        "checkpoints/step-00000001/__7_0.distcp",
        "checkpoint_best/of-another-format",
        "checkpoints/step-00000009/x",
    )
    for piece in pieces:
        bucket.write(piece, b"x", 1)
    uploader = Uploader(bucket, disk, disk / "scores", look(bucket, disk), SILENT)
    for _ in trainer(disk, 1, 0):
        uploader.sync()
    assert not [piece for piece in pieces if piece in bucket.objects]


class Answers:
    """An uploader whose syncs end like this, one after the other; then it stops its watcher."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.watcher: Watcher | None = None

    def sync(self) -> None:
        answer = self.answers.pop(0)
        if not self.answers:
            assert self.watcher
            self.watcher._over.set()
        if answer:
            raise answer


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *answers: Exception | None) -> list[str]:
    """The launcher's lines: messages of what fails, `ok`."""
    monkeypatch.setattr(upload, "LOOK_SECONDS", 0.001)
    uploader: Any = Answers(*answers)
    uploader.watcher = Watcher(uploader, Events(True))
    uploader.watcher.run()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[wmtp] ")]
    found = [json.loads(line.removeprefix("[wmtp] ")) for line in lines]
    assert {event["event"] for event in found} <= {"upload_failing", "upload_ok"}
    return [event["message"] if event["event"] == "upload_failing" else "ok" for event in found]


def test_trouble_is_told_to_the_launcher_once_until_it_changes_or_is_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    down, refused = Unavailable("down"), InputError("refused", "allow it")
    assert told(monkeypatch, capsys, None, None) == []
    answers = (None, down, down, refused, refused, down, None, None, down, KeyError("x"), None)
    failing = "KeyError while checkpoints are uploaded"
    assert told(monkeypatch, capsys, *answers) == ["down", "refused", "down", "ok", "down", failing, "ok"]


def test_trouble_that_lasts_is_told_again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = itertools.count(1000, 25)  # every look at the clock is 25 s later
    monkeypatch.setattr(upload, "time", SimpleNamespace(monotonic=lambda: next(now)))
    assert told(monkeypatch, capsys, *[Unavailable("down")] * 7) == ["down"] * 3
