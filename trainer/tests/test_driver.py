"""The NVIDIA driver: too old, missing, new enough; and what the lock needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from weighted_mtp import driver
from weighted_mtp.config import Distributed, TrainConfig
from weighted_mtp.driver import MINIMUM_DRIVER, check_driver, driver_version, require
from weighted_mtp.errors import DriverError

TRAINER = Path(__file__).resolve().parents[1]
LOCK = (TRAINER / "requirements.lock").read_text()
PROPRIETARY = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\nGCC: 12\n"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (builder)\n"


def config(compute_backend: str) -> TrainConfig:
    return TrainConfig(pipeline="ntp", distributed=Distributed(compute_backend=compute_backend))


def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str | None) -> None:
    """A machine whose kernel says `version`, None: one without a driver."""
    file = tmp_path / "version"
    if version is not None:
        file.write_text(version)
    monkeypatch.setattr(driver, "KERNEL_MODULE", file)
    monkeypatch.setattr(driver, "_from_nvml", lambda: None)


@pytest.mark.parametrize(("text", "version"), [(PROPRIETARY, "535.104.05"), (OPEN, "580.65.06"), ("what", None)])
def test_version_that_the_kernel_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, version: str | None
) -> None:
    machine(monkeypatch, tmp_path, text)
    assert driver_version() == version


def test_too_old_says_what_is_there_what_is_needed_and_what_to_do() -> None:
    with pytest.raises(DriverError) as error:
        require("535.104.05", "13.2")
    assert error.value.cause == "torch needs NVIDIA driver 580 or newer (CUDA 13.2), and this machine has 535.104.05"
    assert "choose a cluster or preset whose nodes have driver 580 or newer" in error.value.remedy


@pytest.mark.parametrize("actual", ["580.65.06", "580.126.09", "590.44.01", "1000.1"])
def test_new_enough(actual: str) -> None:
    require(actual, "13.2")


@pytest.mark.parametrize(("backend", "dry_run"), [("cuda", False), ("cuda", True), ("auto", False), ("auto", True)])
def test_an_old_driver_is_refused_wherever_cuda_would_be_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, backend: str, dry_run: bool
) -> None:
    machine(monkeypatch, tmp_path, PROPRIETARY)
    monkeypatch.setattr("torch.version.cuda", "13.2")
    with pytest.raises(DriverError, match="this machine has"):
        check_driver(config(backend), dry_run)


def test_the_cpu_asks_for_no_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, tmp_path, PROPRIETARY)
    check_driver(config("cpu"), dry_run=False)


def test_without_a_driver_only_a_run_that_insists_on_cuda_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine(monkeypatch, tmp_path, None)
    check_driver(config("auto"), dry_run=False)
    check_driver(config("cuda"), dry_run=True)
    with pytest.raises(DriverError, match="there is no driver here"):
        check_driver(config("cuda"), dry_run=False)


@pytest.mark.skipif(driver_version() is not None, reason="this machine has a driver")
def test_a_pipeline_asks_before_it_reads_or_trains_anything(tmp_path: Path) -> None:
    argv = ["--config", str(TRAINER / "configs/ntp/ntp.yaml"), "--override", "distributed.compute_backend=cuda"]
    argv += ["--override", f"paths.models={tmp_path}", "--override", f"paths.output={tmp_path / 'out'}"]
    done = subprocess.run(
        [sys.executable, "-m", "weighted_mtp.pipelines.run_ntp", *argv],
        env={**os.environ, "PYTHONPATH": str(TRAINER / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert re.search(r"^error: torch needs NVIDIA driver \d+ or newer \(CUDA [\d.]+\), and there is no", done.stderr)
    last = json.loads(done.stdout.splitlines()[-1].split(" ", 1)[-1])
    assert last["code"] == 2 and "driver" in last["remedy"]
    assert not (tmp_path / "out").exists()


def locked(package: str) -> tuple[int, ...]:
    found = re.search(rf"^{package}==([\d.]+)", LOCK, re.MULTILINE)
    assert found, f"{package} is not in requirements.lock"
    return tuple(map(int, found[1].split(".")))


def test_the_locked_torch_is_at_least_2_6() -> None:
    """Older ones execute what is in a pickled checkpoint."""
    assert locked("torch") >= (2, 6)


def test_the_driver_that_the_locked_cuda_needs_is_known() -> None:
    assert locked("cuda-toolkit")[0] in MINIMUM_DRIVER
