"""The private libvirtd with real guests, and the agent as a process, as the tests of :mod:`real` have them."""

from __future__ import annotations

import pytest

from real.conftest import lab, run_agent

from .oracle import Chance

__all__ = ["lab", "run_agent"]


@pytest.fixture(autouse=True)
def _chance(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave what a test does to chance in the long forms alone."""
    monkeypatch.setattr(Chance, "is_given", request.node.get_closest_marker("faults") is not None)
