"""Is the machine's NVIDIA driver new enough for the CUDA that torch was built with? Asked before torch asks the driver.

An old driver shows late and badly otherwise: "no GPU", an exception deep in torch, or a silent run on the CPU.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

from weighted_mtp.config import TrainConfig
from weighted_mtp.errors import DriverError

# By CUDA major release: within one, every driver since these will do ("minor version compatibility"). Table 1 of
# https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
MINIMUM_DRIVER = {11: 450, 12: 525, 13: 580}

KERNEL_MODULE = Path("/proc/driver/nvidia/version")


def check_driver(config: TrainConfig, dry_run: bool) -> None:
    """DriverError where the run wants CUDA and the driver is too old or missing.

    compute_backend auto wants CUDA where there is a driver. A dry run, which needs no GPU, may go without a driver.
    """
    wanted = config.distributed.compute_backend
    if wanted == "cpu":
        return
    actual = driver_version()
    if actual is None and (wanted == "auto" or dry_run):
        return
    from torch.version import cuda

    require(actual, cuda)


def require(actual: str | None, cuda: str | None) -> None:
    """DriverError unless driver `actual` ("580.65.06", None: there is none) runs what `cuda` ("13.2") built."""
    if cuda is None:
        raise DriverError("this torch was built without CUDA", "install requirements.lock, or set compute_backend=cpu")
    needed = MINIMUM_DRIVER[int(cuda.split(".")[0])]
    what = f"torch needs NVIDIA driver {needed} or newer (CUDA {cuda})"
    elsewhere = f"choose a cluster or preset whose nodes have driver {needed} or newer"
    if actual is None:
        raise DriverError(f"{what}, and there is no driver here", f"{elsewhere}, or start the container with its GPUs")
    if int(actual.split(".")[0]) < needed:
        raise DriverError(f"{what}, and this machine has {actual}", f"{elsewhere}, or have this one's driver updated")


def driver_version() -> str | None:
    """Version of the machine's driver, None without one. A container shares its host's."""
    return _from_kernel() or _from_nvml()


def _from_kernel() -> str | None:
    try:
        text = KERNEL_MODULE.read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"Kernel Module +(?:for \S+ +)?(\d+(?:\.\d+)+)", text)
    return found[1] if found else None


def _from_nvml() -> str | None:
    """For sandboxes with a /proc of their own."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    version = ctypes.create_string_buffer(80)  # NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE
    if nvml.nvmlInit_v2() != 0:
        return None
    try:
        return version.value.decode() if nvml.nvmlSystemGetDriverVersion(version, len(version)) == 0 else None
    finally:
        nvml.nvmlShutdown()
