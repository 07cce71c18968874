"""From --fetch to files: what is refused, what is fetched, what is left alone."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import obstore
import pytest
from storage import BUCKET, Fault, Storage

from weighted_mtp.config import Paths, TrainConfig
from weighted_mtp.entry import inputs
from weighted_mtp.entry.fetch import Item, fetch, remove_stale
from weighted_mtp.entry.inputs import Input, bring, check_space, find, items_of, parse
from weighted_mtp.entry.store import PART_BYTES, Object, Place, Unavailable
from weighted_mtp.errors import InputError
from weighted_mtp.events import Events

LARGE = os.urandom(3 * PART_BYTES + 12345)


def nothing(*_: object) -> None:
    pass


def config(app: Path) -> TrainConfig:
    return TrainConfig(pipeline="ntp", paths=Paths(models=f"{app}/models", datasets=f"{app}/data", output=f"{app}/out"))


def parsed(app: Path, path: str, *command: str) -> Input:
    return parse(f"s3://b/p={path}", app, config(app), list(command))


def place(name: str) -> Place:
    return Place(f"s3://{BUCKET}/{name}")


def test_what_an_input_is_for_is_known_by_its_path(tmp_path: Path) -> None:
    critic = f"{tmp_path}/critic"
    assert parsed(tmp_path, f"{tmp_path}/models/llama/7b").role == "model 'llama/7b'"
    assert parsed(tmp_path, f"{tmp_path}/data/toy").role == "data set 'toy'"
    assert parsed(tmp_path, critic, "python", "--critic-checkpoint", critic).is_critic
    assert not parsed(tmp_path, critic, "python", "--critic-checkpoint", "elsewhere").is_critic
    assert parsed(tmp_path, "/cache/models/x").target == Path("/cache/models/x")


@pytest.mark.parametrize(
    "path", ["{app}", "{app}/..", "{app}/../x", "/etc", "/", "/cache", "/cache/../etc", "{app}x/y"]
)
def test_paths_outside_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(InputError, match="would write to"):
        parsed(tmp_path, path.format(app=tmp_path))


def test_a_link_that_leads_outside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to("/etc")
    with pytest.raises(InputError, match="would write to"):
        parsed(tmp_path, f"{tmp_path}/models/x")


@pytest.mark.parametrize("argument", ["", "s3://b/p", "=", "s3://b/p=", "=/app/x"])
def test_what_is_no_fetch(tmp_path: Path, argument: str) -> None:
    with pytest.raises(InputError, match="is not URI=PATH"):
        parse(argument, tmp_path, config(tmp_path), [])


@pytest.mark.parametrize("name", ["../x", "a/../../x", "a/./b", "a//b", "/etc/passwd", "a\nb", "a\0b", "..", "a\\b"])
def test_no_name_escapes(storage: Storage, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="is no file name"):
        items_of(place("x"), {"fine": Object(1, None), name: Object(1, None)}, tmp_path)


def test_objects_that_stand_for_directories_are_none(storage: Storage, tmp_path: Path) -> None:
    listing = {"a": Object(0, None), "a/b": Object(0, None), "a/b/c": Object(1, None), "empty": Object(0, None)}
    assert [item.name for item in items_of(place("x"), listing, tmp_path)] == ["a/b/c", "empty"]
    with pytest.raises(InputError, match="x/a is a file and a directory"):
        items_of(place("x"), {"a": Object(5, None), "a/b": Object(1, None)}, tmp_path)


def test_nothing_there_is_named(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"model 'x' is not in the bucket: there is nothing at s3://{BUCKET}/no"):
        find(Input(place("no"), tmp_path, "model 'x'"))
    # the launcher's diagnosis: /critic checkpoint[^\n]*(missing|not found|does not exist|another trunk|other trunk)/i
    with pytest.raises(InputError, match=rf"critic checkpoint s3://{BUCKET}/no does not exist"):
        find(Input(place("no"), tmp_path, "critic checkpoint", is_critic=True))


def test_everything_arrives_and_a_second_time_nothing_moves(storage: Storage, tmp_path: Path) -> None:
    files = {
        "large": LARGE,
        "empty": b"",
        **{f"d/{n}": os.urandom(n) for n in range(1, 40)},
        "exact": LARGE[:PART_BYTES],
    }
    storage.put("arrive", files)
    target = tmp_path / "models/x"
    items = find(Input(place("arrive"), target, "model"))
    moved: list[int] = []
    fetch(items, moved.append, nothing)
    assert {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file()} == files
    assert sum(moved) == sum(map(len, files.values()))
    storage.requests.clear()
    bring("x", items, Events(False), nothing)
    assert {request.split()[0] for request in storage.requests} == {"HEAD"}

    (target / "large").write_bytes(b"cut off")  # only what differs in size moves
    storage.requests.clear()
    bring("x", items, Events(False), nothing)
    assert (target / "large").read_bytes() == LARGE
    moving = {request.split("?")[0] for request in storage.requests if not request.startswith("HEAD ")}
    assert moving == {f"GET /{BUCKET}/arrive/large"}


def put_with_hash(name: str, content: bytes, sha256: str) -> None:
    """As the launcher uploads it."""
    prefix, _, _ = name.partition("/")
    obstore.put(place(prefix)._store, name, content, attributes={"sha256": sha256}, use_multipart=False)


def test_a_file_of_the_right_size_and_another_content_is_fetched_again(storage: Storage, tmp_path: Path) -> None:
    other = bytes(len(LARGE))
    put_with_hash("same-size/large", LARGE, hashlib.sha256(LARGE).hexdigest())
    put_with_hash("same-size/right", b"right", hashlib.sha256(b"right").hexdigest())
    storage.put("same-size", {"unknown": b"12345"})  # carries no hash: its size has to do
    for name, content in {"large": other, "right": b"right", "unknown": b"54321"}.items():
        (tmp_path / name).write_bytes(content)
    bring("x", find(Input(place("same-size"), tmp_path, "model")), Events(False), nothing)
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == {"large": LARGE, "right": b"right", "unknown": b"54321"}
    assert {r.split("?")[0] for r in storage.requests if r.startswith("GET ") and "list" not in r} == {
        f"GET /{BUCKET}/same-size/large"
    }


def test_what_is_damaged_in_the_bucket_gets_no_name(storage: Storage, tmp_path: Path) -> None:
    put_with_hash("damaged/large", LARGE, "0" * 64)
    with pytest.raises(InputError, match=rf"large is not what was uploaded to s3://{BUCKET}/damaged/large") as raised:
        bring("x", find(Input(place("damaged"), tmp_path, "model")), Events(False), nothing)
    assert "remove that object" in raised.value.remedy
    assert list(tmp_path.iterdir()) == []


FILL = """
import sys
from pathlib import Path
from weighted_mtp.entry.inputs import Input, bring, find
from weighted_mtp.entry.store import Place
from weighted_mtp.events import Events

