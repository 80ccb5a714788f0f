"""Thin disks: which of them fill, read no closer than it takes to know.

A fleet has thousands of disks, most of which do not grow. Two looks, now and a while ago, tell which might be full
within the horizon; only of these every day is read.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from domstat.capacity.fleet import Disk, Guest, State
from domstat.capacity.gather import Figures, Key
from domstat.capacity.grid import DAY_MS, FloatArray, Grid, last_known
from domstat.history import Aggregate

BACK_DAYS = 30
"""How long ago the other look is; in a younger history the first day."""

PAST_DAYS = 90
"""How much of the past is projected: what its guest did with the disk lately. Nutanix begins with as much."""

MARGIN = 3.0
"""A disk is looked at closer if it were full within the horizon at so many times the pace it had."""

CLOSER_MAX = 100
"""Disks that are read day by day, those that are soonest full at their pace."""


class Growing(Struct, frozen=True):
    """A thin disk that grows, and what of it was written at the end of each day."""

    guest: Guest
    disk: Disk
    daily: FloatArray
    covered: float


def days_of(figures: Figures) -> Grid:
    """Return the days of which disks are looked at, up to today."""
    since_ms = max(figures.past().since_ms, figures.now_ms - PAST_DAYS * DAY_MS)
    return Grid.covering(since_ms, figures.now_ms + DAY_MS - 1, DAY_MS)


def growing(figures: Figures, days: Grid) -> Iterator[Growing]:
    """Give the thin disks of running guests that might be full within the horizon. Raises HistoryError."""
    found = sorted(_candidates(figures, days), key=lambda candidate: candidate[0])[:CLOSER_MAX]
    if not found:
        return
    uuids = tuple(sorted({guest.uuid for _, guest, _ in found}))
    read = figures.disks("block.allocation", days, Aggregate.LAST, only=uuids)
    for _, guest, disk in found:
        key = Key(uuid=guest.uuid, device=disk.device)
        if key in read:
            yield Growing(guest, disk, read.row(key), read.covered(key))


def _candidates(figures: Figures, days: Grid) -> Iterator[tuple[float, Guest, Disk]]:
    """Give disks with the days until they are full at their pace."""
    disks = [(guest, disk) for guest in figures.fleet.on_any(State.RUNNING) for disk in guest.disks if _is_thin(disk)]
    if not disks or days.count < 2:
        return
    back = min(BACK_DAYS, days.count - 1)
    then = Grid(days.until_ms - (back + 1) * DAY_MS, DAY_MS, 1)
    before = figures.disks("block.allocation", then, Aggregate.LAST)
    horizon_days = figures.settings.horizon / 86_400
    for guest, disk in disks:
        earlier = last_known(before.row(Key(uuid=guest.uuid, device=disk.device)))
        grown = 0.0 if earlier is None else (disk.allocation or 0.0) - earlier
        left = (disk.capacity or 0.0) - (disk.allocation or 0.0)
        if grown > 0 and left / grown * back <= MARGIN * horizon_days:
            yield left / grown * back, guest, disk


def _is_thin(disk: Disk) -> bool:
    return disk.capacity is not None and disk.allocation is not None and disk.allocation < disk.capacity
