"""What happens to the machine's clocks: whether the wall clock was set between two readings, and how long it slept."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import Struct

STEP_S_MIN = 0.1
"""A smaller change of the wall clock is no step: ntpd itself slews up to 128 ms, and no tick is lost by it."""

SLEW_MAX = 0.1
"""Share of the elapsed time that a clock may be slewed by: chronyd does up to 8.3 %, the kernel 0.05 %."""

SUSPEND_S_MIN = 0.1
"""The boot-time and the monotonic clock differ by nothing but sleep; less than this is how exactly they are read."""

READ_NS_MAX = 10_000_000
"""Clocks that took longer to read, since the thread lost the processor in between, do not belong together."""

READS_MAX = 3
"""So often are the clocks read until they belong together; after that the next look has to do."""


class Reading(Struct, frozen=True, gc=False):
    """What the clocks said at one moment, in nanoseconds: since 1970, since the boot, and that without sleep."""

    wall_ns: int
    boot_ns: int
    monotonic_ns: int


def _boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Clocks(Struct, frozen=True):
    """The machine's clocks, in nanoseconds; tests bring their own."""

    wall_ns: Callable[[], int] = time.time_ns
    boot_ns: Callable[[], int] = _boot_ns
    monotonic_ns: Callable[[], int] = time.monotonic_ns

    def read(self) -> Reading | None:
        """Read all three at one moment; None where the processor was lost in between, every time."""
        for _ in range(READS_MAX):
            before_ns = self.boot_ns()
            wall_ns, monotonic_ns = self.wall_ns(), self.monotonic_ns()
            after_ns = self.boot_ns()
            if after_ns - before_ns <= READ_NS_MAX:
                return Reading(wall_ns, (before_ns + after_ns) // 2, monotonic_ns)
        return None


MACHINE = Clocks()


class Shift(Struct, frozen=True, gc=False):
    """What happened to the clocks between two readings of them, in nanoseconds.

    *wall_ns* is what the wall clock gained (lost, if negative) on the boot-time clock, *asleep_ns* how long the
    machine slept, *awake_ns* how long it did not.
    """

    wall_ns: int
    asleep_ns: int
    awake_ns: int

    @property
    def step_s(self) -> float:
        """By how many seconds the wall clock was set; 0.0 where it was not, or only slewed."""
        limit_ns = STEP_S_MIN * 1e9 + SLEW_MAX * self.awake_ns
        return self.wall_ns / 1e9 if abs(self.wall_ns) > limit_ns else 0.0

    @property
    def suspend_s(self) -> float:
        """For how many seconds the machine was suspended, 0.0 where it was not."""
        return self.asleep_ns / 1e9 if self.asleep_ns > SUSPEND_S_MIN * 1e9 else 0.0


def shift_between(earlier: Reading, later: Reading) -> Shift:
    """Compare two readings of the clocks."""
    awake_ns = later.monotonic_ns - earlier.monotonic_ns
    passed_ns = later.boot_ns - earlier.boot_ns
    return Shift(later.wall_ns - earlier.wall_ns - passed_ns, passed_ns - awake_ns, awake_ns)
