"""Sandboxes for the tests: one that isolates, one that is made to believe that it cannot."""

import pytest

from weighted_mtp.preparation.sandbox import Limits, Sandbox


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    """The real thing. Where it refuses, these tests fail: a machine that prepares data needs it."""
    return Sandbox(Limits(cpu_seconds=2, wall_seconds=5))


@pytest.fixture
def bare(monkeypatch) -> Sandbox:
    """No isolation: shows that an attempt works when nothing stops it, so that its test can fail."""
    with monkeypatch.context() as patch:
        patch.setattr(Sandbox, "_why_not", lambda self: "made up")
        return Sandbox(Limits(cpu_seconds=2, wall_seconds=5), allow_unsandboxed=True)
