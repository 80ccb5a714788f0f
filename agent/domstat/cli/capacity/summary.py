"""``domstat capacity summary``: how each host stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domstat.cli.capacity.asking import Asked, Column, Line, View

if TYPE_CHECKING:
    from domstat.capacity.standing import Standing
    from domstat.capacity.summary import Summary

COLUMNS = (
    Column("host", "host"),
    Column("resource", "of"),
    Column("total", None),
    Column("usable", "usable"),
    Column("allocated", "given"),
    Column("ratio", "ratio"),
    Column("demand_now", "now"),
    Column("demand_peak", "peak"),
    Column("remaining", "left"),
    Column("room", None),
    Column("reclaimable", "reclaim"),
    Column("days_conservative", "time left"),
    Column("days_expected", None),
    Column("constrained", None),
    Column("coverage", None),
    Column("running", None),
    Column("off", None),
    Column("note", None),
)
ALL_HOSTS = "all"
"""What the line of all hosts together is called; a host of that name has its own lines after these."""


def summary(asked: Asked) -> View:
    """Say how each host stands: what there is, is given out, is asked for, and is left; what is full first."""
    from domstat.capacity.summary import summary as sum_up

    found = sum_up(asked.figures)
    lines = tuple(_line(one, standing) for one in found for standing in one.standings)
    return View(COLUMNS, lines, tuple(_note(one) for one in found))


def _line(one: Summary, standing: Standing) -> Line:
    runway = standing.runway
    return (
        one.host or ALL_HOSTS,
        str(standing.resource),
        standing.total,
        standing.usable,
        standing.allocated,
        standing.ratio,
        standing.now,
        standing.peak,
        standing.remaining,
        standing.room,
        one.reclaimable.get(standing.resource),
        standing.time_remaining,
        None if runway is None else runway.expected,
        standing.resource == one.constrained,
        standing.coverage,
        one.running,
        one.off,
        one.note,
    )


def _note(one: Summary) -> str:
    name = one.host or ALL_HOSTS
    guests = f"{one.running} running, {one.off} off"
    if one.note:
        return f"{name}: {guests}; {one.note}"
    return f"{name}: {guests}; most constrained: {one.constrained or 'not known'}"
