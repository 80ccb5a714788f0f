"""``domstat history``: the stored history."""

from __future__ import annotations

import csv
import sys
from enum import StrEnum
from itertools import chain, islice
from typing import Annotated, Any

import typer

from domstat.cli.common import EXIT_TROUBLE, EXIT_USAGE, ConfigOption, fail, load_config
from domstat.config import SinkConfig
from domstat.history import Answer, HasHistory, HistoryError
from domstat.text import is_terminal

app = typer.Typer(help="The stored history.", no_args_is_help=True)

TABLE_ROWS_MAX = 10_000
"""Rows a table on the screen can have: a table is laid out whole, in memory. JSON and CSV are not limited."""


class Format(StrEnum):
    """How the rows are shown."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@app.callback()
def callback() -> None:
    """Keep ``sql`` a subcommand although it is the only one so far."""


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One SQL query over the views samples and rates.")],
    config: ConfigOption = None,
    sink: Annotated[str | None, typer.Option(help="Which sink's history; needed where there are several.")] = None,
    format: Annotated[  # noqa: A002 - the option's name
        Format | None, typer.Option(help="Default: table on a terminal, JSON lines in a pipe.")
    ] = None,
) -> None:
    """Ask the history one SQL query."""
    loaded = load_config(config)
    chosen = choose(loaded.sinks, sink)
    opener: Any = chosen.sink
    try:
        with opener.history(chosen.settings, loaded.state_dir) as history:
            show(history.sql(query), format or (Format.TABLE if is_terminal(sys.stdout) else Format.JSON))
    except HistoryError as error:
        fail(EXIT_TROUBLE, str(error))


def choose(sinks: tuple[SinkConfig, ...], name: str | None) -> SinkConfig:
    """Choose the sink whose history is meant, or exit saying how to name it."""
    able = [sink for sink in sinks if isinstance(sink.sink, HasHistory)]
    named = [sink for sink in able if name in {None, sink.name}]
    if len(named) == 1:
        return named[0]
    names = ", ".join(sink.name for sink in able) or "none"
    what = f'no sink "{name}" with a history' if name else f"{len(able)} sinks with a history; choose with --sink"
    fail(EXIT_USAGE, f"{what} (there are: {names})")


def show(answer: Answer, shown: Format) -> None:
    """Print an answer's rows."""
    if shown is Format.JSON:
        import msgspec

        encoder = msgspec.json.Encoder(enc_hook=lambda value: value.hex())  # a blob
        for row in answer.rows:
            sys.stdout.buffer.write(encoder.encode(dict(zip(answer.columns, map(_plain, row), strict=True))) + b"\n")
        sys.stdout.flush()
    elif shown is Format.CSV:
        csv.writer(sys.stdout).writerows(chain([answer.columns], answer.rows))
    else:
        _show_table(answer)


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _show_table(answer: Answer) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from domstat.text import printable

    table = Table(*answer.columns)
    for row in islice(answer.rows, TABLE_ROWS_MAX):
        table.add_row(*(Text(printable(_cell(value))) for value in row))
    console = Console()
    console.print(table)
    if next(answer.rows, None) is not None:
        console.print(f"only the first {TABLE_ROWS_MAX} rows; --format csv has them all")


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(_plain(value))
