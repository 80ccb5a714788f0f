"""What happens to the machine's clocks between two readings of them."""

from __future__ import annotations

import time

import pytest

from domstat.shifts import MACHINE, READ_NS_MAX, READS_MAX, Clocks, Reading, shift_between

NOW_S = 1_795_385_704


def reading(wall_s: float, boot_s: float, monotonic_s: float) -> Reading:
    return Reading(*(round(seconds * 1e9) for seconds in (wall_s, boot_s, monotonic_s)))


BEFORE = reading(NOW_S, 500, 400)


@pytest.mark.parametrize(
    ("wall_s", "boot_s", "monotonic_s", "step_s", "suspend_s"),
    [
        (1, 1, 1, 0, 0),
        (2, 1, 1, 1, 0),
        (0, 1, 1, -1, 0),
        (1.5, 1, 1, 0.5, 0),
        (-3599, 1, 1, -3600, 0),
        (1.083, 1, 1, 0, 0),  # as fast as chronyd slews
        (0.917, 1, 1, 0, 0),
        (54.15, 50, 50, 0, 0),  # the same, after the guard had to wait for the processor
        (601, 601, 1, 0, 600),
        (602, 601, 1, 1, 600),
        (1.09, 1.09, 1, 0, 0),  # no sleep is so short
    ],
)
def test_steps_and_sleep_are_told_from_slewing(
    wall_s: float, boot_s: float, monotonic_s: float, step_s: float, suspend_s: float
) -> None:
    shift = shift_between(BEFORE, reading(NOW_S + wall_s, 500 + boot_s, 400 + monotonic_s))
    assert (shift.step_s, shift.suspend_s) == pytest.approx((step_s, suspend_s))


def test_the_machines_own_clocks_are_read_at_one_moment() -> None:
    readings = [MACHINE.read(), MACHINE.read()]
    one, other = (found for found in readings if found is not None)
    shift = shift_between(one, other)
    assert (shift.step_s, shift.suspend_s) == (0, 0)
    assert abs(one.wall_ns - time.time_ns()) < 10e9
    assert one.boot_ns >= one.monotonic_ns - READ_NS_MAX


def test_clocks_between_whose_readings_the_processor_was_lost_do_not_count() -> None:
    times = iter(range(0, 10**12, 10**9))  # each look at the clock is a second later than the one before
    slow = Clocks(boot_ns=lambda: next(times))
    assert slow.read() is None
    assert next(times) == 2 * READS_MAX * 10**9, "it is not tried for ever"


def test_clocks_are_read_once_more_before_that() -> None:
    times = iter([0, 10**9, 2 * 10**9, 2 * 10**9 + 2000])
    assert Clocks(lambda: 7, lambda: next(times), lambda: 5).read() == Reading(7, 2 * 10**9 + 1000, 5)
