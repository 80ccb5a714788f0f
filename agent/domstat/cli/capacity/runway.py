"""``domstat capacity runway``: time remaining."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domstat.cli.capacity.asking import Asked, Column, Line, View
from domstat.cli.capacity.summary import ALL_HOSTS

if TYPE_CHECKING:
    from domstat.capacity.runway import Runway

COLUMNS = (
    Column("host", "host"),
    Column("resource", "of"),
    Column("name", "name"),
    Column("usable", None),
    Column("demand", "demand"),
    Column("growth_per_day", "a day"),
    Column("days_conservative", "conservative"),
    Column("days_expected", "expected"),
    Column("days_earliest", None),
    Column("days_latest", "latest"),
    Column("within_30_days", "30 d"),
    Column("within_90_days", "90 d"),
    Column("within_180_days", "180 d"),
    Column("status", None),
    Column("note", None),
)


def runway(asked: Asked) -> View:
    """Say in how many days each host's CPU and memory, each pool and each growing thin disk is full."""
    from domstat.capacity.runway import runway as look_ahead

    found = look_ahead(asked.figures)
    level = f"{100 * asked.settings.level:.0f} %"
    level = f"{100 * asked.settings.level:.0f} %"
    notes = (
        f"full where demand reaches what is usable: conservative by the upper bound of the {level} interval of what is",
        "projected, expected by its middle, latest by its lower bound; then how probable it is within so many days",
    )
    return View(COLUMNS, tuple(_line(one) for one in found), notes if found else ())


def _line(one: Runway) -> Line:
    return (
        one.host or ALL_HOSTS,
        str(one.resource),
        one.name,
        one.usable,
        one.demand,
        one.growth,
        one.conservative,
        one.expected,
        one.earliest,
        one.latest,
        *one.chances,
        str(one.status),
        one.note,
    )
