"""What a run reads - models, data, another run's checkpoint - from `--fetch URI=PATH` to files on the disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from weighted_mtp.config import TrainConfig
from weighted_mtp.entry import text
from weighted_mtp.entry.fetch import Item, fetch, wanting
from weighted_mtp.entry.progress import REPORT_SECONDS, Transfer
from weighted_mtp.entry.store import Object, Place
from weighted_mtp.errors import InputError
from weighted_mtp.events import Events

CACHE = Path("/cache")  # where a cluster mounts a disk that outlives the container


@dataclass(frozen=True)
class Input:
    """One prefix and the directory it is fetched into."""

    place: Place
    target: Path
    role: str  # as in "model 'llama-7b'"
    is_critic: bool = False


def parse(argument: str, app: Path, config: TrainConfig, command: list[str]) -> Input:
    """`URI=PATH` of the command line, checked. What it is for is known by its path."""
    uri, equals, path = argument.rpartition("=")
    if not equals or not uri or not path:
        raise InputError(f"--fetch {argument!r} is not URI=PATH", "write s3://BUCKET/PREFIX=/app/models/NAME")
    target = Path(os.path.abspath(path)).resolve()  # also what a link in it would lead to
    if not any(root in target.parents for root in (app, CACHE)):
        raise InputError(f"--fetch would write to {path}", f"inputs go below {app} or {CACHE}")
    critic = command[command.index("--critic-checkpoint") + 1 :][:1] if "--critic-checkpoint" in command else []
    if critic and Path(os.path.abspath(critic[0])).resolve() == target:
        return Input(Place(uri), target, "critic checkpoint", is_critic=True)
    for kind, root in (("model", config.paths.models), ("data set", config.paths.datasets)):
        if Path(root).resolve() in target.parents:
            return Input(Place(uri), target, f"{kind} {str(target.relative_to(Path(root).resolve()))!r}")
    return Input(Place(uri), target, target.name)


def items_of(place: Place, listing: dict[str, Object], target: Path, directory: str = "") -> list[Item]:
    """One item for each object; the empty objects that stand for directories in some tools are none. `directory`: of
    the place, where the listing's names begin; with its slash.

    Raises InputError for a name that is no path below `target`."""
    parents = {name.rsplit("/", depth)[0] for name in listing for depth in range(1, name.count("/") + 1)}
    items = []
    for name, version in sorted(listing.items()):
        if any(part in ("", ".", "..") for part in name.split("/")) or not name.isprintable() or "\\" in name:
            raise InputError(f"{place.uri} holds {name!r}, which is no file name", "remove that object")
        if name not in parents:
            items.append(Item(place, directory + name, version, target / name))
        elif version.size:
            raise InputError(f"{place.uri}/{name} is a file and a directory", "remove one of them")
    return items


def find(source: Input) -> list[Item]:
    """What there is to fetch. Raises InputError if that is nothing."""
    items = items_of(source.place, source.place.list(), source.target)
    if items:
        return items
    if source.is_critic:
        raise InputError(
            f"critic checkpoint {source.place.uri} does not exist",
            "train the critic of this stack, or set pipelines.verifiable.criticCheckpoint",
        )
    where = "bucket" if source.place.bucket else "directory"
    raise InputError(
        f"{source.role} is not in the {where}: there is nothing at {source.place.uri}",
        "run pulumi up to upload it, or correct its name",
    )


def check_space(items: list[Item]) -> None:
    """Raises InputError if what is still missing does not fit on the disks."""
    needed: dict[int, tuple[int, Path]] = {}
    for item in items:
        if not item.is_there():
            device, directory = _disk(item.target)
            needed[device] = (needed.get(device, (0, directory))[0] + item.version.size, directory)
    for size, directory in needed.values():
        free = shutil.disk_usage(directory).free
        if size > free:
            raise InputError(
                f"No space left on device: the inputs need {text.size(size)}, {directory} has {text.size(free)} free",
                "choose a cluster or preset with a larger disk",
            )


def _disk(path: Path) -> tuple[int, Path]:
    """The device that a file will be on, and the deepest directory on the way to it that exists."""
    while not path.is_dir():
        path = path.parent
    return path.stat().st_dev, path


def bring(name: str, items: list[Item], events: Events, check: Callable[[], None]) -> None:
    """Fetch what is not there yet or is not what was uploaded, telling how far it is."""
    there = sum(item.version.size for item in items if item.is_there())
    missing = wanting(items, Transfer(f"verify {name}", there, events).add, check)
    if not missing:
        return
    total = sum(item.version.size for item in missing)
    transfer = Transfer(f"fetch {name}", total, events)
    if total:
        events.emit("phase", name=f"fetch {name}: {text.size(total)}")
    fetch(missing, transfer.add, check)
    seconds = transfer.seconds()
    if seconds >= REPORT_SECONDS:
        rate = text.size(total / seconds)
        events.say(f"fetched {name}: {text.size(total)} in {text.duration(seconds)} ({rate}/s)")
