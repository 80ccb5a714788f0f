"""What a guest's figures come to on the screen: one value for each measure, over all its devices. Pure.

The same function serves records as they come and steps of a history, so that the last hour shows what the rows showed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

from msgspec import Struct

from domstat import units
from domstat.model import Figures, split_key
from domstat.units import Write

MEMORY_FRESH_S = 60.0
"""A balloon driver that has been silent for a minute no longer tells what is used."""

SHAPES_MAX = 1024
"""Sets of keys remembered: guests alike share theirs."""


class Said:
    """Figures of one guest, of one record or, where several streams share it, of several."""

    __slots__ = ("_rated", "figures")

    def __init__(self, figures: tuple[Figures, ...]) -> None:
        self.figures = figures
        self._rated = [(each.rates, _places(tuple(each.rates))) for each in figures]

    def number(self, key: str) -> float | None:
        """Return a parameter, if it is there and a number."""
        for figures in self.figures:
            value = figures.params.get(key)
            if value is not None and not isinstance(value, str):
                return value
        return None

    def derived(self, key: str) -> float | None:
        """Return a derived value, if it is there."""
        return next((figures.derived[key] for figures in self.figures if key in figures.derived), None)

    def rate(self, key: str) -> float | None:
        """Return one device's rate, if it is there."""
        return next((figures.rates[key] for figures in self.figures if key in figures.rates), None)

    def total(self, *fields: str) -> float | None:
        """Return the sum of rates over all devices; None if none is known."""
        return sum(rates) if (rates := list(self._rates(fields))) else None

    def most(self, field: str) -> float | None:
        """Return the rate of the device that has most; None if none is known."""
        return max(self._rates((field,)), default=None)

    def _rates(self, fields: tuple[str, ...]) -> Iterator[float]:
        for rates, places in self._rated:
            for field in fields:
                yield from (rates[key] for key in places.get(field, ()))


@lru_cache(maxsize=SHAPES_MAX)
def _places(keys: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return the keys of each field; not those of backing layers, whose disk's requests they are part of."""
    found: dict[str, list[str]] = {}
    for key in keys:
        field, device = split_key(key)
        if device is None or "#" not in device:
            found.setdefault(field, []).append(key)
    return {field: tuple(of) for field, of in found.items()}


class Measure(Struct, frozen=True):
    """One thing that is shown of guests, how it is taken and written."""

    title: str
    take: Callable[[Said], float | None]
    write: Write


def _utilization(said: Said) -> float | None:
    cores, vcpus = said.total("cpu.time"), said.number("vcpu.current")
    return cores / vcpus if cores is not None and vcpus else None


def _memory(said: Said) -> float | None:
    age_s = said.derived("memory.age")
    return said.derived("memory.used") if age_s is None or age_s <= MEMORY_FRESH_S else None


def _latency(said: Said) -> float | None:
    seconds, requests = said.total("block.rd.times", "block.wr.times"), said.total("block.rd.reqs", "block.wr.reqs")
    return seconds / requests if seconds is not None and requests else None


MEASURES = (
    Measure("CPU", _utilization, units.percent),
    Measure("memory", _memory, units.size),
    Measure("read/s", lambda said: said.total("block.rd.bytes"), units.size),
    Measure("write/s", lambda said: said.total("block.wr.bytes"), units.size),
    Measure("latency", _latency, units.latency),
    Measure("rx/s", lambda said: said.total("net.rx.bytes"), units.size),
    Measure("tx/s", lambda said: said.total("net.tx.bytes"), units.size),
    Measure("steal", lambda said: said.most("vcpu.delay"), units.percent),
)
"""What the last hour is kept of, and drawn in this order."""

CPU, MEMORY, READ, WRITE, LATENCY, RX, TX, STEAL = range(len(MEASURES))

RATES = (
    "cpu.time", "vcpu.delay", "block.rd.bytes", "block.wr.bytes", "block.rd.times", "block.wr.times", "block.rd.reqs",
    "block.wr.reqs", "net.rx.bytes", "net.tx.bytes",
)  # fmt: skip
"""The rates that these are taken from."""

GAUGES = ("vcpu.current", "memory.used")
"""And what else, of a history."""


def measured(said: Said) -> tuple[float | None, ...]:
    """Take all measures."""
    return tuple(measure.take(said) for measure in MEASURES)
