from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None, derandomize=True)
settings.load_profile("default")
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and data that tests only read; a test that trains takes `run_root`."""
    import tiny

    return tiny.make_workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture
def run_root(workspace: Path, tmp_path: Path) -> Path:
    """The workspace's models and data with an output and a score cache of its own."""
    for name in ("models", "datasets"):
        (tmp_path / name).symlink_to(workspace / name)
    return tmp_path


@pytest.fixture(scope="session")
def world():
    """A process group of one."""
    import torch.distributed as dist

    from weighted_mtp.config import Distributed
    from weighted_mtp.parallel import World

    world = World(Distributed(backend="gloo", compute_backend="cpu", mixed_precision="fp32"))
    yield world
    dist.destroy_process_group()
