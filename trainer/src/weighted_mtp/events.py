"""What the trainer says on stdout: lines for people, and `[wmtp] {json}` lines for the launcher (rank 0 only)."""

from __future__ import annotations

import json
import math
import sys
from typing import Any


def clean(value: Any) -> Any:
    """JSON has no NaN or infinity: they become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item) for item in value]
    return value


class Events:
    """Prints on rank 0, is silent on the others."""

    def __init__(self, enabled: bool, verbose: bool = False) -> None:
        self.enabled = enabled
        self.verbose = verbose

    def emit(self, event: str, **fields: Any) -> None:
        """One machine line. A single write, so that lines of two processes never mix."""
        if self.enabled:
            sys.stdout.write("[wmtp] " + json.dumps(clean({"event": event, **fields})) + "\n")
            sys.stdout.flush()

    def say(self, text: str) -> None:
        """One line for people."""
        if self.enabled:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def detail(self, text: str) -> None:
        """One line for people who asked for more (`--verbose`)."""
        if self.verbose:
            self.say(text)
