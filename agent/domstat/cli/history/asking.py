"""What the commands share: which history is meant, how rows are shown, and what is said of what cannot be read."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from domstat.cli.common import EXIT_TROUBLE, EXIT_USAGE, fail, load_config, say
from domstat.config import Config, SinkConfig
from domstat.history import Answer, HasHistory, History, HistoryError
from domstat.text import harmless, is_terminal, printable

TABLE_ROWS_MAX = 10_000
"""Rows a table on the screen can have: a table is laid out whole, in memory. JSON and CSV are not limited."""

DAMAGES_SAID_MAX = 20
"""Lines on what cannot be read; the rest is counted."""

_MESSAGE_MAX = 500

_CELL_MAX = 10_000
"""Characters of one value of CSV on a screen."""

_FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""How a text begins that a spreadsheet works out rather than shows; and anybody can call a guest so."""

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", re.ASCII | re.IGNORECASE)


class Format(StrEnum):
    """How the rows are shown."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


SinkOption: TypeAlias = Annotated[
    str | None, typer.Option(help="Which sink's history; needed where there are several.")
]
FormatOption: TypeAlias = Annotated[
    Format | None, typer.Option(help="Default: table on a terminal, JSON lines in a pipe.")
]


Opening: TypeAlias = Callable[[], AbstractContextManager[History]]
"""Opens a history; as often as it is called, and in any process."""


def opened(config: Path | None, sink: str | None) -> AbstractContextManager[History]:
    """Open the history that is meant; what goes wrong with it is said, and ends the command."""
    return opened_of(load_config(config), sink)


@contextmanager
def opened_of(
    loaded: Config, sink: str | None, way: Callable[[Opening], AbstractContextManager[History]] | None = None
) -> Iterator[History]:
    """Open a history of a configuration, perhaps in some *way*, as :func:`opened` does."""
    chosen = chosen_sink(loaded.sinks, sink)
    opener: Any = chosen.sink
    opening: Opening = partial(opener.history, chosen.settings, loaded.state_dir)
    try:
        with way(opening) if way else opening() as history:
            yield history
    except HistoryError as error:
        fail(EXIT_TROUBLE, printable(str(error), _MESSAGE_MAX))


def chosen_sink(sinks: tuple[SinkConfig, ...], name: str | None) -> SinkConfig:
    """Choose the sink whose history is meant, or exit saying how to name it."""
    able = [sink for sink in sinks if isinstance(sink.sink, HasHistory)]
    named = [sink for sink in able if name in {None, sink.name}]
    if len(named) == 1:
        return named[0]
    names = ", ".join(sink.name for sink in able) or "none"
    what = f'no sink "{name}" with a history' if name else f"{len(able)} sinks with a history; choose with --sink"
    fail(EXIT_USAGE, f"{what} (there are: {names})")


class Damages:
    """Says what cannot be read, each thing once, and remembers that there was something."""

    def __init__(self) -> None:
        self.count = 0
        self._said: set[str] = set()

    def note(self, what: str) -> None:
        """Say *what*, unless it has been said, or too much has."""
        self.count += 1
        if what in self._said or len(self._said) > DAMAGES_SAID_MAX:
            return
        self._said.add(what)
        say("and others like it" if len(self._said) > DAMAGES_SAID_MAX else printable(what, _MESSAGE_MAX))


def chosen_format(given: Format | None) -> Format:
    """Return the format to be used."""
    return given or (Format.TABLE if is_terminal(sys.stdout) else Format.JSON)


def show(answer: Answer, shown: Format, *, whole: frozenset[str] = frozenset()) -> None:
    """Print an answer's rows; in a table the columns in *whole* are never broken over several lines."""
    if shown is Format.JSON:
        write_json(dict(zip(answer.columns, map(_plain, row), strict=True)) for row in answer.rows)
    elif shown is Format.CSV:
        cell = _for_screen if is_terminal(sys.stdout) else _for_sheet
        csv.writer(sys.stdout).writerows(chain([answer.columns], (map(cell, row) for row in answer.rows)))
    else:
        _show_table(answer, whole)


def write_json(objects: Iterable[Any]) -> None:
    """Print each object as a line of JSON, in which no terminal finds anything to obey."""
    import msgspec

    encoder = msgspec.json.Encoder()
    for each in objects:
        line = encoder.encode(each) + b"\n"
        is_plain = line.isascii() and b"\x7f" not in line  # what of ASCII is worse JSON has escaped
        sys.stdout.buffer.write(line if is_plain else harmless(line.decode()).encode())
    sys.stdout.flush()


def _for_sheet(value: Any) -> Any:
    """Return what stands for a value in CSV: a text that looks like a formula begins with an apostrophe."""
    plain = _plain(value)
    is_formula = isinstance(plain, str) and plain.startswith(_FORMULA_BEGINS) and not _NUMBER.fullmatch(plain)
    return f"'{plain}" if is_formula else plain


def _for_screen(value: Any) -> Any:
    cell = _for_sheet(value)
    return printable(cell, _CELL_MAX) if isinstance(cell, str) else cell


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _show_table(answer: Answer, whole: frozenset[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in answer.columns:
        table.add_column(printable(name), no_wrap=name in whole, overflow="fold")
    for row in islice(answer.rows, TABLE_ROWS_MAX):
        table.add_row(*(Text(printable(_cell(value))) for value in row))
    console = Console()
    console.print(table)
    if next(answer.rows, None) is not None:
        console.print(f"only the first {TABLE_ROWS_MAX} rows; --format csv has them all")


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(_plain(value))


def local_time(time_ms: int, form: str = "%Y-%m-%d %H:%M:%S %Z") -> str:
    """Write a time for a person, in the zone they are in: ``2026-11-22 23:15:04 CET``."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(time_ms // 1000, UTC).astimezone().strftime(form)
