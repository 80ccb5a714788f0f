"""The clocks that records are stamped with."""

from __future__ import annotations

import time
import uuid

from domstat import clock


def test_the_boot_is_named_by_the_kernel() -> None:
    assert str(uuid.UUID(clock.BOOT_ID)) == clock.BOOT_ID


def test_a_stamp_has_wall_time_in_milliseconds_and_boot_time_in_nanoseconds() -> None:
    before_ms, before_ns = time.time_ns() // 1_000_000, time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    stamp = clock.now()
    assert before_ms <= stamp.time_ms <= time.time_ns() // 1_000_000
    assert before_ns <= stamp.boot_ns <= clock.boot_ns()
    assert (stamp.boot_id, stamp.call_ns) == (clock.BOOT_ID, 0)


def test_the_boot_time_clock_goes_on_and_counts_the_time_asleep() -> None:
    assert clock.boot_ns() <= clock.boot_ns()
    monotonic_ns = time.monotonic_ns()
    assert monotonic_ns <= clock.boot_ns(), "the one that stands still meanwhile"
