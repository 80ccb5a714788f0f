"""``domstat sinks show``: one sink, and its settings."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from domstat.cli.common import EXIT_TROUBLE, fail
from domstat.cli.history.asking import Format, FormatOption, chosen_format
from domstat.cli.history.asking import show as show_rows
from domstat.cli.sinks.installed import LINE_MAX, describe, loaded_sink
from domstat.cli.sinks.settings import Setting, settings_of
from domstat.config import SinkCommon
from domstat.history import Answer, HasHistory
from domstat.sink import ClaimsFiles, HasHealth, Sink, find_sinks
from domstat.text import printable

_REQUIRED = "(required)"


def show(
    name: Annotated[str, typer.Argument(help="The sink's type, as in the configuration.")],
    format: FormatOption = None,  # noqa: A002 - the option's name
) -> None:
    """Show a sink: whose it is, what it is for, and its settings with type, default and meaning."""
    sink = loaded_sink(name)
    try:
        settings = settings_of(sink.Settings)
    except TypeError as error:  # a type that no TOML could hold
        fail(EXIT_TROUBLE, printable(f'the sink "{name}" has settings that cannot be described: {error}', LINE_MAX))
    shown = chosen_format(format)
    if shown is not Format.TABLE:
        rows = ((each.name, each.type, each.default, each.default is None, each.help) for each in settings)
        show_rows(Answer(("setting", "type", "default", "required", "help"), rows), shown)
        return
    for line in _head(name, sink):
        typer.echo(printable(line, LINE_MAX))
    show_rows(
        Answer(("setting", "type", "default", "help"), map(_row, settings)), shown, whole=frozenset({"setting", "help"})
    )
    common = ", ".join(SinkCommon.__struct_fields__)
    typer.echo(f"every sink has besides: {common}; see domstat config")


def _head(name: str, sink: type[Sink]) -> list[str]:
    whose = describe(find_sinks()[name])
    lines = [
        f"sink          {name}, {whose.target}",
        f"distribution  {whose.distribution or 'unknown'} {whose.version}, from {whose.place or 'an unknown place'}",
    ]
    purpose = inspect.cleandoc(sink.Settings.__doc__ or "")
    abilities = [word for word, has_it in _abilities(sink) if has_it]
    if purpose:
        lines.append(f"what it does  {' '.join(purpose.split())}")
    if abilities:
        lines.append(f"besides       {', '.join(abilities)}")
    return lines


def _abilities(sink: Any) -> list[tuple[str, bool]]:
    return [
        ("answers questions (domstat history)", isinstance(sink, HasHistory)),
        ("says how it is", isinstance(sink, HasHealth)),
        ("names the files it writes", isinstance(sink, ClaimsFiles)),
        ("takes what is fresh before a backlog", bool(getattr(sink, "any_order", False))),
    ]


def _row(setting: Setting) -> tuple[str, str, str, str]:
    return (setting.name, setting.type, _REQUIRED if setting.default is None else setting.default, setting.help)
