"""Processes whose wall clock can be set while they run, and nothing else of theirs: Debian's libfaketime."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from pathlib import Path

import pytest

STEPS_S = {
    "a second forward": 1.0,
    "a second back": -1.0,
    "an hour forward": 3600.0,
    "an hour back": -3600.0,
    "30 days forward": 30 * 86400.0,
    "30 days back": -30 * 86400.0,
}
"""By how much a clock is set, step after step: in the end it is right again."""


SLEEP = """
import select
import time

time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""
"""What such a process begins with: libfaketime 0.9.10 breaks the sleep of Python 3.11 where it is to leave the
monotonic clock alone (wolfcw/libfaketime#426)."""


class WallClock:
    """The wall clock of the processes that are started with its environment; libfaketime reads it from a file.

    Clocks that count from the boot are left alone, and so are waiting times and the times of files.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "wall-clock"
        self._modules = folder / "start"
        self._modules.mkdir(exist_ok=True)
        (self._modules / "sitecustomize.py").write_text(SLEEP)
        self.off_s = 0.0
        self.set(0.0)

    @property
    def env(self) -> dict[str, str]:
        """The environment of a process, and of those it starts, that shall have this clock."""
        # The one for programs with threads: the other reads the file, and keeps what it has read, without a lock.
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not libraries:
            pytest.skip("a clock that can be set needs Debian's package faketime: ./dev test installs it")
        return {
            **os.environ,
            "LD_PRELOAD": str(libraries[0]),
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "PYTHONPATH": os.pathsep.join([str(self._modules), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }

    def set(self, off_s: float) -> None:
        """Have the clock differ from the machine's by *off_s* from now on."""
        self.off_s = off_s
        new = self._file.with_suffix(".new")
        new.write_text(f"{off_s:+.3f}")
        new.rename(self._file)  # at once: no half of a number is ever read

    def step(self, by_s: float) -> None:
        """Set the clock forward, or back where *by_s* is negative."""
        self.set(self.off_s + by_s)

    def step_to_1970(self) -> None:
        """Set the clock to where a machine without a battery begins."""
        self.set(60 - time.time())


def boot_s() -> float:
    """Return the seconds since the boot, which no step changes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def rss_kib(pid: int) -> int:
    """Return how much memory of a process is resident."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def missed(times_s: list[float], interval_s: float) -> int:
    """Count the ticks that are missing between the first and the last of these, which are boot times."""
    return sum(max(0, round((b - a) / interval_s) - 1) for a, b in pairwise(times_s))
