"""``domstat sinks list``: every sink there is, and whose it is."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from domstat.cli.common import ConfigOption, say
from domstat.cli.history.asking import Format, FormatOption, chosen_format, show
from domstat.cli.sinks.installed import LINE_MAX, Installed, installed
from domstat.config import find_file, parse
from domstat.history import Answer
from domstat.text import printable

_COLUMNS = ("sink", "version", "distribution", "from", "configured", "loads")
_WHOLE = frozenset({"sink", "version", "loads"})


def list_(
    config: ConfigOption = None,
    format: FormatOption = None,  # noqa: A002 - the option's name
) -> None:
    """List the sinks that are installed: whose they are, where they came from, whether they load."""
    names = configured(config)
    found = installed()
    if chosen_format(format) is Format.JSON:
        show(Answer((*_COLUMNS, "why_not"), _for_a_program(found, names)), Format.JSON)
        return
    show(Answer(_COLUMNS, _for_a_person(found, names)), chosen_format(format), whole=_WHOLE)
    for sink in found:
        if sink.why_not:
            say(printable(sink.why_not, LINE_MAX))


def configured(config: Path | None) -> dict[str, list[str]] | None:
    """Return the names of the configured sinks by their type, or None, having said why that is not known.

    From the file's own words: a sink that does not load, or whose settings are wrong, is configured all the same.
    """
    path = find_file(config)
    try:
        tables: Any = tomllib.loads(path.read_text(encoding="utf-8")).get("sinks") if path else None
    except (OSError, ValueError, RecursionError) as error:
        say(printable(f"{path}: cannot be read, so what is configured is not known: {error}", LINE_MAX))
        return None
    if tables is None:
        tables = [{"type": sink.common.type, "name": sink.name} for sink in parse("").sinks]
    found: dict[str, list[str]] = {}
    for table in tables if isinstance(tables, list) else []:
        if isinstance(table, dict) and isinstance(table.get("type"), str):
            found.setdefault(table["type"], []).append(str(table.get("name", table["type"])))
    return found


def _for_a_person(sinks: list[Installed], names: dict[str, list[str]] | None) -> Iterator[tuple[Any, ...]]:
    for sink in sinks:
        as_what = "?" if names is None else ", ".join(names.get(sink.name, ()))
        yield (sink.name, sink.version, sink.distribution, sink.place, as_what, "no" if sink.why_not else "yes")


def _for_a_program(sinks: list[Installed], names: dict[str, list[str]] | None) -> Iterator[tuple[Any, ...]]:
    for sink in sinks:
        as_what = None if names is None else names.get(sink.name, [])
        yield (sink.name, sink.version, sink.distribution, sink.place, as_what, not sink.why_not, sink.why_not or None)
