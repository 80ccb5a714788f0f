"""Thin disks are looked at closer only where they might fill."""

from __future__ import annotations

import numpy as np

from capacity.fleets import HOURS, T, asked
from capacity.made import GIB, Made
from domstat.capacity.grid import DAY_MS, Grid
from domstat.capacity.thin import growing


def candidates(**allocations: object) -> list[tuple[str, str]]:
    made = Made(count=HOURS)
    for name, allocation in allocations.items():
        made.guest(name, {"block.capacity[vda]": 100.0 * GIB, "block.allocation[vda]": allocation})  # type: ignore[dict-item]
    figures = asked(made)
    days = Grid.covering(made.since_ms, made.until_ms, DAY_MS)
    return [(one.guest.name, one.disk.device) for one in growing(figures, days)]


def test_a_disk_that_grows_is_found_and_one_that_stands_still_is_not() -> None:
    assert candidates(grows=(10 + T / 240) * GIB, stands=10.0 * GIB) == [("grows", "vda")]


def test_a_disk_that_grows_too_slowly_to_matter_is_not_read() -> None:
    assert candidates(slow=(10 + T / 24_000_000) * GIB) == []


def test_a_disk_that_is_all_written_is_not_thin() -> None:
    assert candidates(thick=np.full(HOURS, 100.0 * GIB)) == []


def test_what_is_soonest_full_comes_first() -> None:
    found = candidates(slow=(10 + T / 240) * GIB, fast=(10 + T / 60) * GIB)
    assert found == [("fast", "vda"), ("slow", "vda")]


def test_there_are_no_thin_disks_in_a_day() -> None:
    made = Made(count=24)
    made.guest("web", {"block.capacity[vda]": 100.0, "block.allocation[vda]": 10.0})
    assert list(growing(asked(made), Grid.covering(made.since_ms, made.until_ms, DAY_MS))) == []
