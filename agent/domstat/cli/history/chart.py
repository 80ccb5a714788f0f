"""Lines over time, drawn with characters: braille dots, axes with units and local times. Pure.

Lines are drawn in panels, one below the other, over one axis of time; a dot is a half of a column wide and a quarter
of a row high.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import MAXYEAR, datetime, tzinfo
from itertools import pairwise

from msgspec import Struct

from domstat.cli.history.units import short
from domstat.history import Measure

WIDTH_MIN = 40
WIDTH_MAX = 200
"""Columns of a chart: below, no axis of time has room; above, nobody's eye follows a line back to its axis."""

MARGIN = 11
"""Columns left of the lines: the longest value, such as ``-1020 MiB/s``."""

PAUSE = 2.5
"""A line is broken where nothing is known for so many times the usual distance of its points."""

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""The bits of a braille character, by column and row."""

_BRAILLE = 0x2800

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_SPACINGS_S = (
    1, 5, 10, 30, _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE, _HOUR, 2 * _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR,
    _DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY,
)  # fmt: skip
"""Seconds between two times on the axis; beyond these, months."""

_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120)
_MONTH = 30.5 * _DAY

_LABEL = 11
"""Columns that a time on the axis needs, with a space."""


class Line(Struct, frozen=True):
    """One line: its title, and its points in the order of their times, values in the base unit of *measure*."""

    title: str
    measure: Measure
    time_ms: Sequence[int]
    values: Sequence[float]


class Frame(Struct, frozen=True):
    """What all panels share: the span of time that is drawn, columns in all, and the zone that times are shown in."""

    since_ms: int
    until_ms: int
    width: int
    zone: tzinfo

    @property
    def columns(self) -> int:
        """The columns that lines have."""
        return self.width - MARGIN - 2

    def dot_of(self, time_ms: int) -> int:
        """Return which column of dots a time is in."""
        share = (time_ms - self.since_ms) / max(1, self.until_ms - self.since_ms)
        return min(max(int(share * self.columns * 2), 0), self.columns * 2 - 1)


class Scale(Struct, frozen=True):
    """An axis of values: from *bottom* to *top*, with a mark every *step*."""

    bottom: float
    top: float
    step: float


def draw(lines: Sequence[Line], frame: Frame, rows: int, scales: Sequence[Scale]) -> list[str]:
    """Draw a panel of so many rows for each line, by its scale, and the axis of time below the last."""
    shown = []
    for line, scale in zip(lines, scales, strict=True):
        low, high = min(line.values), max(line.values)
        mean = math.fsum(line.values) / len(line.values)
        found = "  ".join(
            f"{what} {short(value, line.measure)}" for what, value in (("min", low), ("mean", mean), ("max", high))
        )
        head = (line.title, f"{' ' * MARGIN}  {found}")
        shown += [*(text[: frame.width] for text in head), *_panel(line, frame, rows, scale)]
    return shown + _time_axis(frame)


def scale_of(low: float, high: float, rows: int, *, is_binary: bool) -> Scale:
    """Choose an axis for values from *low* to *high*: it begins at 0 unless that would flatten them."""
    if low >= 0 and low < high / 2:
        low = 0.0
    elif high <= 0 and high > low / 2:
        high = 0.0
    if low == high:
        low, high = (0.0, high or 1.0) if high >= 0 else (low, 0.0)
    unit = 1.0
    while is_binary and max(high, -low) / unit >= 1024:
        unit *= 1024
    step = _nice((high - low) / unit / max(1, min(4, rows // 2))) * unit
    return Scale(math.floor(low / step) * step, math.ceil(high / step) * step, step)


def _nice(least: float) -> float:
    """Return a round number that is no smaller than *least*."""
    power: float = 10.0 ** math.floor(math.log10(least))
    return next(power * round_ for round_ in (1, 2, 2.5, 5, 10) if power * round_ >= least * (1 - 1e-9))


def _panel(line: Line, frame: Frame, rows: int, scale: Scale) -> list[str]:
    cells = [[0] * frame.columns for _ in range(rows)]
    for x, y in _dots(line, frame, rows, scale):
        cells[y // 4][x // 2] |= _DOTS[x % 2][y % 4]
    labels = _value_labels(line, rows, scale)
    shown = []
    for row in range(rows):
        drawn = "".join(chr(_BRAILLE + bits) if bits else " " for bits in cells[row]).rstrip()
        label = labels.get(row)
        shown.append(f"{label or '':>{MARGIN}} {'┤' if label else '│'}{drawn}")
    return shown


def _value_labels(line: Line, rows: int, scale: Scale) -> dict[int, str]:
    marks = round((scale.top - scale.bottom) / scale.step)
    values = [scale.bottom + i * scale.step for i in range(marks + 1)]
    return {_height_of(value, rows, scale) // 4: short(value, line.measure) for value in values}


def _height_of(value: float, rows: int, scale: Scale) -> int:
    """Return how many dots a value is below the top."""
    share = (scale.top - value) / (scale.top - scale.bottom)
    return min(max(round(share * (rows * 4 - 1)), 0), rows * 4 - 1)


def _dots(line: Line, frame: Frame, rows: int, scale: Scale) -> set[tuple[int, int]]:
    from statistics import median

    times = line.time_ms
    passed = [after - before for before, after in pairwise(times)]
    joined_ms = PAUSE * median(passed) if passed else 0
    points = [
        (frame.dot_of(time_ms), _height_of(value, rows, scale))
        for time_ms, value in zip(times, line.values, strict=True)
    ]
    dots = set(points)
    for i, step_ms in enumerate(passed):
        if 0 <= step_ms <= joined_ms:
            dots.update(_between(points[i], points[i + 1]))
    return dots


def _between(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the dots of a straight line."""
    length = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    return [
        (
            start[0] + round(i * (end[0] - start[0]) / length),
            start[1] + round(i * (end[1] - start[1]) / length),
        )
        for i in range(1, length)
    ]


