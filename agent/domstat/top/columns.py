"""The columns of the list of guests: what each shows, how wide it is, and which give way on a narrow screen. Pure."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from domstat import units
from domstat.top.guest import Row
from domstat.top.lines import Tone
from domstat.top.measures import CPU, LATENCY, MEMORY, READ, RX, STEAL, TX, WRITE
from domstat.units import MISSING, known

NAME_MIN = 16
"""Columns give way until a guest's name has so much room."""

BUSY = 0.8
"""A guest whose CPUs are so busy, as a share of all it has, stands out."""

STOLEN = 0.1
"""And a vCPU that waits for a CPU of the host for so much of its time: its guest feels it."""


class Column(Struct, frozen=True):
    """*width* is in cells, without the blank before it; the columns with the highest *rank* give way first.

    *order* is by what rows are sorted, None for those that nobody sorts by.
    """

    title: str
    width: int
    rank: int
    cell: Callable[[Row], str]
    tone: Callable[[Row], Tone] = lambda _row: "plain"
    right: bool = True
    sort: str | None = None


class Order(Struct, frozen=True):
    """What rows can be sorted by: the key that is pressed, its name, and the value; largest first as a rule."""

    key: str
    name: str
    value: Callable[[Row], float | str | None]


def _sum(*places: int) -> Callable[[Row], float | None]:
    def value(row: Row) -> float | None:
        there = [figure for place in places if (figure := row.values[place]) is not None]
        return sum(there) if there else None

    return value


def memory_of(row: Row) -> float | None:
    """Return what a guest uses; where it does not say, what its process holds on the host."""
    used = row.values[MEMORY]
    return row.resident if used is None else used


ORDERS = (
    Order("c", "CPU", lambda row: row.cores),
    Order("m", "memory", memory_of),
    Order("d", "disk", _sum(READ, WRITE)),
    Order("n", "network", _sum(RX, TX)),
    Order("s", "steal", lambda row: row.values[STEAL]),
    Order("l", "latency", lambda row: row.values[LATENCY]),
    Order("g", "guest", lambda row: row.name.casefold()),
)
"""The first is what rows are sorted by in the beginning."""


def _memory(row: Row) -> str:
    """Write memory used and given, ``1.9G/4.0G``, or what the process holds where the guest does not say."""
    if row.values[MEMORY] is not None:
        return f"{known(units.size, row.values[MEMORY])}/{known(units.size, row.configured)}"
    return f"rss {units.size(row.resident)}" if row.resident is not None else MISSING


def _state(row: Row) -> str:
    return "STUCK" if row.stuck else row.state


def _state_tone(row: Row) -> Tone:
    return "bad" if row.stuck else "plain" if row.state == "running" else "warn"


def _value(place: int, write: units.Write) -> Callable[[Row], str]:
    return lambda row: known(write, row.values[place])


def _above(place: int, limit: float) -> Callable[[Row], Tone]:
    return lambda row: "warn" if (row.values[place] or 0.0) >= limit else "plain"


COLUMNS = (
    Column("host", 10, 10, lambda row: row.host, right=False),
    Column("state", 9, 2, _state, _state_tone, right=False),
    Column("CPU", 5, 0, _value(CPU, units.percent), _above(CPU, BUSY), sort="c"),
    Column("cores", 5, 12, lambda row: known(units.cores, row.cores), sort="c"),
    Column("vCPU", 4, 13, lambda row: known(units.whole, row.vcpus)),
    Column("memory", 9, 1, _memory, sort="m"),
    Column("rd/s", 5, 4, _value(READ, units.size), sort="d"),
    Column("wr/s", 5, 3, _value(WRITE, units.size), sort="d"),
    Column("IOPS", 5, 11, lambda row: known(units.count, row.iops)),
    Column("lat", 5, 8, _value(LATENCY, units.latency), sort="l"),
    Column("rx/s", 5, 6, _value(RX, units.size), sort="n"),
    Column("tx/s", 5, 7, _value(TX, units.size), sort="n"),
    Column("steal", 5, 5, _value(STEAL, units.percent), _above(STEAL, STOLEN), sort="s"),
)


def chosen(width: int, *, several_hosts: bool) -> tuple[tuple[Column, ...], int]:
    """Choose the columns that *width* cells have room for, and return what is left for names."""
    columns = [column for column in COLUMNS if several_hosts or column.title != "host"]
    while columns and width - _width(columns) < NAME_MIN:
        columns.remove(max(columns, key=lambda column: column.rank))
    return tuple(columns), max(1, width - _width(columns))


def _width(columns: list[Column]) -> int:
    return sum(column.width + 1 for column in columns)
