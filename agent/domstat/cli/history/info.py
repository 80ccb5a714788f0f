"""``domstat history info``: what the history has, how whole it is, and how large."""

from __future__ import annotations

from typing import Annotated

import typer

from domstat.cli.common import EXIT_USAGE, ConfigOption, fail
from domstat.cli.history.asking import Format, SinkOption, chosen_format, local_time, opened, write_json
from domstat.history import Coverage, Info
from domstat.text import printable, size, span


def info(
    config: ConfigOption = None,
    sink: SinkOption = None,
    format: Annotated[  # noqa: A002 - the option's name
        Format | None, typer.Option(help="table or json. Default: table on a terminal, JSON in a pipe.")
    ] = None,
) -> None:
    """Say what the history has: since when, of which streams, how many values, how much room they take."""
    if format is Format.CSV:
        fail(EXIT_USAGE, "--format: found csv, expected table or json")
    with opened(config, sink) as history:
        found = history.info()
    if chosen_format(format) is Format.TABLE:
        _show(found)
    else:
        write_json([found])


def _show(found: Info) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, soft_wrap=True)
    for line in [*_of_the_file(found), "", *(line for stream in found.streams for line in _of_a_stream(stream))]:
        console.print(line)


def _of_the_file(found: Info) -> list[str]:
    per_value = found.file_bytes / found.values if found.values else 0.0
    tiers = ", ".join(f"{tier.name} {size(tier.stored_bytes)}" for tier in found.tiers)
    return [
        f"file      {printable(found.path)} (schema {found.schema})",
        f"size      {size(found.file_bytes)}, of it free {size(found.free_bytes)}; WAL {size(found.wal_bytes)}",
        f"tiers     {tiers or 'nothing yet'}",
        f"values    {found.values} in {found.ticks} ticks; {per_value:.2f} bytes each, of the whole file",
        f"span      {local_time(found.span.since_ms)} to {local_time(found.span.until_ms)}"
        if found.ticks
        else "span      nothing yet",
    ]


def _of_a_stream(stream: Coverage) -> list[str]:
    name = printable(f"{stream.host}/{stream.collect}")
    seen = f"{stream.ticks} ticks from {local_time(stream.first_ms)} to {local_time(stream.last_ms)}"
    lost = [f"  lost    {span(loss.lost_ms / 1000)}: {printable(loss.reason)}" for loss in stream.losses]
    return [f"{name}: {seen}, {stream.share:.1%} of the whole span", *lost]
