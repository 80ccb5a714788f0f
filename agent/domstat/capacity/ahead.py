"""Series ahead, each with its interval, and how well the same method would have done in its past."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator

from msgspec import Struct

from domstat.capacity.explained import Figure, Unit, given, missing
from domstat.capacity.forecasting import FloatArray, Projection, Refused, Series, backtest, project_many
from domstat.capacity.gather import Figures, Key
from domstat.capacity.grid import DAY_MS, Grid, Matrix
from domstat.catalog import DERIVED, FieldKind, look_up
from domstat.history import Aggregate

ORIGINS = 8
"""Points of the past that are projected from in a backtest."""

SERIES_MAX = 20
"""Series that one call projects; of more nobody reads the answer."""

STEPS_MAX = 10_000
"""Steps ahead."""


class Asked(Struct, frozen=True):
    """Of which field and devices (patterns; none are all), how far ahead, in which steps, of what of each step."""

    field: str
    devices: tuple[str, ...] = ()
    ahead_ms: int = 30 * DAY_MS
    step_ms: int = DAY_MS
    how: Aggregate | None = None


class Ahead(Struct, frozen=True):
    """One series ahead. *projection* is None where there is none, and *note* says why.

    *mase_last* and *mase_seasonal* are the mean error in the past relative to that of saying the last value, and that
    of saying what was a week (else a day) before: below 1 is better. *inside* is the share of what came that the
    interval held. *steps* is the grid of *values*, which is what was.
    """

    host: str
    name: str
    device: str
    unit: Unit
    steps: Grid
    values: FloatArray
    projection: Projection | None
    mase_last: Figure
    mase_seasonal: Figure
    inside: Figure
    note: str = ""


class Answer(Struct, frozen=True):
    """The series, by name; *left_out* more were too many. *is_young*: not even one step is over."""

    series: tuple[Ahead, ...]
    left_out: int
    is_young: bool = False


def ahead(figures: Figures, asked: Asked) -> Answer:
    """Project the series of a field. Raises HistoryError, and ValueError for a field that nothing can be said of."""
    kind = look_up(asked.field).kind
    if asked.field not in DERIVED and kind not in {FieldKind.COUNTER, FieldKind.GAUGE}:
        raise ValueError("a counter, a gauge or a derived value: there is no telling where states go")
    over = Grid.covering(figures.past().since_ms, figures.now_ms, asked.step_ms)
    read = _read(figures, asked, over)
    keys = sorted(key for key in read.keys if _matches(key.device, asked.devices))
    chosen = keys[:SERIES_MAX]
    steps = max(1, min(STEPS_MAX, round(asked.ahead_ms / asked.step_ms)))
    series = [Series(over.since_ms, over.step_ms, read.row(key)) for key in chosen]
    projected = project_many(series, steps, figures.settings.level) if series else []
    answers = (
        _ahead(figures, asked, key, one, found) for key, one, found in zip(chosen, series, projected, strict=True)
    )
    return Answer(tuple(answers), len(keys) - len(chosen), over.count == 0)


def _read(figures: Figures, asked: Asked, over: Grid) -> Matrix[Key]:
    is_counter = asked.field not in DERIVED and look_up(asked.field).kind is FieldKind.COUNTER
    if asked.field.startswith("host."):
        return figures.hosts(asked.field, over, asked.how, rate=is_counter)
    if asked.field.startswith("pool."):
        return figures.pools(asked.field, over, asked.how)
    return figures.disks(asked.field, over, asked.how, rate=is_counter)


def _matches(device: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatch.fnmatchcase(device, pattern) for pattern in patterns)


def _ahead(figures: Figures, asked: Asked, key: Key, series: Series, found: Projection | Refused) -> Ahead:
    guest = figures.fleet.guest_of.get(key.uuid)
    projection = None if isinstance(found, Refused) else found
    ahead_steps = 1 if projection is None else len(projection.middle)
    steps = min(ahead_steps, max(1, len(series.values) // 4))
    mase_last, mase_seasonal, inside = _scores(series, steps, figures.settings.level)
    return Ahead(
        key.host or ("" if guest is None else guest.host),
        key.pool or (key.uuid if guest is None and key.uuid else "" if guest is None else guest.name),
        key.device,
        unit_of(asked.field),
        Grid(series.start_ms, series.step_ms, len(series.values)),
        series.values,
        projection,
        mase_last,
        mase_seasonal,
        inside,
        found.reason if isinstance(found, Refused) else "",
    )


def _scores(series: Series, steps: int, level: float) -> Iterator[Figure]:
    """Give the three figures of a backtest, over as many steps as are projected, or a quarter of the past."""
    tried = backtest(series, steps, ORIGINS, level)
    if isinstance(tried, Refused):
        yield from (missing(unit, tried.reason) for unit in (Unit.NONE, Unit.NONE, Unit.RATIO))
        return
    source = f"{tried.count} steps from {tried.origins} points of the past"
    lacking = "the other never erred"
    yield given(tried.mase_last, Unit.NONE, f"mean error / that of the last value, of {source}", lacking=lacking)
    yield given(tried.mase_seasonal, Unit.NONE, f"mean error / that of a season before, of {source}", lacking=lacking)
    yield given(tried.inside, Unit.RATIO, f"share inside the interval, of {source}")


def unit_of(field: str) -> Unit:
    """Return what the values of a field are in; of counters it is their rate."""
    if field in DERIVED:
        base, is_counter = DERIVED[field][0], False
    else:
        known = look_up(field)
        base, is_counter = known.unit.base, known.kind is FieldKind.COUNTER
    if is_counter:
        rates = {"bytes": Unit.BYTES_PER_SECOND, "seconds": Unit.CORES}
        return rates.get(base, Unit.PER_SECOND)
    return next((unit for unit in Unit if unit and str(unit) == base), Unit.NONE)
