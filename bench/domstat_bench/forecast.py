"""How well projections would have done in the past of series: made-up ones, or CSV files of a folder."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from msgspec import Struct

from domstat.capacity.forecasting import Refused, Series, backtest
from domstat_bench.agent_run import BenchError
from domstat_bench.forecast_kinds import DAY_MS, generated
from domstat_bench.report import Table, verdict

ORIGINS = 10
"""Points in a series' past from which is projected, fewer where it is short."""
DAYS_AHEAD, DAYS_AHEAD_OF_DAYS = (1, 7), (7, 30)
"""How far ahead is projected: of series with several values a day, and of the others."""
HISTORY = 1.5
"""A series is at least so many times as long as what is projected of it."""
LEVEL = 0.8
INSIDE_LEAST, INSIDE_MOST = 0.75, 0.85
"""How often the 80 % interval is to hold the truth."""
RATIO_LEAST, RATIO_MOST = 0.01, 100.0
"""Ratios beyond these count as these: a series that was projected without any error is not all there is to a mean."""
STEPS_MAX = 1_000_000
"""A file that would be longer has a time that is wrong."""


class Score(Struct, frozen=True):
    """How one series was projected over one horizon; errors are relative to those of the two simple ways."""

    name: str
    step_ms: int
    points: int
    days: int
    origins: int
    against_last: float
    against_season: float
    inside: float
    truths: int


class Totals(Struct, frozen=True):
    """All series together: geometric means of the relative errors, and how often the interval held the truth.

    *inside* counts each origin of each series once, *inside_truths* each value.
    """

    scores: int
    against_last: float
    against_season: float
    inside: float
    inside_truths: float


class Figures(Struct, frozen=True):
    """What was found."""

    title: str
    scores: Sequence[Score]
    totals: Totals


def run(folder: Path | None) -> Figures:
    """Project the past of the series of a folder, or of the made-up ones."""
    title = "made-up series" if folder is None else f"the series of {folder.name}"
    scores = [score for name, series in _series(folder) for score in _scores(name, series)]
    if not scores:
        raise BenchError("no series is long enough: 36 hours of values, or 11 days where there is a value a day")
    return Figures(title, scores, totals_of(scores))


def totals_of(scores: Sequence[Score]) -> Totals:
    """Put the scores of all series together."""
    return Totals(
        len(scores),
        _geometric_mean(score.against_last for score in scores),
        _geometric_mean(score.against_season for score in scores),
        sum(score.inside * score.origins for score in scores) / sum(score.origins for score in scores),
        sum(score.inside * score.truths for score in scores) / sum(score.truths for score in scores),
    )


def tables(found: Figures) -> Iterator[Table]:
    """Give the scores of each series, and the verdict on all."""
    columns = ["", "step", "points", "days ahead", "origins", "vs last value", "vs season", "inside"]
    rows = [
        [
            score.name, f"{score.step_ms / 60_000:g} min", str(score.points), str(score.days), str(score.origins),
            f"{score.against_last:.3f}", f"{score.against_season:.3f}", f"{score.inside:.1%}",
        ]
        for score in found.scores
    ]  # fmt: skip
    notes = ["vs: mean absolute error over that of repeating the last value, or the last season (a week, else a day)"]
    yield Table(f"Projections by rolling origin: {found.title}", columns, rows, notes)
    totals = found.totals
    inside = "reached" if INSIDE_LEAST <= totals.inside <= INSIDE_MOST else "MISSED"
    yield Table(
        f"All {totals.scores} together",
        ["", "goal", "found", ""],
        [
            ["geometric mean vs last value", "below 1", f"{totals.against_last:.3f}", verdict(totals.against_last, 1)],
            ["geometric mean vs season", "below 1", f"{totals.against_season:.3f}", verdict(totals.against_season, 1)],
            [f"truth inside the {LEVEL:.0%} interval", "75-85 %", f"{totals.inside:.1%}", inside],
            ["the same, each value counted", "", f"{totals.inside_truths:.1%}", ""],
        ],
    )


def read(path: Path) -> Series:
    """Read a file of ``timestamp,value`` and bring it to a regular grid of its median step.

    A timestamp is in ISO form (UTC where it does not say) or in seconds since 1970; an empty value is a hole.
    """
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        times = np.array([_ms(row["timestamp"]) for row in rows])
        values = np.array([float(row["value"] or "nan") for row in rows])
    except (KeyError, TypeError, ValueError) as error:
        raise BenchError(f"{path}: not a file of timestamp,value: {error}") from error
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    steps = np.diff(times)
    if not (steps > 0).any():
        raise BenchError(f"{path}: no two values at different times")
    step = int(np.median(steps[steps > 0]))
    places = np.round((times - times[0]) / step).astype(np.int64)
    if places[-1] >= STEPS_MAX:
        raise BenchError(f"{path}: {places[-1]} steps of {step / 1000:g} s from its first to its last time")
    grid = np.full(int(places[-1]) + 1, np.nan)
    grid[places] = values
    return Series(int(times[0]), step, grid)


def _series(folder: Path | None) -> Iterator[tuple[str, Series]]:
    if folder is None:
        yield from generated()
        return
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise BenchError(f"{folder}: no *.csv files there")
    yield from ((path.stem, read(path)) for path in files)


def _scores(name: str, series: Series) -> Iterator[Score]:
    for days in DAYS_AHEAD if series.step_ms < DAY_MS else DAYS_AHEAD_OF_DAYS:
        steps = days * DAY_MS // series.step_ms
        if steps < 1 or len(series.values) < HISTORY * steps:
            continue
        found = backtest(series, steps, ORIGINS, LEVEL)
        if not isinstance(found, Refused):
            yield Score(
                name, series.step_ms, int(np.isfinite(series.values).sum()), days, found.origins, found.mase_last,
                found.mase_seasonal, found.inside, found.count,
            )  # fmt: skip


def _geometric_mean(ratios: Iterable[float]) -> float:
    logs = [math.log(min(max(ratio, RATIO_LEAST), RATIO_MOST)) for ratio in ratios]
    return math.exp(sum(logs) / len(logs))


def _ms(timestamp: str) -> int:
    try:
        return round(float(timestamp) * 1000)
    except ValueError:
        time = datetime.fromisoformat(timestamp)
        return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
