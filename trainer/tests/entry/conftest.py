from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from storage import Storage


@pytest.fixture(scope="session")
def shared_storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    storage = Storage(tmp_path_factory.mktemp("s3"))
    yield storage
    storage.close()


@pytest.fixture
def storage(shared_storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """The S3 server, with its credentials in the environment. A test takes a prefix of its own."""
    for name, value in shared_storage.env.items():
        monkeypatch.setenv(name, value)
    yield shared_storage
    shared_storage.calm()
