"""Figures over time: a grid of equal steps, and matrices of one row a subject and one column a step. Pure.

NaN stands for what is not known, inside of this package only: :mod:`.explained` lets none out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import numpy as np
from msgspec import Struct

if TYPE_CHECKING:
    import numpy.typing as npt

FloatArray: TypeAlias = "npt.NDArray[np.float64]"
KeyT = TypeVar("KeyT", bound=Hashable)
OtherT = TypeVar("OtherT", bound=Hashable)

MINUTE_MS = 60_000
FIVE_MINUTES_MS = 5 * MINUTE_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

DAY_KNOWN = 0.5
"""Share of a day's steps that must be known for the day to have a figure: of a night alone there is no peak."""


class Grid(Struct, frozen=True):
    """*count* steps of *step_ms* each from *since_ms* on, which is a multiple of the step since 1970, in UTC."""

    since_ms: int
    step_ms: int
    count: int

    @classmethod
    def covering(cls, since_ms: int, until_ms: int, step_ms: int) -> Grid:
        """Return the whole steps that lie between two times, and the one that the first time is in."""
        first_ms = since_ms // step_ms * step_ms
        return cls(first_ms, step_ms, max(0, (until_ms - first_ms) // step_ms))

    @property
    def until_ms(self) -> int:
        """Where the last step ends."""
        return self.since_ms + self.count * self.step_ms

    @property
    def step_name(self) -> str:
        """What a step is called in an explanation: ``five-minute``, ``hourly``, ``daily``."""
        names = {FIVE_MINUTES_MS: "five-minute", HOUR_MS: "hourly", DAY_MS: "daily"}
        return names.get(self.step_ms, f"{self.step_ms // 1000} s")

    def row(self, time_ms: npt.NDArray[np.int64], values: FloatArray) -> FloatArray:
        """Put values that begin at such times into their steps; what has none is NaN."""
        row = np.full(self.count, np.nan)
        places = (time_ms - self.since_ms) // self.step_ms
        inside = (places >= 0) & (places < self.count)
        row[places[inside]] = values[inside]
        return row


class Matrix(Generic[KeyT]):
    """One row of figures for each key, one column for each step of a grid.

    *coverage* says of each row what share of the grid's span was seen. Rows are shared: who changes one copies it.
    """

    def __init__(
        self,
        grid: Grid,
        keys: Sequence[KeyT],
        values: FloatArray,
        coverage: FloatArray,
    ) -> None:
        self.grid = grid
        self.keys = tuple(keys)
        self.values = values
        self.coverage = coverage

    @cached_property
    def places(self) -> dict[KeyT, int]:
        """Which row each key has."""
        return {key: place for place, key in enumerate(self.keys)}

    def __contains__(self, key: KeyT) -> bool:
        return key in self.places

    def row(self, key: KeyT) -> FloatArray:
        """Return a key's figures, all unknown where it has none."""
        place = self.places.get(key)
        return np.full(self.grid.count, np.nan) if place is None else self.values[place]

    def covered(self, key: KeyT) -> float:
        """Return what share of the span was seen of a key."""
        place = self.places.get(key)
        return 0.0 if place is None else float(self.coverage[place])

    def merged(self, key_of: Callable[[KeyT], OtherT], how: Merging) -> Matrix[OtherT]:
        """Put rows together whose keys are one by *key_of*.

        What different rows have seen adds up where they are of different times, as :func:`first_known` takes them.
        """
        covered_by = np.sum if how is first_known else np.max
        groups: dict[OtherT, list[int]] = {}
        for place, key in enumerate(self.keys):
            groups.setdefault(key_of(key), []).append(place)
        values = np.full((len(groups), self.grid.count), np.nan)
        coverage = np.zeros(len(groups))
        for place, rows in enumerate(groups.values()):
            values[place] = self.values[rows[0]] if len(rows) == 1 else how(self.values[rows])
            coverage[place] = min(1.0, covered_by(self.coverage[rows]))
        return Matrix(self.grid, tuple(groups), values, coverage)


Merging: TypeAlias = Callable[[FloatArray], FloatArray]
"""Makes one row of several."""


def total(rows: FloatArray) -> FloatArray:
    """Add rows up; a step is known where any of them is."""
    added: FloatArray = np.nansum(rows, axis=0)
    added[np.isnan(rows).all(axis=0)] = np.nan
    return added


def greatest(rows: FloatArray) -> FloatArray:
    """Return the greatest of rows in each step."""
    highest: FloatArray = np.fmax.reduce(rows, axis=0)
    return highest


def first_known(rows: FloatArray) -> FloatArray:
    """Return in each step the first row's figure that is known: the same thing, told by several."""
    chosen: FloatArray = rows[0].copy()
    for row in rows[1:]:
        np.copyto(chosen, row, where=np.isnan(chosen))
    return chosen


def of(grid: Grid, rows: Iterable[tuple[KeyT, FloatArray, float]]) -> Matrix[KeyT]:
    """Make a matrix of (key, row, coverage)."""
    found = list(rows)
    values = np.array([row for _, row, _ in found]) if found else np.empty((0, grid.count))
    coverage = np.array([covered for _, _, covered in found], dtype=np.float64)
    return Matrix(grid, [key for key, _, _ in found], values, coverage)


def known(values: FloatArray) -> FloatArray:
    """Return what is known of some figures."""
    return values[~np.isnan(values)]


def last_known(values: FloatArray) -> float | None:
    """Return the last figure that is known, None where none is."""
    places = np.flatnonzero(~np.isnan(values))
    return float(values[places[-1]]) if len(places) else None


def carried(values: FloatArray) -> FloatArray:
    """Let each figure that is known stand until the next one, and the first also before itself."""
    places = np.flatnonzero(~np.isnan(values))
    if not len(places):
        return values
    latest = np.maximum.accumulate(np.where(np.isnan(values), places[0], np.arange(len(values))))
    found: FloatArray = values[latest]
    return found


def seen(values: FloatArray) -> float:
    """Return which share of all steps known ones stand for: each for as many as there usually are to the next.

    So neither figures that are further apart than steps count as holes, nor do holes count as seen.
    """
    places = np.flatnonzero(~np.isnan(values))
    if not len(places):
        return 0.0
    apart = np.diff(places)
    usual = 1 if not len(apart) or len(apart) == places[-1] - places[0] else int(np.bincount(apart).argmax())
    return min(1.0, len(places) * usual / len(values))


def quantile(values: FloatArray, share: float) -> float | None:
    """Return the smallest known figure that *share* of all known ones does not exceed; None where none is known.

    The definition that :meth:`domstat.history.History.quantiles` has.
    """
    found = known(values)
    if not len(found):
        return None
    place = min(max(int(np.ceil(share * len(found))) - 1, 0), len(found) - 1)
    return float(np.partition(found, place)[place])


def by_day(values: FloatArray, grid: Grid, share: float) -> tuple[Grid, FloatArray]:
    """Return one figure for each whole day (UTC) of a grid: the :func:`quantile` of the day's known figures.

    A day of which less than DAY_KNOWN is known has none, and so has one that is not over.
    """
    per_day = DAY_MS // grid.step_ms
    lead = (grid.since_ms - grid.since_ms // DAY_MS * DAY_MS) // grid.step_ms
    days = Grid(grid.since_ms // DAY_MS * DAY_MS, DAY_MS, (lead + grid.count) // per_day)
    padded = np.concatenate([np.full(lead, np.nan), values])[: days.count * per_day].reshape(days.count, per_day)
    counts = (~np.isnan(padded)).sum(axis=1)
    ordered = np.sort(padded, axis=1)  # NaN comes last
    places = np.clip(np.ceil(share * counts).astype(np.int64) - 1, 0, per_day - 1)
    figures = ordered[np.arange(days.count), places] if days.count else np.empty(0)
    figures[counts < DAY_KNOWN * per_day] = np.nan
    return days, figures
