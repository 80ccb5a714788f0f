"""The private libvirtd with real guests, and the agent as a process, as the tests of :mod:`real` have them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from real.conftest import lab, run_agent

from .debian import bare, debian_work, newer, package, root
from .oracle import Chance

__all__ = ["bare", "debian_work", "lab", "newer", "package", "root", "run_agent"]

MEMORY = Path("/dev/shm")
ROOM_BYTES = 48 << 20
"""What some histories and journals take, with their reserves; containers have 64 MiB there by default."""


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A folder in memory, where there is room: who is killed loses nothing that he has written, on whatever disk.

    So a program that syncs at every turn is killed there as well as anywhere, and in less than half the time.
    """
    has_room = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM_BYTES
    with tempfile.TemporaryDirectory(prefix="domstat-", dir=MEMORY if has_room else None) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def _chance(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave what a test does to chance in the long forms alone."""
    monkeypatch.setattr(Chance, "is_given", request.node.get_closest_marker("faults") is not None)
