"""The clocks that records are stamped with: wall time for storage, boot time for rates. Read here and nowhere else."""

from __future__ import annotations

import time

from domstat.model import Stamp

_BOOT_ID_FILE = "/proc/sys/kernel/random/boot_id"


def _read_boot_id() -> str:
    with open(_BOOT_ID_FILE, encoding="ascii") as file:  # noqa: PTH123 - workers load this, and pathlib costs memory
        return file.read().strip()


BOOT_ID = _read_boot_id()
"""Which boot of this machine CLOCK_BOOTTIME counts from."""


def now() -> Stamp:
    """Read the clocks."""
    return Stamp(time.time_ns() // 1_000_000, boot_ns(), BOOT_ID, 0)


def boot_ns() -> int:
    """Read the boot-time clock, which goes on while the machine sleeps and knows no steps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
