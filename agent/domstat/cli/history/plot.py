"""``domstat history plot``: series as lines on the terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import islice

import typer
from msgspec.structs import replace

from domstat.catalog import FieldKind, look_up
from domstat.cli.common import EXIT_TROUBLE, ConfigOption, SinceOption, UntilOption, fail, say
from domstat.cli.history.asking import Damages, SinkOption, opened
from domstat.cli.history.chart import MARGIN, WIDTH_MAX, WIDTH_MIN, Frame, Line, Scale, draw, scale_of
from domstat.cli.history.selection import (
    AggregateOption,
    CollectOption,
    DeviceOption,
    ExactOption,
    FieldOption,
    GuestOption,
    HostOption,
    KindOption,
    RateOption,
    StepOption,
    select,
    what_is_there,
)
from domstat.cli.history.units import scaled, unit_of
from domstat.history import EVER_MS, Aggregate, History, HistoryError, Select, Series, Span
from domstat.settings import Duration
from domstat.text import printable

LINES_MAX = 12
"""Lines drawn, each in a panel of its own: some screens full."""

ROWS = {1: 14, 2: 9, 3: 7}
ROWS_OF_MANY = 5
"""Rows of a panel, by how many there are."""

_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 604800)


def plot(
    *,
    guest: GuestOption = None,
    field: FieldOption = None,
    device: DeviceOption = None,
    rate: RateOption = False,
    since: SinceOption = "1d",
    until: UntilOption = None,
    step: StepOption = None,
    aggregate: AggregateOption = None,
    exact: ExactOption = False,
    host: HostOption = None,
    collect: CollectOption = None,
    kind: KindOption = None,
    config: ConfigOption = None,
    sink: SinkOption = None,
) -> None:
    """Draw series over time, as wide as the terminal is; counters per second.

    Without --step there are as many steps as the chart has dots.
    """
    wanted = select(
        since=since,
        until=until,
        guests=guest,
        hosts=host,
        collects=collect,
        kinds=kind,
        fields=field,
        devices=device,
        rate=rate,
        step=step,
        aggregate=aggregate,
        exact=exact,
    )
    if "utf" not in (sys.stdout.encoding or "").lower():
        fail(EXIT_TROUBLE, "a chart is drawn with characters that only UTF-8 has; set LANG, or use read")
    width = min(max(shutil.get_terminal_size().columns, WIDTH_MIN), WIDTH_MAX)
    damages = Damages()
    with opened(config, sink) as history:
        span = _closed(history, wanted.span)
        wanted = replace(wanted, span=span, step_ms=wanted.step_ms or _step_ms(span, width))
        lines = list(islice(_lines(history, wanted, damages), LINES_MAX + 1))
    if not lines:
        fail(EXIT_TROUBLE, what_is_there(wanted))
    frame = Frame(span.since_ms, span.until_ms, width, datetime.now(UTC).astimezone().tzinfo or UTC)
    _print(lines[:LINES_MAX], frame)
    if len(lines) > LINES_MAX:
        say(f"only the first {LINES_MAX} series; choose with --guest, --field and --device")
    if damages.count:
        raise typer.Exit(EXIT_TROUBLE)


def _closed(history: History, span: Span) -> Span:
    """Close a span's open ends by what the history has."""
    seen = history.coverage(Span())
    if not seen:
        raise HistoryError("there is nothing in the history yet")
    since_ms = span.since_ms or min(stream.first_ms for stream in seen)
    until_ms = max(stream.last_ms for stream in seen) + 1 if span.until_ms >= EVER_MS else span.until_ms
    return Span(since_ms, max(until_ms, since_ms + 1))


def _step_ms(span: Span, width: int) -> int | None:
    """Choose the longest round step that leaves no dot without one; None where samples are as good."""
    per_dot_s = (span.until_ms - span.since_ms) / 1000 / (2 * (width - MARGIN - 2))
    fitting = [step for step in _STEPS_S if step <= per_dot_s]
    return fitting[-1] * 1000 if fitting else None


def _lines(history: History, wanted: Select, damages: Damages) -> Iterator[Line]:
    if wanted.aggregate is Aggregate.INCREASE:
        selects = [wanted]
    else:
        selects = [replace(wanted, rate=True)]
        levels = () if wanted.rate else _levels(history, wanted.fields)
        selects += [replace(wanted, fields=levels)] if levels else []
    for chosen in selects:
        for series in history.read(chosen, damages.note):
            yield _line(series, chosen)


def _levels(history: History, patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the fields that are meant and are drawn as they are."""
    return tuple(
        field.name
        for field in history.fields()
        if field.kind in {FieldKind.GAUGE, FieldKind.STATE}
        and (not patterns or any(fnmatchcase(field.name, pattern) for pattern in patterns))
    )


def _line(series: Series, wanted: Select) -> Line:
    subject, measure = series.subject, series.measure
    name = subject.name or subject.pool or str(subject.kind)
    what = series.field if series.device is None else f"{series.field}[{series.device}]"
    unit = "seconds per second" if measure.per_second and not unit_of(measure) else unit_of(measure)
    title = f"{name} on {subject.host}: {what}{', ' + unit if unit else ''} ({_how(series.field, wanted)})"
    values = [float(scaled(value, measure)) for value in series.values.tolist()]
    return Line(printable(title), measure, series.time_ms.tolist(), values)


def _how(field: str, wanted: Select) -> str:
    if wanted.step_ms is None:
        return "every sample"
    natural = Aggregate.LAST if look_up(field).kind is FieldKind.STATE else Aggregate.MEAN
    return f"{wanted.aggregate or natural} of {Duration(wanted.step_ms / 1000)}"


def _print(lines: Sequence[Line], frame: Frame) -> None:
    rows = ROWS.get(len(lines), ROWS_OF_MANY)
    for text in draw(lines, frame, rows, _scales(lines, rows)):
        sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _scales(lines: Sequence[Line], rows: int) -> list[Scale]:
    """Give lines of one unit one scale, so that they can be compared."""
    found: dict[object, tuple[float, float]] = {}
    for line in lines:
        low, high = found.get(line.measure, (line.values[0], line.values[0]))
        found[line.measure] = (min(low, *line.values), max(high, *line.values))
    return [scale_of(*found[line.measure], rows, is_binary=line.measure.base.startswith("bytes")) for line in lines]