# The axis of time.


def _time_axis(frame: Frame) -> list[str]:
    axis = ["─"] * frame.columns
    labels = [" "] * (frame.width + MARGIN)
    free_from = 0
    for time_ms, text in _time_marks(frame):
        column = frame.dot_of(time_ms) // 2
        axis[column] = "┬"
        start = MARGIN + 2 + column - len(text) // 2
        if start >= free_from and start + len(text) <= frame.width:
            labels[start : start + len(text)] = text
            free_from = start + len(text) + 1
    ends = (_whole(frame.since_ms, frame.zone), _whole(frame.until_ms, frame.zone))
    zone = datetime.fromtimestamp(frame.until_ms / 1000, frame.zone).strftime("%Z")
    return [
        f"{' ' * MARGIN} └{''.join(axis)}",
        "".join(labels).rstrip(),
        f"{' ' * MARGIN}  {ends[0]} to {ends[1]} {zone}".rstrip(),
    ]


def _time_marks(frame: Frame) -> list[tuple[int, str]]:
    """Choose round local times, as many as have room, and what is written below them."""
    span_s = (frame.until_ms - frame.since_ms) / 1000
    room = max(2, frame.columns // _LABEL)
    spacing_s = next((spacing for spacing in _SPACINGS_S if span_s / spacing <= room), None)
    if spacing_s is None:
        return _month_marks(frame, next((n for n in _MONTHS if span_s / (n * _MONTH) <= room), _MONTHS[-1]))
    offset = datetime.fromtimestamp(frame.since_ms / 1000, frame.zone).utcoffset()
    offset_ms = int(offset.total_seconds() * 1000) if offset else 0
    spacing_ms = spacing_s * 1000
    first_ms = -(-(frame.since_ms + offset_ms) // spacing_ms) * spacing_ms - offset_ms
    times = range(first_ms, frame.until_ms + 1, spacing_ms)
    return [(time_ms, _time_label(time_ms, spacing_s, frame.zone)) for time_ms in times]


def _month_marks(frame: Frame, months: int) -> list[tuple[int, str]]:
    """Return the beginnings of every so many months."""
    since = datetime.fromtimestamp(frame.since_ms / 1000, frame.zone)
    number = -(-(since.year * 12 + since.month) // months) * months
    marks = []
    while number < 12 * MAXYEAR:
        begin = datetime(number // 12, number % 12 + 1, 1, tzinfo=frame.zone)
        begin_ms = int(begin.timestamp() * 1000)
        if begin_ms > frame.until_ms:
            break
        marks.append((begin_ms, begin.strftime("%b %Y")))
        number += months
    return marks


def _time_label(time_ms: int, spacing_s: int, zone: tzinfo) -> str:
    at = datetime.fromtimestamp(time_ms / 1000, zone)
    if spacing_s < _MINUTE:
        return at.strftime("%H:%M:%S")
    if spacing_s < _DAY and (at.hour, at.minute) != (0, 0):
        return at.strftime("%H:%M")
    return at.strftime("%d %b")


def _whole(time_ms: int, zone: tzinfo) -> str:
    return datetime.fromtimestamp(time_ms / 1000, zone).strftime("%a %d %b %Y %H:%M:%S")
