"""What is in the bucket at every moment: whoever is killed in between, the next one finds whole things only."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest

from weighted_mtp.entry import layout, resume, upload
from weighted_mtp.entry.store import Object, Unavailable
from weighted_mtp.entry.upload import Uploader, Watcher
from weighted_mtp.errors import InputError
from weighted_mtp.events import Events

SILENT = Events(False)
STEPS, KEEP_LAST = 8, 2
SIZE = 300


class Killed(BaseException):
    """Power cut."""


def nothing(*_: object) -> None:
    pass


def content(name: str) -> bytes:
    return (f"{name};" * SIZE).encode()[:SIZE]


def loss(seed: int, step: int) -> float:
    return random.Random(seed * 1000 + step).random()


def best_step(seed: int) -> int:
    return min(range(1, STEPS + 1), key=lambda step: loss(seed, step))


class Memory:
    """A bucket. What is called before every request makes the trainer go on, and fails."""

    uri, bucket = "s3://memory/x", "memory"

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.before: Callable[[str], None] = nothing
        self.after: Callable[[str], None] = nothing
        self._versions = itertools.count()

    def list(self) -> dict[str, Object]:
        self.before("list")
        return {name: Object(len(data), version) for name, (data, version) in self.objects.items()}

    def read(self, name: str) -> bytes | None:
        self.before(f"read {name}")
        return self.objects[name][0] if name in self.objects else None

    def read_part(self, name: str, version: Object, start: int, end: int) -> tuple[bytes, str | None]:
        data, found = self.objects[name]
        assert found == version.e_tag
        return data[start:end], None

    def sha256(self, name: str, version: Object) -> str | None:
        return None

    def write(self, name: str, source: bytes | IO[bytes], size: int) -> Object:
        self.before(f"write {name}")
        data = source if isinstance(source, bytes) else source.read()
        assert len(data) == size
        version = f"v{next(self._versions)}"
        self.objects[name] = (data, version)
        self.after(f"write {name}")
        return Object(size, version)

    def delete(self, names: list[str]) -> None:
        for name in names:
            self.before(f"delete {name}")
            self.objects.pop(name, None)
            self.after(f"delete {name}")


def trainer(output: Path, seed: int, number: int) -> Iterator[None]:
    """The trainer's writes to the disk, one by one, from whatever the disk holds. Attempts of odd `number` find the
    newest step damaged and save it again; the bytes of two saves always differ."""
    output.mkdir(parents=True, exist_ok=True)
    yield
    best = output / "checkpoint_best"
    if (output / "COMPLETED.json").exists():
        assert best.is_dir()
        return
    if not (output / "run.json").exists():
        (output / "run.json").write_text("{}")
    (output / "run.lock").write_text("1")
    yield
    committed = layout.committed_steps(output)[number % 2 :]
    progress = {"step": 0, "best_loss": None}
    if committed:
        marker = json.loads((output / f"checkpoints/{committed[0]}/COMMITTED").read_text())
        progress = marker["progress"]
        check_step({p.name: p.read_bytes() for p in (output / "checkpoints" / committed[0]).iterdir()})
    points = (output / "curve.jsonl").read_text().splitlines() if (output / "curve.jsonl").exists() else []
    assert len(points) >= progress["step"], "the curve of a committed step is there"
    (output / "curve.jsonl").write_text("".join(f"{point}\n" for point in points[: progress["step"]]))
    assert progress["step"] < STEPS or best.is_dir(), "nothing would export it again"
    if best.is_dir():
        check_best({p.name: p.read_bytes() for p in best.iterdir()})
    for step in range(progress["step"] + 1, STEPS + 1):
        yield
        with (output / "curve.jsonl").open("a") as curve:
            curve.write(f'{{"step": {step}}}\n')
        value = loss(seed, step)
        if not best.is_dir() or progress["best_loss"] is None or value < progress["best_loss"]:
            yield from export(best, step, number)
            progress["best_loss"] = value
        progress["step"] = step
        yield from save(output, step, progress, number)
    yield
    (output / "config.json").write_text("{}")
    yield
    (output / "COMPLETED.json").write_text(json.dumps({"checkpoint": "checkpoint_best"}))


def export(best: Path, step: int, number: int) -> Iterator[None]:
    new, old = best.with_name("checkpoint_best.new"), best.with_name("checkpoint_best.old")
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir()
    for name in ("model", "params"):
        (new / name).write_bytes(content(f"best {step} {number}"))
        yield
    if best.exists():
        best.rename(old)
        yield
    new.rename(best)
    yield
    for path in sorted(old.iterdir()) if old.exists() else []:
        path.unlink()
        yield
    shutil.rmtree(old, ignore_errors=True)


def save(output: Path, step: int, progress: dict[str, Any], number: int) -> Iterator[None]:
    directory = output / f"checkpoints/step-{step:08d}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    files = {}
    for name in ("__0_0.distcp", ".metadata"):
        data = content(f"{step} {name} {number}")
        (directory / name).write_bytes(data)
        files[name] = [len(data), zlib.crc32(data)]
        yield
    (directory / "COMMITTED.tmp").write_text(json.dumps({"progress": progress, "files": files}))
    (directory / "COMMITTED.tmp").replace(directory / "COMMITTED")
    yield
    for old in layout.committed_steps(output)[KEEP_LAST:]:
        for path in sorted((output / "checkpoints" / old).iterdir(), reverse=step % 2 == 0):
            path.unlink()
            yield
        (output / "checkpoints" / old).rmdir()


def check_step(files: dict[str, bytes]) -> None:
    for name, expected in json.loads(files["COMMITTED"])["files"].items():
        assert [len(files[name]), zlib.crc32(files[name])] == expected, "it counts and is not whole"


def check_best(files: dict[str, bytes]) -> None:
    assert files.keys() == {"model", "params"}
    assert files["model"] == files["params"], "a mixture of two models"


def check_bucket(bucket: Memory, seed: int) -> None:
    """What counts is whole."""
    data = {name: found for name, (found, _) in bucket.objects.items()}
    listing = {name: Object(len(found), version) for name, (found, version) in bucket.objects.items()}
    for step in layout.steps_in(listing):
        if layout.marker_name(step) in data:
            directory = f"checkpoints/{step}"
            check_step({name: data[f"{directory}/{name}"] for name in layout.below(directory, listing)})
            assert len(data["curve.jsonl"].splitlines()) >= layout.step_number(step)
    best = layout.below("checkpoint_best", listing)
    if data.get("checkpoint_best.files.json") == layout.manifest_of(best):
        check_best({name: data[f"checkpoint_best/{name}"] for name in best})
    if "COMPLETED.json" in data:
        assert data["checkpoint_best/model"].startswith(f"best {best_step(seed)} ".encode())
        assert data["checkpoint_best.files.json"] == layout.manifest_of(best)
        assert len(data["curve.jsonl"].splitlines()) == STEPS


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
