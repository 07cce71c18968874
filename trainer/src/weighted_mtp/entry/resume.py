"""What an earlier attempt left in the bucket, brought back to a disk that is empty.

Only what is whole counts: steps whose marker and sizes agree, the best model if its manifest does. The marker of a
step is written after its files here too, so that a restart in the middle of this does not see half a step.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from weighted_mtp.entry import layout
from weighted_mtp.entry.fetch import Item, fetch
from weighted_mtp.entry.inputs import bring, items_of
from weighted_mtp.entry.store import Object, Place
from weighted_mtp.events import Events

BEST = layout.EXPORTS[0]


@dataclass
class Found:
    """What is in the bucket, and which of it is to be fetched."""

    listing: dict[str, Object]
    markers: dict[str, bytes] = field(default_factory=dict)  # of sound steps, newest first
    best: bool = False
    restore: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def look(place: Place, output: Path, keep_last: int) -> Found:
    """Read the bucket. Nothing of the output is fetched where the disk is at least as far."""
    found = Found(place.list())
    listing = found.listing
    for step in layout.steps_in(listing):
        if layout.marker_name(step) not in listing or len(found.markers) == keep_last:
            continue
        marker = place.read(layout.marker_name(step))
        problem = layout.step_problem(marker, layout.below(f"{layout.STEPS}/{step}", listing))
        if problem is None and marker is not None:
            found.markers[step] = marker
        else:
            found.skipped.append(f"{step}: {problem}")
    best = layout.below(BEST, listing)
    found.best = bool(best) and place.read(layout.manifest_name(BEST)) == layout.manifest_of(best)
    if best and not found.best:
        found.skipped.append(f"{BEST}: it was cut off while it was uploaded")
    if _is_ahead(output, list(found.markers)):
        return found
    found.restore = [name for name in listing if layout.is_record(name)]
    found.restore += [f"{layout.STEPS}/{step}/{name}" for step in found.markers for name in _files(step, listing)]
    if found.best:
        found.restore += [f"{BEST}/{name}" for name in best]
    if layout.COMPLETED in listing:
        found.restore.append(layout.COMPLETED)
    return found


def _files(step: str, listing: dict[str, Object]) -> list[str]:
    return list(layout.below(f"{layout.STEPS}/{step}", listing))


def _is_ahead(output: Path, remote: list[str]) -> bool:
    """The same container started again: its own disk may know more than the bucket."""
    local = layout.committed_steps(output)
    if not local:
        return False
    return not remote or layout.step_number(local[0]) >= layout.step_number(remote[0])


def items(found: Found, place: Place, output: Path, scores: Path) -> list[Item]:
    """Everything to fetch, the scores included."""
    chosen = items_of(place, {name: found.listing[name] for name in found.restore}, output)
    return chosen + items_of(place, layout.below(layout.SCORES, found.listing), scores, f"{layout.SCORES}/")


def restore(found: Found, wanted: list[Item], output: Path, events: Events, check: Callable[[], None]) -> None:
    """Fetch them: content first, then markers."""
    for text in found.skipped:
        events.say(f"not resumed from {text}")
    if found.restore:  # what is on the disk is older than the bucket, or half fetched
        for directory in (layout.STEPS, BEST):
            shutil.rmtree(output / directory, ignore_errors=True)
        for item in wanted:
            if item.name in found.restore:
                item.target.unlink(missing_ok=True)
    markers = (layout.COMMITTED, layout.COMPLETED)
    bring("checkpoints", [item for item in wanted if item.target.name not in markers], events, check)
    fetch([item for item in wanted if item.target.name in markers], lambda _: None, check)
    if found.markers and found.restore:
        events.say(f"resuming from {next(iter(found.markers))}")
