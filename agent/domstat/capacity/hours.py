"""When hosts are busy: how much of each host's CPUs is in use, by hour of the day and by hour of the week, in UTC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from domstat.capacity import demand
from domstat.capacity.demand import Resource
from domstat.capacity.gather import Figures
from domstat.capacity.grid import DAY_MS, HOUR_MS, FloatArray, Grid, quantile

if TYPE_CHECKING:
    import numpy.typing as npt

HOURS_OF_DAY, HOURS_OF_WEEK = 24, 168

MONDAY_HOUR = 4 * 24
"""The first hour of a week since 1970, which began on a Thursday."""


class Busy(Struct, frozen=True):
    """One host: the mean share of its threads that is in use, by hour of the day and of the week (Monday first).

    *peaks* are, by hour of the day, what is not exceeded for the share `peak` of the days. None where nothing is known.
    """

    host: str
    day: tuple[float | None, ...]
    peaks: tuple[float | None, ...]
    week: tuple[float | None, ...]


class Hours(Struct, frozen=True):
    """All hosts, by name; *over* is what was looked at, *unknown* are hosts of which that cannot be said."""

    over: Grid
    hosts: tuple[Busy, ...]
    unknown: tuple[str, ...]

    @property
    def days(self) -> float:
        """How many days were looked at."""
        return self.over.count * HOUR_MS / DAY_MS

    @property
    def has_weeks(self) -> bool:
        """Whether a whole week was looked at, so that its days can be told apart."""
        return self.over.count >= HOURS_OF_WEEK


def hours(figures: Figures) -> Hours:
    """Say when hosts are busy, over the window. Raises HistoryError."""
    window = figures.window(1)
    over = Grid.covering(window.since_ms, figures.now_ms, HOUR_MS)
    asked = demand.of_hosts(figures, Resource.CPU, over)
    found, unknown = [], []
    for host in figures.fleet.hosts:
        values = asked[host.name].values
        if host.threads and not np.isnan(values).all():
            found.append(_busy(host.name, values / host.threads, over, figures.settings.peak))
        else:
            unknown.append(host.name)
    return Hours(over, tuple(found), tuple(unknown))


def _busy(host: str, shares: FloatArray, over: Grid, peak: float) -> Busy:
    numbers: npt.NDArray[np.int64] = over.since_ms // HOUR_MS + np.arange(over.count, dtype=np.int64)
    by_day = list(_parts(shares, numbers % HOURS_OF_DAY, HOURS_OF_DAY))
    by_week = _parts(shares, (numbers - MONDAY_HOUR) % HOURS_OF_WEEK, HOURS_OF_WEEK)
    return Busy(
        host,
        tuple(_mean(part) for part in by_day),
        tuple(quantile(part, peak) for part in by_day),
        tuple(_mean(part) for part in by_week),
    )


def _parts(values: FloatArray, places: npt.NDArray[np.int64], count: int) -> Iterator[FloatArray]:
    """Give for each hour what is known of it."""
    is_known = ~np.isnan(values)
    for place in range(count):
        yield values[is_known & (places == place)]


def _mean(values: FloatArray) -> float | None:
    return float(values.mean()) if len(values) else None
