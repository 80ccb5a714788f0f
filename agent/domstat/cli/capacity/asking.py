"""The frame of every question: the options they all have, the history opened, the answer shown.

A question is a function of :class:`Asked` and options of its own that returns a
:class:`~domstat.cli.capacity.view.View`; its docstring is the command's help. :func:`command` makes the command of it.
What computes (and numpy with it) is imported when a question is asked, not before.
"""

from __future__ import annotations

import inspect
import time
import tomllib
import typing
from collections.abc import Callable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec
import typer
from msgspec import Struct

from domstat.capacity.settings import Capacity
from domstat.cli.capacity import view as views
from domstat.cli.capacity.abreast import abreast
from domstat.cli.capacity.view import Cell, Column, Line, View
from domstat.cli.common import (
    EXIT_TROUBLE,
    EXIT_USAGE,
    ConfigOption,
    SinceOption,
    UntilOption,
    fail,
    load_config,
    moment,
    say,
)
from domstat.cli.history.asking import (
    TABLE_ROWS_MAX,
    Damages,
    Format,
    FormatOption,
    SinkOption,
    chosen_format,
    opened_of,
    show,
    write_json,
)
from domstat.cli.history.selection import GuestOption, HostOption
from domstat.settings import SettingsError, decode
from domstat.text import printable

if TYPE_CHECKING:
    from domstat.capacity.gather import Figures

__all__ = ["Asked", "Cell", "Column", "ExplainOption", "Line", "Question", "View", "command"]

Question: TypeAlias = Callable[..., View]

ExplainOption: TypeAlias = Annotated[
    bool, typer.Option("--explain", help="Say of every number how it came about: inputs, formula, result.")
]
SetOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", help="Another value for a setting: --set cpu_buffer=0.1; may be repeated."),
]

_EXPLAINED_MAX = 400
"""Characters of one line of an explanation."""


class Asked:
    """What a question is asked about."""

    def __init__(self, figures: Figures) -> None:
        self.figures = figures
        self.settings = figures.settings

    def refuse(self, reason: str) -> typing.NoReturn:
        """End the command, saying why it cannot be answered as it was asked."""
        fail(EXIT_USAGE, printable(reason, _EXPLAINED_MAX))

    def fail(self, option: str, found: str, expected: str) -> typing.NoReturn:
        """End the command, saying what is wrong with one of the question's own options."""
        fail(EXIT_USAGE, f'{option}: found "{printable(found)}", expected {expected}')


def command(question: Question, *, disks: bool = True) -> Callable[..., None]:
    """Make a command of a question: its own options, and after them those that all questions have.

    *disks*: whether it asks how large the guests' disks are.
    """

    def asked(**given: Any) -> None:
        common = _Common(**{name: given.pop(name) for name in _COMMON})
        _answer(question, common, given, disks=disks)

    own = inspect.signature(question, eval_str=True)
    parameters = [parameter for name, parameter in own.parameters.items() if name != "asked"]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _COMMON.items()
    ]
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    asked.__name__ = question.__name__
    asked.__doc__ = question.__doc__
    asked.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    asked.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # which typer goes by
    return asked


_COMMON: dict[str, tuple[Any, Any]] = {
    "since": (SinceOption, None),
    "until": (UntilOption, None),
    "host": (HostOption, None),
    "guest": (GuestOption, None),
    "format": (FormatOption, None),
    "explain": (ExplainOption, False),
    "set": (SetOption, None),
    "config": (ConfigOption, None),
    "sink": (SinkOption, None),
}
"""The options that every question has, with what they are without being given."""


class _Common(Struct, frozen=True):
    """What was given to the options of _COMMON."""

    since: str | None
    until: str | None
    host: list[str] | None
    guest: list[str] | None
    format: Format | None
    explain: bool
    set: list[str] | None
    config: Path | None
    sink: str | None


def _answer(question: Question, common: _Common, own: dict[str, Any], *, disks: bool) -> None:
    loaded = load_config(common.config)
    settings = _settings(loaded.capacity, common.set or ())
    now_ms = moment("--until", common.until, time.time_ns() // 1_000_000)
    since_ms = None if common.since is None else moment("--since", common.since, 0)
    if since_ms is not None and since_ms >= now_ms:
        fail(EXIT_USAGE, f'--since: found "{printable(common.since or "")}", expected a time before --until')
    shown = chosen_format(common.format)
    from domstat.capacity.gather import Figures, Selection

    damages = Damages()
    with opened_of(loaded, common.sink, abreast) as history:
        selection = Selection(tuple(common.host or ()), tuple(common.guest or ()), since_ms, disks)
        figures = Figures(history, now_ms, settings, selection, damages.note)
        if not figures.fleet.hosts:
            fail(EXIT_TROUBLE, f'the history has {_nothing(common)}; "domstat history list" says what there is')
        view = question(Asked(figures), **own)
    _show(view, shown, explain=common.explain)
    if damages.count:
        raise typer.Exit(EXIT_TROUBLE)


def _nothing(common: _Common) -> str:
    return "no such host before then" if common.host else "nothing before then" if common.until else "nothing yet"


def _settings(base: Capacity, given: Sequence[str]) -> Capacity:
    """Return the settings with what --set says put in, or exit saying what is wrong with it."""
    raw: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            fail(EXIT_USAGE, f'--set: found "{printable(text)}", expected a setting and its value: cpu_buffer=0.1')
        raw[name.strip()] = _value(value.strip())
    try:
        found = decode(raw, Capacity)
    except SettingsError as error:
        fail(EXIT_USAGE, *(printable(f"--set: {problem}", _EXPLAINED_MAX) for problem in error.problems))
    return msgspec.structs.replace(base, **{name: getattr(found, name) for name in raw})


def _value(text: str) -> Any:
    """Read a value as TOML has it; what is none is text, so that durations need no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _show(view: View, shown: Format, *, explain: bool) -> None:
    for message in view.messages:
        say(printable(message, _EXPLAINED_MAX))
    if shown is Format.TABLE:
        if view.lines:
            _show_table(view)
        for line in chain(view.notes, views.explained_text(view) if explain else ()):
            typer.echo(printable(line, _EXPLAINED_MAX))
    elif explain and shown is Format.JSON:
        write_json(views.explained_lines(view))
    else:
        show(views.explained(view) if explain else views.for_a_program(view), shown)


def _show_table(view: View) -> None:
    """Print a table that is as narrow as its numbers allow."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    answer = views.for_a_person(view)
    rows = list(islice(answer.rows, TABLE_ROWS_MAX))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for place, head in enumerate(answer.columns):
        is_name = all(not row[place][:1].isdigit() for row in rows)
        table.add_column(printable(head), justify="left" if is_name else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console()
    console.print(table)
    if len(view.lines) > TABLE_ROWS_MAX:
        console.print(f"only the first {TABLE_ROWS_MAX} rows; --format csv has them all")
