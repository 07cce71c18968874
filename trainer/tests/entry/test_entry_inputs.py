"""From --fetch to files: what is refused, what is fetched, what is left alone."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from storage import BUCKET, Fault, Storage

from weighted_mtp.config import Paths, TrainConfig
from weighted_mtp.entry import inputs
from weighted_mtp.entry.fetch import Item, fetch
from weighted_mtp.entry.inputs import Input, check_space, find, items_of, parse
from weighted_mtp.entry.store import PART_BYTES, Object, Place, Unavailable
from weighted_mtp.errors import InputError

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
    fetch(items, moved.append, nothing)
    assert storage.requests == []

    (target / "large").write_bytes(b"cut off")  # only what differs in size moves
    fetch(items, nothing, nothing)
    assert (target / "large").read_bytes() == LARGE
    assert {request.split("?")[0] for request in storage.requests} == {f"GET /{BUCKET}/arrive/large"}


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
    assert not (tmp_path / "large").exists()


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
    from weighted_mtp.events import Events

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
