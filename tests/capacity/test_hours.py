"""When hosts are busy."""

from __future__ import annotations

import numpy as np
import pytest

from capacity.made import GIB_KIB, Made
from domstat.capacity.gather import Figures, Selection
from domstat.capacity.hours import HOURS_OF_WEEK, hours

DAYS = 28
HOURS = np.arange(24 * DAYS)
BY_DAY = 0.2 + 0.5 * (HOURS % 24 == 9)
"""Busy from nine to ten each day."""


def asked(made: Made, guests: tuple[str, ...] = ()) -> Figures:
    return Figures(made, made.until_ms, None, Selection(guests=guests))


def made_of(utilization: object) -> Made:
    made = Made(count=24 * DAYS)
    memory = {"host.memory.total": GIB_KIB, "host.memory.used": 0.0}
    made.host("kvm1", {"host.cpus": 16, "host.cpu.utilization": utilization, **memory})  # type: ignore[dict-item]
    return made


def test_the_hour_in_which_a_host_is_busy_is_found() -> None:
    (host,) = hours(asked(made_of(BY_DAY))).hosts
    assert host.day == pytest.approx([0.7 if hour == 9 else 0.2 for hour in range(24)])


def test_the_day_on_which_a_host_is_busy_is_found_and_a_week_begins_on_monday() -> None:
    # The made history begins on a Thursday: Monday is its fifth day.
    on_mondays = np.where((HOURS // 24 % 7 == 4) & (HOURS % 24 == 0), 1.0, 0.1)
    found = hours(asked(made_of(on_mondays)))
    (host,) = found.hosts
    assert found.has_weeks
    assert host.week == pytest.approx([1.0 if hour == 0 else 0.1 for hour in range(HOURS_OF_WEEK)])


def test_a_peak_is_what_most_days_do_not_exceed() -> None:
    rises = np.where(HOURS % 24 == 3, HOURS // 24 / 100, 0.0)
    (host,) = hours(asked(made_of(rises))).hosts
    assert host.peaks[3] == pytest.approx(0.26)  # the 27th of 28
    assert host.day[3] == pytest.approx(np.arange(DAYS).mean() / 100)


def test_an_hour_that_was_never_seen_is_not_known() -> None:
    (host,) = hours(asked(made_of(np.where(HOURS % 24 == 5, np.nan, 0.2)))).hosts
    assert (host.day[5], host.peaks[5]) == (None, None)
    assert host.day[4] == pytest.approx(0.2)


def test_a_host_that_does_not_say_how_many_cpus_it_has_is_named() -> None:
    made = made_of(BY_DAY)
    made.guest("web-1", {"cpu.cores": 1.0 + 0 * BY_DAY, "vcpu.current": 2}, host="kvm2")
    found = hours(asked(made))
    assert [host.host for host in found.hosts] == ["kvm1"]
    assert found.unknown == ("kvm2",)


def test_of_some_guests_it_is_what_these_use_of_their_host() -> None:
    made = made_of(BY_DAY)
    made.guest("web-1", {"cpu.cores": 4.0 + 0 * BY_DAY, "vcpu.current": 8})
    (host,) = hours(asked(made, guests=("web-1",))).hosts
    assert host.day == pytest.approx([0.25] * 24)


def test_without_a_week_there_are_no_days_of_it() -> None:
    made = made_of(BY_DAY)
    found = hours(Figures(made, made.until_ms, None, Selection(since_ms=made.until_ms - 2 * 24 * 3_600_000)))
    assert not found.has_weeks
    assert found.days == 2
