"""``domstat status``: asks the agent that runs how it is."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from domstat.cli.common import EXIT_TROUBLE, ConfigOption, fail, load_config
from domstat.text import harmless, is_terminal, printable, size, span

if TYPE_CHECKING:
    from rich.console import Console

    from domstat.deliver.account import JournalAccount, SinkAccount
    from domstat.status import Report, StreamAccount

TIMEOUT_S = 5.0
"""How long the agent may take: it answers within milliseconds, unless its disk hangs."""

PIPE_COLUMNS = 160
"""Width of a table that goes into a pipe, unless COLUMNS says otherwise."""

TEXT_MAX = 100
"""Characters of an error in a table; --format json has it all."""


class Format(StrEnum):
    """How the status is shown."""

    TABLE = "table"
    JSON = "json"


def status(
    config: ConfigOption = None,
    socket: Annotated[
        Path | None,
        typer.Option(help="The agent's socket, for whoever may not read its configuration. Default: the one there."),
    ] = None,
    format: Annotated[  # noqa: A002 - the option's name
        Format | None, typer.Option(help="Default: table on a terminal, JSON in a pipe.")
    ] = None,
) -> None:
    """Ask the running agent how it is: streams, sinks, what waits for them, the last errors.

    The exit code is 0 if all is well, 1 if something is not or no agent answers.
    """
    from domstat.status import StatusError, ask, read

    shown = format or (Format.TABLE if is_terminal(sys.stdout) else Format.JSON)
    try:
        answer = ask(socket or load_config(config).status_socket, TIMEOUT_S)
        report = read(answer)
    except StatusError as error:
        fail(EXIT_TROUBLE, printable(str(error), 500))
    if shown is Format.JSON:
        typer.echo(harmless(answer.decode()), nl=False)
    else:
        _show(report)
    if not report.healthy:
        raise typer.Exit(EXIT_TROUBLE)


def _show(report: Report) -> None:
    from rich.console import Console

    width = None if is_terminal(sys.stdout) else shutil.get_terminal_size((PIPE_COLUMNS, 0)).columns
    console = Console(width=width)
    now_s = time.time()
    _print_table(console, _STREAM_COLUMNS, map(_stream_row, report.streams))
    _print_table(console, _SINK_COLUMNS, (_sink_row(sink, now_s) for sink in report.sinks))
    for line in _lines(report):
        console.print(line, markup=False, highlight=False)


BUSY_S = 5.0
"""A write that takes longer is shown: the sink may hang, and is called good until that is known."""

_STREAM_COLUMNS = (
    "host",
    "block",
    "every",
    "ticks",
    "last",
    "state",
    "skipped",
    "failed",
    "stuck",
    "killed",
    "reconnects",
)
_SINK_COLUMNS = ("sink", "state", "behind", "waits", "written", "rejected", "dropped", "write", "last error")


def _stream_row(stream: StreamAccount) -> Iterator[str]:
    from domstat.settings import Duration

    yield stream.host
    yield stream.collect
    yield str(Duration(stream.interval_s))
    yield str(stream.ticks)
    yield f"{span(stream.silent_s)} ago" if stream.ticked_ms is not None else "never"
    yield stream.failing or ("late" if stream.is_late else "waits" if stream.ticked_ms is None else "ok")
    yield from map(str, (stream.skipped, stream.failed, stream.quarantined, stream.workers_killed, stream.reconnects))


def _sink_row(sink: SinkAccount, now_s: float) -> Iterator[str]:
    yield sink.name
    yield f"busy {span(sink.busy_s)}" if sink.busy_s > BUSY_S else sink.state
    yield f"{sink.lag_batches} ticks, {span(sink.lag_s)}" if sink.lag_batches else "0"
    yield size(sink.backlog_bytes)
    yield from map(str, (sink.written, sink.rejected, sum(sink.dropped.values())))
    yield f"{sink.write_s * 1000:.0f} ms"
    ago = "" if sink.last_error_at is None else f"{span(now_s - sink.last_error_at)} ago: "
    yield f"{ago}{sink.last_error}"


def _lines(report: Report) -> Iterator[str]:
    yield f"journal    {_journal(report.journal)}"
    for name, records in report.journal.strangers.items():
        hint = "though it is not configured; see domstat sinks forget"
        yield f"kept       {records} records for {printable(name)}, {hint}"
    yield f"agent      domstat {printable(report.version)}, process {report.pid}, running for {span(report.uptime_s)}"
    for reason in report.reasons:
        yield f"trouble    {printable(reason, 500)}"
    if report.healthy:
        yield "all is well"


def _journal(journal: JournalAccount) -> str:
    if journal.failing is not None:
        return f"cannot be written: {printable(journal.failing)}"
    lost = f", {journal.lost} records lost" if journal.lost else ""
    return f"{size(journal.bytes)}, last commit {journal.commit_s * 1000:.1f} ms{lost}"


def _print_table(console: Console, columns: Sequence[str], rows: Iterable[Iterable[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns)
    for row in rows:
        table.add_row(*(Text(printable(cell, TEXT_MAX)) for cell in row))
    if table.row_count:
        console.print(table)
