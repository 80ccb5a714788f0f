"""``domstat history list``: whose history there is, and of what."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from domstat.cli.common import EXIT_TROUBLE, ConfigOption, SinceOption, UntilOption
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
from domstat.cli.history.selection import span
from domstat.history import Answer, Guest, StoredField


def list_(
    fields: Annotated[bool, typer.Option("--fields", help="List the fields instead, with their units.")] = False,
    since: SinceOption = None,
    until: UntilOption = None,
    config: ConfigOption = None,
    sink: SinkOption = None,
    format: FormatOption = None,  # noqa: A002 - the option's name
) -> None:
    """List the guests: name, UUID, hosts, when they were first and last seen, in how many ticks."""
    wanted = span(since, until)
    shown = chosen_format(format)
    damages = Damages()
    with opened(config, sink) as history:
        answer = _of_fields(history.fields()) if fields else _of_guests(history.guests(wanted, damages.note), shown)
        show(answer, shown, whole=_WHOLE)
    if damages.count:
        raise typer.Exit(EXIT_TROUBLE)


WIDE = 110
"""Columns from which on a table has room for whole UUIDs."""

_MINUTE = "%Y-%m-%d %H:%M"
"""How times are written: shorter than elsewhere, so that names have room on 80 columns."""

_WHEN = ("first seen", "last seen")
_WHOLE = frozenset({"field", *_WHEN, "ticks", "uuid"})


def _of_guests(guests: tuple[Guest, ...], shown: Format) -> Answer:
    if shown is Format.TABLE:
        columns = ("guest", "hosts", *_WHEN, "ticks", "uuid")
        is_wide = shutil.get_terminal_size().columns >= WIDE
        return Answer(columns, (_for_a_person(guest, is_wide=is_wide) for guest in guests))
    return Answer(("domain", "uuid", "hosts", "first_ms", "last_ms", "ticks"), _for_a_program(guests, shown))


def _for_a_person(guest: Guest, *, is_wide: bool) -> tuple[Any, ...]:
    when = (local_time(guest.first_ms, _MINUTE), local_time(guest.last_ms, _MINUTE))
    uuid = guest.uuid if is_wide else f"{guest.uuid[:8]}*"  # which --guest takes as it is
    return (guest.name, ", ".join(guest.hosts), *when, guest.ticks, uuid)


def _for_a_program(guests: tuple[Guest, ...], shown: Format) -> Iterator[tuple[Any, ...]]:
    for guest in guests:
        hosts = list(guest.hosts) if shown is Format.JSON else " ".join(guest.hosts)
        yield (guest.name, guest.uuid, hosts, guest.first_ms, guest.last_ms, guest.ticks)


def _of_fields(fields: tuple[StoredField, ...]) -> Answer:
    rows = ((field.name, str(field.kind), field.measure.base, field.measure.scale) for field in fields)
    return Answer(("field", "kind", "unit", "scale"), rows)
