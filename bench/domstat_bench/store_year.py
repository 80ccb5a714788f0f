"""``./dev bench year``: a year of made-up guests in the history, and what is asked of it.

Of the workload's ticks every ninetieth is written, one a quarter of an hour: that is a thirtieth of a year's work, and
what hours, days and sketches come to is of the same kind and as much. What ticks and five minutes would take is
reckoned from what a few days of all ticks take.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from domstat.history import Aggregate, History, Select, Span
from domstat.model import Batch, Kind
from domstat_bench import store_ours, store_queries
from domstat_bench.report import Table, figures, verdict
from domstat_bench.store_queries import HOUR_MS, IDLE, IDLE_QUANTILE, QUANTILE, TOLERANCE, TOP, Answered, Found
from domstat_bench.workload import VCPUS, Workload
from domstat_bench.workload_batches import Batches
from domstat_bench.workload_drive import DAY_HOURS

EVERY = 90
"""A tick every fifteen minutes, of one every ten seconds."""

DAY_MS = DAY_HOURS * HOUR_MS
SETTLED_HOURS = 6
"""What is due is done so often: an agent has done it after so many of its own ticks."""

FULL_DAYS = 3
"""Days of all ticks, by which the size of a year is reckoned: the tiers are merged to days by then."""

FULL_GUESTS = 60
"""Guests of these days; those of few share less in a chunk, and leave more of its pages empty."""

KEPT_DAYS = {"ticks": 30, "five minutes": 180, "hours": 365, "sketches of hours": 8, "days": 365}
"""How many days of each a year has by default."""

GUESTS = 200
SIZE_GB = 4.0


class Year(Struct, frozen=True):
    """What so many guests of *days* days took and answered; *tiers* are bytes by tier of *full_guests* in FULL_DAYS."""

    guests: int
    days: int
    file_bytes: int
    answers: dict[str, Answered]
    full_guests: int
    tiers: dict[str, int]

    @property
    def reckoned_bytes(self) -> float:
        """What GUESTS take in a year that is kept as it is by default."""
        a_day = {name: size / FULL_DAYS / self.full_guests * GUESTS for name, size in self.tiers.items()}
        return sum(a_day[name] * days for name, days in KEPT_DAYS.items())


def run(guests: int, days: int, full_guests: int, folder: Path, say: Callable[[str], None]) -> Year:
    """Write a year, and a few days of all ticks, and ask."""
    workload = Workload(guests)
    say(f"writing {guests} guests, {days} days, a tick a quarter of an hour")
    _write(workload, days, folder / "year")
    say("asking")
    with store_ours.history_in(folder / "year") as history:
        span = Span(workload.begin_ms, workload.begin_ms + days * DAY_MS)
        answers = {
            name: store_queries.timed(partial(ask, history, span), os.getpid()) for name, (_, ask) in QUESTIONS.items()
        }
    say(f"writing {full_guests} guests, {FULL_DAYS} days, all ticks")
    store_ours.write(Workload(full_guests), FULL_DAYS * DAY_HOURS, folder / "full")
    tiers = _tiers_of(folder / "full")
    return Year(guests, days, store_ours.path_in(folder / "year").stat().st_size, answers, full_guests, tiers)


def _tiers_of(folder: Path) -> dict[str, int]:
    """Return the bytes of the pages that each part of KEPT_DAYS takes."""
    with store_ours.history_in(folder) as history:
        stored = {tier.name: tier.stored_bytes for tier in history.info().tiers}
    tables = store_ours.sizes_of(store_ours.path_in(folder)).tables
    ticks = sum(size for name, size in stored.items() if name.startswith("ticks by"))
    packed = {"ticks": ticks, "five minutes": stored["five minutes"], "hours": stored["hours"]}
    fill = (tables["chunk"] + tables["segment"]) / sum(packed.values())
    return {name: round(size * fill) for name, size in packed.items()} | {
        "sketches of hours": tables["sketch_hour"],
        "days": tables["sketch_day"] + tables["day"],
    }


def _write(workload: Workload, days: int, folder: Path) -> None:
    batches = Batches(workload.kinds)
    with store_ours.sink_in(folder) as sink:
        sink.expect_bulk()
        for number, hour in enumerate(workload.hours(days * DAY_HOURS)):
            ticks = [_without_gaps(batch) for i, batch in enumerate(batches.of(hour)) if i % EVERY == 0]
            sink.write(ticks)
            if number % SETTLED_HOURS == 0:
                while sink.settle():
                    pass
        while sink.settle():
            pass


def _without_gaps(batch: Batch) -> Batch:
    """Leave out what is said of the ticks that are left out."""
    kept = tuple(record for record in batch.records if record.gap is None)
    return Batch(host=batch.host, collect=batch.collect, stamp=batch.stamp, records=kept)


def _select(span: Span, field: str, **how: Any) -> Select:
    return Select(span=span, kinds=(Kind.GUEST,), fields=(field,), **how)


def _p95(history: History, span: Span) -> Found:
    select = _select(span, "cpu.time", rate=True, tolerance=TOLERANCE)
    return {str(one.subject.uuid): one.values[0] for one in history.quantiles(select, (QUANTILE,))}


def _p95_of_most(history: History, span: Span) -> Found:
    """Ask for a range that begins and ends within months, days and hours."""
    length_ms = span.until_ms - span.since_ms
    return _p95(history, Span(span.since_ms + length_ms // 7 + 12_345, span.until_ms - length_ms // 9 - 12_345))


def _by_the_hour(history: History, span: Span) -> Found:
    hours: Any = np.zeros((span.until_ms - span.since_ms) // HOUR_MS)
    for series in history.read(_select(span, "cpu.time", step_ms=HOUR_MS, aggregate=Aggregate.INCREASE)):
        hours[(np.asarray(series.time_ms) - span.since_ms) // HOUR_MS] += np.asarray(series.values)
    return dict(enumerate(hours.tolist()))


def _top_of_a_week(history: History, span: Span) -> Found:
    middle_ms = (span.since_ms + span.until_ms) // 2 // DAY_MS * DAY_MS
    week = Span(middle_ms, middle_ms + 7 * DAY_MS)
    wrote = {
        str(series.subject.uuid): float(series.values[0])
        for series in history.read(_select(week, "block.wr.bytes", aggregate=Aggregate.INCREASE))
    }
    return dict(sorted(wrote.items(), key=lambda one: -one[1])[:TOP])


def _idle_for_a_month(history: History, span: Span) -> Found:
    month = Span(span.until_ms - 31 * DAY_MS, span.until_ms - DAY_MS)
    select = _select(month, "cpu.time", rate=True, tolerance=TOLERANCE)
    found = ((str(one.subject.uuid), one.values[0]) for one in history.quantiles(select, (IDLE_QUANTILE,)))
    return {uuid: value for uuid, value in found if value < IDLE * VCPUS}


def _by_the_day(history: History, span: Span) -> Found:
    """Ask as people do in SQL: who wrote most in the last thirty days."""
    answer = history.sql(
        "SELECT uuid, sum(increase) FROM daily WHERE field = 'block.wr.bytes'"
        f" AND day >= date({span.until_ms // 1000}, 'unixepoch', '-30 days') GROUP BY uuid ORDER BY 2 DESC LIMIT 10"
    )
    return dict(answer.rows)


QUESTIONS: dict[str, tuple[float, Callable[[History, Span], Found]]] = {
    "p95 of each guest's CPU over a year, to 1 %": (10.0, _p95),
    "the same of a range that begins and ends anywhere": (10.0, _p95_of_most),
    "all guests' CPU by the hour for a year": (20.0, _by_the_hour),
    "top 10 by bytes written in a week": (5.0, _top_of_a_week),
    "idle guests in 30 days": (15.0, _idle_for_a_month),
    "top 10 by bytes written in 30 days, in SQL": (5.0, _by_the_day),
}
"""By name, what is to be reached in ms of CPU, and how it is asked."""


def tables(measured: Year) -> Iterator[Table]:
    """Show what a year takes, and how quickly it answers."""
    size_gb = measured.reckoned_bytes / 1e9
    sizes = [
        [f"{GUESTS} guests, a year, default tiers, GB", f"<= {SIZE_GB:g}", figures(size_gb), verdict(size_gb, SIZE_GB)]
    ]
    parts = ", ".join(
        f"{name} {size / FULL_DAYS / measured.full_guests * GUESTS * KEPT_DAYS[name] / 1e9:.2f}"
        for name, size in measured.tiers.items()
    )
    note = f"reckoned from {measured.full_guests} guests in {FULL_DAYS} days, all ticks: {parts} GB"
    yield Table("A year's size", ["", "goal", "ours", ""], sizes, [note])
    rows = []
    for name, (goal, _) in QUESTIONS.items():
        answered = measured.answers[name]
        spent_ms = answered.cpu_ns / 1e6
        rows.append([name, f"< {goal:g}", figures(spent_ms), str(len(answered.found)), verdict(spent_ms, goal)])
    asked = f"{measured.guests} guests, {measured.days} days; ms of CPU, warm, the least of three"
    yield Table("A year's answers", ["", "goal", "ours", "found", ""], rows, [asked])
