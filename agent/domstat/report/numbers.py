"""Figures as the page shows them: short, with their unit, and with how they came about. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from domstat.capacity.explained import Figure, Unit, reason, steps
from domstat.capacity.grid import DAY_MS

STEPS_MAX = 16
"""Lines of an explanation: as many as fit on a screen beside the number they explain."""

LITTLE = 0.001
"""Shares below this are shown as less: nobody can know of one in a thousand."""

NOTHING = 0.0005
"""Below this a number is shown as none: less than a thousandth of a core, a byte or a per cent."""

REASON_MAX = 32
"""Characters of a reason in a table: two lines of a narrow column. The whole of it is shown when pointed at."""

UNKNOWN = "not known"
"""What stands for a figure that has not even a reason."""

_PLAIN = {
    Unit.CORES: "cores",
    Unit.THREADS: "threads",
    Unit.VCPUS: "vCPUs",
    Unit.GUESTS: "guests",
    Unit.DAYS: "days",
    Unit.PER_SECOND: "/s",
    Unit.SECONDS: "s",
}
_SINGULAR = {"cores": "core", "threads": "thread", "vCPUs": "vCPU", "guests": "guest", "days": "day"}
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_COUNTS = ("", "k", "M", "G")
_SPANS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def said(figure: Figure) -> str:
    """Write a figure, or why there is none."""
    return figure.note or UNKNOWN if figure.value is None else number(figure.value, figure.unit)


def briefly(figure: Figure) -> str:
    """Write a figure for a table: of a reason what stands before its colon, if that is short."""
    if figure.value is not None:
        return said(figure)
    reason = said(figure).partition(":")[0]
    return reason if len(reason) <= REASON_MAX else UNKNOWN


def number(value: float, unit: Unit) -> str:
    """Write a number that is in base units: ``12.8 cores``, ``64 GiB``, ``97 %``, ``22 days``."""
    match unit:
        case Unit.RATIO:
            return f"{_digits(100 * value)} %" if not 0 < value < LITTLE else f"< {100 * LITTLE:g} %"
        case Unit.BYTES | Unit.BYTES_PER_SECOND:
            scaled, prefix = _prefixed(value, 1024.0, _BYTES)
            return f"{_digits(scaled)} {prefix}{'/s' if unit is Unit.BYTES_PER_SECOND else ''}"
        case Unit.SECONDS:
            return _span(value)
        case Unit.DAYS:
            shown = f"{value:.1f}".removesuffix(".0") if value < 9.95 else f"{value:.0f}"
        case _:
            scaled, prefix = _prefixed(value, 1000.0, _COUNTS)
            shown = _digits(scaled) + (f" {prefix}" if prefix else "")
    name = _PLAIN.get(unit, "")
    return f"{shown} {_SINGULAR.get(name, name) if shown == '1' else name}".rstrip()


def how(figure: Figure, name: str) -> str:
    """Say how a figure came about, a line a step: ``usable = 12.8 cores = total * (1 - buffer)``."""
    return "\n".join(_lines(figure, name))


def _lines(figure: Figure, name: str) -> Iterator[str]:
    for place, step in enumerate(steps(figure, name)):
        if place >= STEPS_MAX:
            yield "and so on"
            return
        yield f"{'   ' * step.depth}{step.name} = {reason(step.figure, said(step.figure))}"


def day_of(time_ms: float) -> str:
    """Write the day of a time, in UTC: ``19 December 2026``."""
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return f"{moment.day} {moment:%B %Y}"


def minute_of(time_ms: float) -> str:
    """Write a time in UTC, to the minute: ``27 November 2026, 22:15 UTC``."""
    return f"{day_of(time_ms)}, {datetime.fromtimestamp(time_ms / 1000, UTC):%H:%M} UTC"


def date_of(time_ms: float) -> str:
    """Write a day as charts take it: ``2026-12-19``."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d}"


def day_in(days: float, now_ms: int) -> str:
    """Write the day that is so many days ahead."""
    return day_of(now_ms + days * DAY_MS)


def counted(count: int, one: str, many: str = "") -> str:
    """Write a count with its noun: ``1 guest``, ``3 guests``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _digits(value: float) -> str:
    """Write three digits that count, and all that stand before the point; what is next to nothing is nothing."""
    if abs(value) < NOTHING:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


def _prefixed(value: float, step: float, prefixes: tuple[str, ...]) -> tuple[float, str]:
    place = 0
    while abs(value) >= step - 0.5 and place + 1 < len(prefixes):
        value /= step
        place += 1
    return value, prefixes[place]


def _span(seconds: float) -> str:
    if seconds == 0:
        return "0 s"
    size, name = next((unit for unit in _SPANS if abs(seconds) >= unit[0]), _SPANS[-1])
    return f"{_digits(seconds / size)} {name}"
