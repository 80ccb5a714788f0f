"""Looking at this machine: its kernel's switches, its clock, what is installed."""

from __future__ import annotations

import ctypes
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from domstat import __version__
from domstat.deliver.library import SQLITE_VERSION
from domstat.doctor.scene import ClockSeen, Versions

SCHEDSTATS = Path("/proc/sys/kernel/sched_schedstats")

STA_UNSYNC = 0x0040
"""linux/timex.h: nothing keeps the clock in time."""

TIMEX_BYTES = 256
"""More than struct timex takes on any machine (208 bytes where a long has 8)."""


class _Timex(ctypes.Structure):
    """The head of struct timex, see adjtimex(2)."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * TIMEX_BYTES),
    )


def schedstats(path: Path = SCHEDSTATS) -> str | None:
    """Read the kernel's switch for scheduler statistics, None where it has none."""
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def see_clock() -> ClockSeen | None:
    """Ask the kernel how the clock is; with no mode set adjtimex changes nothing, and anybody may ask."""
    timex = _Timex()
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):  # another libc
        return None
    if state < 0:
        return None
    return ClockSeen(not timex.status & STA_UNSYNC, timex.maxerror / 1e6)


def see_versions() -> Versions:
    """Say what is installed here."""
    try:
        bindings = version("libvirt-python")
    except PackageNotFoundError:  # a distribution's, without metadata
        bindings = ""
    return Versions(__version__, platform.python_version(), SQLITE_VERSION, bindings)
