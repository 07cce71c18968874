"""Brings what the trainer writes to the bucket, so that a run which loses its machine resumes on another.

A directory that counts through a marker loses it before it changes and gets it after it is whole, so nothing half
uploaded ever looks finished. The best model goes before the step that was saved after it: whoever resumes from a step
finds the best model of that step or a later one. COMPLETED.json is last of all. Order and names: `layout.py`.
"""

from __future__ import annotations

import hashlib
import io
import threading
import time
from pathlib import Path
from typing import IO, cast

from weighted_mtp.entry import layout, text
from weighted_mtp.entry.progress import REPORT_SECONDS, Transfer
from weighted_mtp.entry.resume import BEST, Found
from weighted_mtp.entry.snapshot import Opened, opened
from weighted_mtp.entry.store import PART_BYTES, Object, Place, Unavailable, patiently
from weighted_mtp.errors import InputError
from weighted_mtp.events import Events

LOOK_SECONDS = 1.0
REPEAT_SECONDS = 60.0
UNKNOWN = Object(-1, None)


class Uploader:
    """One output directory and its copy. Made after a restore; not for two threads at a time."""

    def __init__(self, place: Place, output: Path, scores: Path, found: Found, events: Events) -> None:
        self._place = place
        self._output = output
        self._scores = scores
        self._events = events
        self._remote = dict(found.listing)  # what is in the bucket, as far as we know
        self._steps = dict(found.markers)  # uploaded steps and their markers
        self._left_behind: dict[str, object] = {}  # steps that the trainer went back behind, until it saves them again
        self._exports: dict[str, object] = {}  # uploaded exports and the identity of their files
        self._records: dict[str, bytes] = {}  # uploaded records and the hash of their content
        self._completion: bytes | None = None
        self.speaks = False  # tell how far an upload is; while the trainer tells, it is silent
        if found.restore:
            self._know_what_was_restored(found)

    def _know_what_was_restored(self, found: Found) -> None:
        for name in found.restore:
            if layout.is_record(name):
                self._records[name] = _hash((self._output / name).read_bytes())
        with opened(self._output / BEST) as snapshot:
            if found.best and snapshot:
                self._exports[BEST] = _identity(snapshot)
        if layout.COMPLETED in found.restore:
            self._completion = (self._output / layout.COMPLETED).read_bytes()

    def sync(self) -> None:
        """Upload what is new, remove what the trainer removed. Raises InputError and Unavailable."""
        self._send_scores()
        self._send_records(only_unknown=True)
        tried: set[str] = set()
        while True:
            # The step is chosen before the best model is looked at, which is then at least as new.
            new = (step for step in layout.committed_steps(self._output) if step not in tried and self._is_new(step))
            step = next(new, None)
            for export in layout.EXPORTS:
                self._send_export(export)
            if step is None:
                break
            tried.add(step)
            self._send_step(step)
        self._prune()

    def finish(self) -> None:
        """After the trainer's end: all of it, compared with a listing, and then the completion."""
        patiently(self._finish)

    def _finish(self) -> None:
        self.sync()
        self._send_records()
        self._verify()
        completion = _read(self._output / layout.COMPLETED)
        if completion is not None and completion != self._completion:
            self._put(layout.COMPLETED, completion)
            self._completion = completion

    def _verify(self) -> None:
        listing = self._place.list()
        different = [
            name for name, sent in self._remote.items()
            if name != layout.COMPLETED and (name not in listing or listing[name].size != sent.size)
        ]  # fmt: skip
        if different:
            self._remote = listing
            for name in different:
                self._forget(name)
            raise Unavailable(f"{self._place.uri} is not what was uploaded ({', '.join(sorted(different)[:5])})")

    def _forget(self, name: str) -> None:
        """Whatever this object belongs to is to be uploaded again."""
        if step := layout.STEP.match(name):
            self._steps.pop(step[1], None)
        self._records.pop(name, None)
        for export in layout.EXPORTS:
            if name == layout.manifest_name(export) or name.startswith(f"{export}/"):
                self._exports.pop(export, None)

    def _follow_back(self, curve: bytes | None) -> None:
        """A trainer that found its newest step damaged, or its best model gone, is behind that step again: its curve
        is cut. Nobody may resume from there any more, with the curve and the best model of an earlier time."""
        now = layout.last_step(curve)
        if now is None:
            return
        for step in layout.committed_steps(self._output):
            if layout.step_number(step) > now:
                self._left_behind[step] = self._marker_identity(step)
        for step in layout.steps_in(self._remote):
            if layout.step_number(step) > now:
                self._remove([layout.marker_name(step)])
                self._steps.pop(step, None)

    def _send_scores(self) -> None:
        """Score files are named by what they hold: one that is there is right."""
        with opened(self._scores) as snapshot:
            for found in snapshot or []:
                name = f"{layout.SCORES}/{found.name}"
                there = self._remote.get(name)
                if not found.name.endswith((".tmp", ".wmtp-part")) and (there is None or there.size != found.size):
                    self._send(name, found)

    def _send_records(self, only_unknown: bool = False) -> None:
        for path in sorted(self._output.iterdir()) if self._output.is_dir() else []:
            if not path.is_file() or not layout.is_record(path.name) or (only_unknown and path.name in self._records):
                continue
            content = _read(path)
            if content is not None and self._records.get(path.name) != (digest := _hash(content)):
                if path.name == layout.CURVE:
                    self._follow_back(content)
                self._put(path.name, content)
                self._records[path.name] = digest

    def _send_export(self, export: str) -> None:
        with opened(self._output / export) as snapshot:
            if snapshot is None or self._exports.get(export) == _identity(snapshot):
                return
            self._follow_back(_read(self._output / layout.CURVE))
            self._remove([layout.COMPLETED])
            self._completion = None
            self._exports.pop(export, None)
            self._remove([layout.manifest_name(export)])
            sent = self._send_all(export, export, snapshot)
            self._put(layout.manifest_name(export), layout.manifest_of(sent))
            self._exports[export] = _identity(snapshot)

    def _is_new(self, step: str) -> bool:
        identity = self._marker_identity(step)
        if identity is None or self._left_behind.get(step) == identity:
            return False
        return self._steps.get(step) != _read(self._output / layout.marker_name(step))

    def _marker_identity(self, step: str) -> tuple[int, int] | None:
        try:
            found = (self._output / layout.marker_name(step)).stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns

    def _send_step(self, step: str) -> None:
        with opened(self._output / layout.STEPS / step) as snapshot:
            files = {found.name: found for found in snapshot or []}
            marker = files.pop(layout.COMMITTED).file.read() if layout.COMMITTED in files else None
            if layout.step_problem(marker, {name: Object(found.size, None) for name, found in files.items()}):
                return  # the trainer is removing it just now
            assert marker is not None
            self._steps.pop(step, None)
            self._remove([layout.marker_name(step)])
            self._send_all(step, f"{layout.STEPS}/{step}", list(files.values()))
            self._send_records()
            self._put(layout.marker_name(step), marker)
            self._steps[step] = marker

    def _send_all(self, what: str, directory: str, snapshot: list[Opened]) -> dict[str, Object]:
        """Make the objects of a directory those of the snapshot."""
        started = time.monotonic()
        sent = {found.name: self._send(f"{directory}/{found.name}", found) for found in snapshot}
        self._remove([f"{directory}/{name}" for name in layout.below(directory, self._remote) if name not in sent])
        seconds, total = time.monotonic() - started, sum(found.size for found in sent.values())
        if seconds >= REPORT_SECONDS:
            rate = text.size(total / seconds)
            self._events.say(f"uploaded {what}: {text.size(total)} in {text.duration(seconds)} ({rate}/s)")
        return sent

    def _prune(self) -> None:
        """Remove steps that the disk has no more, and pieces of steps. The last step that somebody could resume from
        goes only when another is there."""
        local = {path.name for path in (self._output / layout.STEPS).glob("step-*")}
        other = any(step in self._steps for step in layout.committed_steps(self._output))
        for step in layout.steps_in(self._remote):
            marker = layout.marker_name(step)
            if step not in local and (other or marker not in self._remote):
                directory = f"{layout.STEPS}/{step}"
                self._remove([marker, *(f"{directory}/{name}" for name in layout.below(directory, self._remote))])
                self._steps.pop(step, None)

    def _send(self, name: str, source: Opened) -> Object:
        transfer = Transfer(f"upload {name}", source.size, self._events) if self.speaks else None
        source.file.seek(0)
        content = source.file.read() if source.size <= PART_BYTES else cast(IO[bytes], _Counted(source.file, transfer))
        return self._write(name, content, source.size)

    def _put(self, name: str, content: bytes) -> None:
        self._write(name, content, len(content))

    def _write(self, name: str, content: bytes | IO[bytes], size: int) -> Object:
        self._remote[name] = UNKNOWN  # if it fails: perhaps only the answer was lost
        self._remote[name] = self._place.write(name, content, size)
        return self._remote[name]

    def _remove(self, names: list[str]) -> None:
        """In this order."""
        for name in dict.fromkeys(names):
            if name in self._remote:
                self._place.delete([name])
                del self._remote[name]


