"""`curve.jsonl`: one line an optimizer step, the record that the tracker and the tests are filled from."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from weighted_mtp.events import clean


class Curve:
    """Written by rank 0. A resumed run cuts off what came after its checkpoint and writes it again."""

    def __init__(self, path: Path, enabled: bool) -> None:
        self.path = path
        self._enabled = enabled
        self._file: Any = None

    def open(self, keep_to_step: int) -> list[dict[str, Any]]:
        """Keep the points up to that step, drop the rest -> the kept points."""
        if not self._enabled:
            return []
        points = [point for point in read_curve(self.path) if point["step"] <= keep_to_step]
        temporary = self.path.with_name(self.path.name + ".tmp")
        temporary.write_text("".join(json.dumps(point) + "\n" for point in points), encoding="utf-8")
        temporary.replace(self.path)
        self._file = self.path.open("a", encoding="utf-8")
        return points

    def add(self, point: dict[str, Any]) -> None:
        if self._file:
            self._file.write(json.dumps(clean(point)) + "\n")
            self._file.flush()

    def sync(self) -> None:
        if self._file:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file:
            self.sync()
            self._file.close()
            self._file = None


def read_curve(path: Path) -> list[dict[str, Any]]:
    """The points of a curve; a last line cut short by a kill is left out."""
    points = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                points.append(json.loads(line))
            except ValueError:
                break
    return points
