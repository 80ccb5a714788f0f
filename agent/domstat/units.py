"""Numbers as a person reads them: at most three figures and a unit, so that columns stay narrow. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

MISSING = "–"  # noqa: RUF001 - a dash, not a minus sign: nothing is subtracted
"""What is shown for a value that is not known; it is never 0."""

Write: TypeAlias = Callable[[float], str]


def known(write: Write, value: float | None) -> str:
    """Write *value*, or that it is missing."""
    return MISSING if value is None else write(value)


def size(value: float) -> str:
    """Write bytes, or bytes per second: ``812``, ``1.5K``, ``40M``; a K is 1024."""
    return _scaled(value, 1024, ("", "K", "M", "G", "T", "P", "E"))


def count(value: float) -> str:
    """Write a number of things: ``0.3``, ``140``, ``1.5k``; a k is 1000."""
    return _scaled(value, 1000, ("", "k", "M", "G", "T"))


def percent(share: float) -> str:
    """Write a share as per cent: ``0.4%``, ``25%``, ``103%``."""
    return _figures(share * 100) + "%"


def cores(value: float) -> str:
    """Write host CPUs kept busy: ``0.25``, ``3.10``, ``120``."""
    return f"{value:.2f}" if value < 99.995 else f"{value:.0f}"


def latency(seconds: float) -> str:
    """Write a short time: ``340µs``, ``1.5ms``, ``2.1s``."""
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if seconds * factor >= 0.9995:
            return _figures(seconds * factor) + unit
    return _figures(seconds * 1e6) + "µs"


def whole(value: float) -> str:
    """Write a small number of things exactly."""
    return f"{value:.0f}"


def _figures(value: float) -> str:
    return "0" if not value else f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def _scaled(value: float, base: int, units: tuple[str, ...]) -> str:
    for unit in units[:-1]:
        if value < 999.5:
            return _figures(value) + unit
        value /= base
    return _figures(value) + units[-1]