class Watcher(threading.Thread):
    """Uploads while the trainer runs. Trouble is told and tried again; it never ends the training."""

    def __init__(self, uploader: Uploader, events: Events) -> None:
        super().__init__(name="upload", daemon=True)
        self._uploader = uploader
        self._events = events
        self._over = threading.Event()
        self._told: dict[str, float] = {}  # to people
        self._failing: str | None = None  # what the launcher was told last, and when
        self._failing_told = 0.0

    def run(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            try:
                self._uploader.sync()
                self.recovered()
            except (InputError, Unavailable) as error:
                self._warn(error.cause)
            except Exception as error:  # also a mistake of ours must not end the training; the last sync reports it
                self._warn(f"{type(error).__name__} while checkpoints are uploaded")

    def stop(self) -> None:
        """Let it finish what it is uploading."""
        self._uploader.speaks = True
        self._over.set()
        self.join()

    def recovered(self) -> None:
        """Everything is uploaded. Tells it, if there was trouble."""
        if self._failing is not None:
            self._failing = None
            self._events.emit("upload_ok")

    def _warn(self, cause: str) -> None:
        now = time.monotonic()
        if cause != self._failing or now - self._failing_told >= REPEAT_SECONDS:
            self._failing, self._failing_told = cause, now
            self._events.emit("upload_failing", message=cause)
        if now - self._told.get(cause, -REPEAT_SECONDS) >= REPEAT_SECONDS:
            self._told[cause] = now
            self._events.say(f"warning: {cause}; training goes on, and the upload is tried again")


class _Counted(io.RawIOBase):
    """A file that tells how much of it was read."""

    def __init__(self, file: IO[bytes], transfer: Transfer | None) -> None:
        self._file = file
        self._transfer = transfer

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        if self._transfer:
            self._transfer.add(len(content))
        return content


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _hash(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _identity(snapshot: list[Opened]) -> object:
    return [(found.name, found.identity) for found in snapshot]
