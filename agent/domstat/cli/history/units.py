"""Values as people read them: in base units, with a prefix that keeps them short. Pure."""

from __future__ import annotations

from typing import Any

from domstat.history import Measure

_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi")
_SMALL = ("", "m", "µ", "n")
_LARGE = ("", "k", "M", "G", "T", "P")

_SYMBOLS = {"bytes": "B", "bytes_per_second": "B/s", "seconds": "s", "joules": "J", "farads": "F"}
"""Units with a sign that everybody knows; they take prefixes. The others are plain counts, called by their names."""


def scaled(value: Any, measure: Measure) -> Any:
    """Return a value in its base unit, exactly the same where that is the unit it is in."""
    if measure.scale == 1.0 or isinstance(value, (str, bool)):
        return value
    scale = measure.scale
    return value * int(scale) if scale.is_integer() else value * scale


def unit_of(measure: Measure) -> str:
    """Name the base unit: ``bytes``, ``bytes/s``, ``requests/s``; CPU time per second has no unit left."""
    if not measure.per_second:
        return measure.base.replace("_per_second", "/s")
    return "" if measure.base == "seconds" else f"{measure.base or '1'}/s"


def short(value: float, measure: Measure) -> str:
    """Write a value that is in its base unit in a few characters: ``1.5 GiB``, ``250 ms``, ``12 k``."""
    if value == 0:
        return "0"
    ratio = measure.per_second and measure.base == "seconds"
    symbol = "" if ratio else _SYMBOLS.get(measure.base, "")
    per_second = "/s" if measure.per_second and symbol else ""
    if ratio and abs(value) < 1000:
        return _digits(value)
    prefix, shown = _prefixed(value, is_binary=symbol.startswith("B"), small=bool(symbol) and symbol[0] != "B")
    unit = f"{prefix}{symbol}{per_second}"
    return f"{_digits(shown)} {unit}" if unit else _digits(shown)


def _prefixed(value: float, *, is_binary: bool, small: bool) -> tuple[str, float]:
    step, prefixes = (1024.0, _BINARY) if is_binary else (1000.0, _LARGE)
    shown = value
    place = 0
    while abs(shown) >= step - 0.5 and place + 1 < len(prefixes):
        shown /= step
        place += 1
    if place == 0 and small:
        while abs(shown) < 0.9995 and place + 1 < len(_SMALL):
            shown *= 1000
            place += 1
        return _SMALL[place], shown
    return prefixes[place], shown


def _digits(value: float) -> str:
    """Write three digits that count."""
    text = f"{value:.3g}"
    return f"{value:.0f}" if "e+" in text else text
