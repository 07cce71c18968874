"""How far a transfer is: a `phase` event every few seconds, which people can read too."""

from __future__ import annotations

import threading
import time

from weighted_mtp.entry import text
from weighted_mtp.events import Events

REPORT_SECONDS = 5.0


class Transfer:
    """Counts the bytes of one transfer. A transfer that is over before the first report says nothing."""

    def __init__(self, name: str, total: int, events: Events) -> None:
        self._name = name
        self._total = total
        self._events = events
        self._lock = threading.Lock()
        self._moved = 0
        self._started = self._reported = time.monotonic()

    def add(self, count: int) -> None:
        """`count` more bytes have moved; from any thread."""
        with self._lock:
            self._moved += count
            now = time.monotonic()
            if now - self._reported < REPORT_SECONDS:
                return
            self._reported = now
            line = self._line(now)
        self._events.emit("phase", name=line)

    def seconds(self) -> float:
        return time.monotonic() - self._started

    def _line(self, now: float) -> str:
        rate = self._moved / max(now - self._started, 1e-3)
        left = text.duration(max(0, self._total - self._moved) / rate) if rate else "unknown"
        return f"{self._name}: {text.size(self._moved)} of {text.size(self._total)}, {text.size(rate)}/s, ETA {left}"
