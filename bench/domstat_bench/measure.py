"""What processes cost: CPU time to the nanosecond, memory without counting shared pages twice.

CPU time and not elapsed time, since it says the same on a busy machine: what a tick costs its host.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from msgspec import Struct

_CPUCLOCK_SCHED = 2


def cpu_ns(pid: int) -> int:
    """Return the CPU time of a whole process so far, user and system, all threads, those that ended included.

    It is the process's own CPU clock (clock_getcpuclockid(3)), whose number is made of the pid: /proc/PID/stat counts
    in steps of 10 ms, and /proc/PID/task forgets threads that ended.
    """
    return time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED)


def cpu_ns_of(pids: Iterable[int]) -> int:
    """Return the CPU time of several processes together."""
    return sum(map(cpu_ns, pids))


def pss_kib(pid: int) -> int:
    """Return the memory of a process in KiB, a page shared by n processes counted as 1/n (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise ValueError(f"/proc/{pid}/smaps_rollup names no Pss")


def children(pid: int) -> list[int]:
    """Return the pids of the processes that *pid* started and that have not been collected.

    A thread that ends hands its children to another, which may have been read already: all are read again then.

    :raises FileNotFoundError: there is no such process
    """
    tasks = Path(f"/proc/{pid}/task")
    while True:
        threads = set(tasks.iterdir())
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended
            found = [int(word) for thread in threads for word in (thread / "children").read_text().split()]
            if threads <= set(tasks.iterdir()):
                return found


def descendants(pid: int) -> list[int]:
    """Return the pids of all processes below *pid*; one that has just ended has none below it.

    :raises FileNotFoundError: there is no process *pid*
    """
    found = children(pid)
    for child in tuple(found):
        with suppress(FileNotFoundError):
            found += descendants(child)
    return found


class Sampled(Struct, frozen=True):
    """One quantity, measured several times."""

    values: list[float]

    @property
    def min(self) -> float:
        """The smallest value: the one that other work on the machine disturbed least."""
        return min(self.values)

    @property
    def median(self) -> float:
        """The middle value: what is to be expected."""
        return median(self.values)

    def to_json(self) -> dict[str, Any]:
        """Give everything, for files."""
        return {"min": self.min, "median": self.median, "values": self.values}


def sampled(values: Sequence[float]) -> Sampled:
    """Make a Sampled of at least one value."""
    if not values:
        raise ValueError("nothing was measured")
    return Sampled(list(values))


def head(connection: Any) -> dict[str, str]:
    """Say what is being measured on: versions and date; *connection* is libvirt's."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "python": platform.python_version(),
        "kernel": platform.release(),
        "processor": _processor(),
        "libvirt": _version(connection.getLibVersion()),
        "qemu": _version(connection.getVersion()),
    }


def _version(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{len(models)} x {models[0]}" if models else platform.machine()
