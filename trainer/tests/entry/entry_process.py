"""One attempt of the entry point in a directory that stands for the container's."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from storage import SECRET

FAKE = Path(__file__).with_name("fake_trainer.py")
SOURCE = Path(__file__).resolve().parents[2] / "src"
FINGERPRINT = "f" * 64
PLANTED = {"MLFLOW_TRACKING_PASSWORD": "planted-tracker-password", "HF_TOKEN": "planted-hf-token"}
ENDS_SECONDS = 60


class Run:
    """One attempt in a directory that stands for the container's /app."""

    def __init__(self, app: Path, arguments: list[str], env: dict[str, str], command: list[str]) -> None:
        app.mkdir(exist_ok=True)
        self.app = app
        self.log = app.parent / f"{app.name}.log"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "weighted_mtp.entry", *arguments, "--", *command],
            cwd=app, env=env, stdout=self.log.open("wb"), stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def events(self) -> list[dict[str, Any]]:
        lines = [line.removeprefix("[wmtp] ") for line in self.output.splitlines() if line.startswith("[wmtp] {")]
        return [json.loads(line) for line in lines if line.endswith("}")]

    def last(self, name: str) -> dict[str, Any]:
        return [event for event in self.events if event["event"] == name][-1]

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + ENDS_SECONDS
        while not condition():
            assert time.monotonic() < deadline, self.output
            assert self.process.poll() is None, self.output
            time.sleep(0.02)

    def says(self, text: str) -> None:
        self.until(lambda: text in self.output)

    def ends(self) -> int:
        code = self.process.wait(ENDS_SECONDS)
        for secret in (SECRET, *PLANTED.values()):
            assert secret not in self.output
        return code

    def kill(self) -> None:
        """A power cut: all of the container."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
