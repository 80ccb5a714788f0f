"""Faked workers, and looking at processes: for tests of the agent's side of a worker."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domstat.collect.process import WorkerProcess

FAKE = (sys.executable, str(Path(__file__).parent / "collect" / "fake_worker.py"))
"""The command of a worker whose URI says how it behaves."""

STARTED_S = 60.0
"""Far more than a worker's start takes on a busy machine: for questions whose deadline is not the point."""


def number_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell each faked worker how many were started before it.

    They cannot count themselves: on a busy machine one may be killed before it has come to that.
    """
    numbers = itertools.count()
    start = WorkerProcess.__init__

    def numbered(self: WorkerProcess, *arguments: Any) -> None:
        monkeypatch.setenv("DOMSTAT_FAKE_NUMBER", str(next(numbers)))
        start(self, *arguments)

    monkeypatch.setattr(WorkerProcess, "__init__", numbered)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def is_reaped(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def eventually(holds: Callable[[], bool], seconds: float = STARTED_S) -> bool:
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
