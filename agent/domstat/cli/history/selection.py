"""The options that say which series are meant, shared by all commands that read some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeAlias

import typer

from domstat.cli.common import EXIT_USAGE, fail, moment
from domstat.history import EVER_MS, Aggregate, Select, Span
from domstat.model import Kind
from domstat.settings import Duration
from domstat.text import printable

GuestOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--guest", "-g", help="Which guests: a name, a UUID, or a pattern such as 'web-*'; may be repeated."),
]
HostOption: TypeAlias = Annotated[list[str] | None, typer.Option(help="Only of these hosts, in the same way.")]
FieldOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--field", "-f", help="Which fields, in the same way: cpu.time, 'block.*.bytes' …"),
]
DeviceOption: TypeAlias = Annotated[
    list[str] | None, typer.Option(help="Which devices, in the same way: vda, 0, '52:54:*' …")
]
CollectOption: TypeAlias = Annotated[list[str] | None, typer.Option(help="Only of these collect blocks.")]
KindOption: TypeAlias = Annotated[
    list[str] | None, typer.Option(help="Only of guest, host, pool or agent; may be repeated.")
]
RateOption: TypeAlias = Annotated[bool, typer.Option("--rate", help="Counters only, per second.")]
StepOption: TypeAlias = Annotated[
    str | None, typer.Option(help='One value for each such span of time: "5m", "1h". Without it, every sample.')
]
AggregateOption: TypeAlias = Annotated[
    Aggregate | None,
    typer.Option(help="What a step has of its samples. Default: the mean of rates and gauges, the last of all else."),
]
ExactOption: TypeAlias = Annotated[
    bool, typer.Option("--exact", help="Exact values, whatever that costs. Default: roll-ups answer to 1 %.")
]

TOLERANCE = 0.01
"""How far values may be from the exact ones, where nobody asks for these."""


def select(
    *,
    since: str | None,
    until: str | None,
    guests: Sequence[str] | None,
    hosts: Sequence[str] | None,
    collects: Sequence[str] | None,
    kinds: Sequence[str] | None,
    fields: Sequence[str] | None,
    devices: Sequence[str] | None,
    rate: bool,
    step: str | None,
    aggregate: Aggregate | None,
    exact: bool = True,
) -> Select:
    """Put together what is wanted, or exit saying which option is wrong."""
    return Select(
        span=span(since, until),
        guests=tuple(guests or ()),
        hosts=tuple(hosts or ()),
        collects=tuple(collects or ()),
        kinds=tuple(_kind(kind) for kind in kinds or ()),
        fields=tuple(fields or ()),
        devices=tuple(devices or ()),
        rate=rate,
        step_ms=_step_ms(step),
        aggregate=aggregate,
        tolerance=0.0 if exact else TOLERANCE,
    )


def span(since: str | None, until: str | None) -> Span:
    """Read the span that is meant, or exit saying what is wrong with it."""
    found = Span(moment("--since", since, 0), moment("--until", until, EVER_MS))
    if found.since_ms >= found.until_ms:
        fail(EXIT_USAGE, f'--until: found "{printable(until or "now")}", expected a time after --since')
    return found


def _kind(text: str) -> Kind:
    for kind in (Kind.GUEST, Kind.HOST, Kind.POOL, Kind.AGENT):
        if text == kind:
            return kind
    fail(EXIT_USAGE, f'--kind: found "{printable(text)}", expected guest, host, pool or agent')


def _step_ms(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        step_ms = round(1000 * Duration.parse(text))
    except ValueError as error:
        fail(EXIT_USAGE, f'--step: found "{printable(text)}", expected {error}')
    if step_ms < 1:
        fail(EXIT_USAGE, f'--step: found "{printable(text)}", expected a millisecond or more')
    return step_ms


def what_is_there(wanted: Select) -> str:
    """Say that nothing was found, and where to look."""
    of = "counter" if wanted.rate else "series"
    return f'no such {of} has a value in this span; "domstat history list" says what there is, --fields of which fields'
