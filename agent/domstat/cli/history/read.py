"""``domstat history read``: the values of series, a row each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import typer

from domstat.cli.common import EXIT_TROUBLE, ConfigOption, SinceOption, UntilOption, fail
from domstat.cli.history.asking import (
    Damages,
    Format,
    FormatOption,
    SinkOption,
    chosen_format,
    local_time,
    opened,
    show,
)
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
from domstat.history import Answer, Series


def read(
    *,
    guest: GuestOption = None,
    field: FieldOption = None,
    device: DeviceOption = None,
    rate: RateOption = False,
    since: SinceOption = None,
    until: UntilOption = None,
    step: StepOption = None,
    aggregate: AggregateOption = None,
    exact: ExactOption = False,
    host: HostOption = None,
    collect: CollectOption = None,
    kind: KindOption = None,
    config: ConfigOption = None,
    sink: SinkOption = None,
    format: FormatOption = None,  # noqa: A002 - the option's name
) -> None:
    """Read series: their samples or rates, or one value a step.

    A table has values in base units; JSON lines and CSV have them as they are stored, exactly, with the factor that
    makes base units of them.
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
    shown = chosen_format(format)
    damages = Damages()
    with opened(config, sink) as history:
        rows = _Rows(history.read(wanted, damages.note), shown)
        show(Answer(rows.columns, iter(rows)), shown, whole=frozenset({"time", "value"}))
    if not rows.count:
        fail(EXIT_TROUBLE, what_is_there(wanted))
    if damages.count:
        raise typer.Exit(EXIT_TROUBLE)


class _Rows:
    """Series as rows, counted as they go by."""

    def __init__(self, series: Iterable[Series], shown: Format) -> None:
        self.count = 0
        self._series = series
        self._for_a_person = shown is Format.TABLE
        self.columns: tuple[str, ...] = _FOR_A_PERSON if self._for_a_person else _FOR_A_PROGRAM

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        rows = _rows_for_a_person if self._for_a_person else _rows_for_a_program
        for one in self._series:
            for row in rows(one):
                self.count += 1
                yield row


_FOR_A_PERSON = ("time", "host", "of", "field", "device", "value", "unit", "tier")
_FOR_A_PROGRAM = (
    "time_ms", "host", "collect", "kind", "uuid", "domain", "pool", "field", "device", "value", "unit", "scale",
    "per_second", "tier",
)  # fmt: skip
"""As the views ``samples`` and ``rates`` call them, as far as they have them."""


def _rows_for_a_person(series: Series) -> Iterator[tuple[Any, ...]]:
    subject = series.subject
    about = (subject.host, subject.name or subject.pool or str(subject.kind), series.field, series.device)
    unit = unit_of(series.measure)
    for time_ms, value in zip(series.time_ms.tolist(), series.values.tolist(), strict=True):
        yield (local_time(time_ms), *about, scaled(value, series.measure), unit, series.tier)


def _rows_for_a_program(series: Series) -> Iterator[tuple[Any, ...]]:
    subject, measure = series.subject, series.measure
    whose = (subject.host, subject.collect, str(subject.kind), subject.uuid, subject.name, subject.pool)
    unit = (measure.base, measure.scale, measure.per_second)
    for time_ms, value in zip(series.time_ms.tolist(), series.values.tolist(), strict=True):
        yield (time_ms, *whose, series.field, series.device, value, *unit, series.tier)