bring("x", find(Input(Place(sys.argv[1]), Path(sys.argv[2]), "model")), Events(False), lambda: None)
"""


def test_two_that_fill_one_cache_at_the_same_time_both_end_right(storage: Storage, tmp_path: Path) -> None:
    files = {"large": LARGE, **{f"d/{n}": os.urandom(n) for n in range(1, 20)}}
    for name, content in files.items():
        put_with_hash(f"cache/{name}", content, hashlib.sha256(content).hexdigest())
    storage.seconds = 0.2  # both have begun before one is finished
    command = [sys.executable, "-c", FILL, place("cache").uri, str(tmp_path)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    parts: set[str] = set()
    while any(process.poll() is None for process in both):
        parts |= {path.name for path in tmp_path.glob("large.*.wmtp-part")}
        time.sleep(0.01)
    assert [(process.returncode, process.communicate()[1]) for process in both] == [(0, "")] * 2
    assert {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == files
    assert len(parts) == 2


def test_parts_that_nobody_finishes_go_after_a_day(storage: Storage, tmp_path: Path) -> None:
    storage.put("stale", {"d/x": b"1", "mine.wmtp-part": b"1"})
    items = find(Input(place("stale"), tmp_path, "model"))
    old, new, mine, other = "d/x.a-1-f.wmtp-part", "d/x.b-1-f.wmtp-part", "mine.wmtp-part", "d/y"
    (tmp_path / "d").mkdir()
    for name, hours in {old: 25, new: 23, mine: 25, other: 25}.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, times=(time.time() - hours * 3600,) * 2)
    remove_stale(items)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {new, mine, other}
    remove_stale([Item(place("x"), "x", Object(1, None), tmp_path / "nowhere/x")])


def test_a_long_name_is_fetched(storage: Storage, tmp_path: Path) -> None:
    name = "\u00fc" * 120
    storage.put("long", {name: b"1"})
    bring("x", find(Input(place("long"), tmp_path, "model")), Events(False), nothing)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("status", [503, 500, None], ids=["503", "500", "cut"])
def test_a_storm_is_sat_out(storage: Storage, tmp_path: Path, status: int | None) -> None:
    storage.put("storm", {"large": LARGE})
    items = find(Input(place("storm"), tmp_path, "model"))
    storage.faults = [Fault("GET .*storm/large", 12, status)]
    fetch(items, nothing, nothing)
    assert (tmp_path / "large").read_bytes() == LARGE


def test_a_storm_without_end_leaves_nothing_that_looks_whole(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WMTP_STORE_PATIENCE_SECONDS", "0.2")
    storage.put("endless", {"large": LARGE, "small": b"1"})
    items = find(Input(place("endless"), tmp_path, "model"))
    storage.faults = [Fault("GET .*endless/large", 10**6)]
    with pytest.raises(Unavailable, match="SlowDown"):
        fetch(items, nothing, nothing)
    assert {path.name for path in tmp_path.iterdir()} <= {"small"}  # nor a part, whose name would not be used again


def test_what_changes_while_it_is_read_is_not_mixed(storage: Storage, tmp_path: Path) -> None:
    storage.put("mixed", {"large": LARGE})
    items = find(Input(place("mixed"), tmp_path, "model"))
    place("mixed").write("large", bytes(len(LARGE)), len(LARGE))
    with pytest.raises(InputError, match="changed while it was read"):
        fetch(items, nothing, nothing)
    assert not (tmp_path / "large").exists()


def test_whoever_waits_can_end_it(storage: Storage, tmp_path: Path) -> None:
    storage.put("slow", {str(number): b"x" for number in range(100)})
    items = find(Input(place("slow"), tmp_path, "model"))
    storage.seconds = 0.3

    class Enough(Exception):
        pass

    def check() -> None:
        raise Enough

    with pytest.raises(Enough):
        fetch(items, nothing, check)
    assert len(list(tmp_path.iterdir())) < 100


def test_a_disk_that_is_too_small_is_known_before(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").write_bytes(b"x" * 1000)
    items = [Item(place("x"), name, Object(1000, None), tmp_path / name) for name in ("deep/er/a", "b", "there")]
    monkeypatch.setattr(inputs.shutil, "disk_usage", lambda _: SimpleNamespace(free=2000))
    check_space(items)
    monkeypatch.setattr(inputs.shutil, "disk_usage", lambda _: SimpleNamespace(free=1999))
    with pytest.raises(InputError, match=r"No space left on device: the inputs need 2.0 kB, .* has 2.0 kB free"):
        check_space(items)


def test_a_disk_that_fills_up(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.put("full", {"large": LARGE})
    items = find(Input(place("full"), tmp_path, "model"))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(InputError, match="No space left on device"):
        fetch(items, nothing, nothing)


def test_progress_is_told(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from weighted_mtp.entry import progress

    monkeypatch.setattr(progress, "REPORT_SECONDS", 0.0)
    monkeypatch.setattr(inputs, "REPORT_SECONDS", 0.0)
    storage.put("told", {"large": LARGE})
    inputs.bring("llama-7b", find(Input(place("told"), tmp_path, "model")), Events(True), nothing)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == '[wmtp] {"event": "phase", "name": "fetch llama-7b: 50.3 MB"}'
    assert all(line.startswith('[wmtp] {"event": "phase", "name": "fetch llama-7b: ') for line in said[1:-1])
    assert any(" MB of 50.3 MB, " in line and "/s, ETA " in line for line in said[1:-1])
    assert said[-1].startswith("fetched llama-7b: 50.3 MB in ")
    assert threading.active_count() < 50
