"""``domstat capacity whatif``: the summary before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from domstat.cli.capacity.asking import Asked, Cell, Column, Line, View
from domstat.cli.capacity.summary import ALL_HOSTS

if TYPE_CHECKING:
    from domstat.capacity.changes import Change
    from domstat.capacity.standing import Standing
    from domstat.capacity.summary import Summary

NAMES_SAID_MAX = 20
"""Guests that are named in a note; the rest are counted."""

COLUMNS = (
    Column("host", "host"),
    Column("resource", "of"),
    Column("usable_before", None),
    Column("usable_after", None),
    Column("allocated_before", "given"),
    Column("allocated_after", "then"),
    Column("ratio_before", None),
    Column("ratio_after", None),
    Column("demand_peak_before", "peak"),
    Column("demand_peak_after", "then"),
    Column("remaining_before", "left"),
    Column("remaining_after", "then"),
    Column("days_conservative_before", "time left"),
    Column("days_conservative_after", "then"),
)

AddOption = Annotated[
    list[str] | None,
    typer.Option("--add", help="So many guests like one: 5:web-1; on a certain host: 5:web-1@kvm2. May be repeated."),
]
RemoveOption = Annotated[list[str] | None, typer.Option("--remove", help="A guest less.")]
ResizeOption = Annotated[
    list[str] | None, typer.Option("--resize", help="Another size for a guest: db-1:8vcpu,16GiB, or one of these.")
]
MoveOption = Annotated[list[str] | None, typer.Option("--move", help="A guest on another host: web-1:kvm2.")]
LoseOption = Annotated[list[str] | None, typer.Option("--lose-host", help="A host less.")]


def whatif(
    asked: Asked,
    *,
    add: AddOption = None,
    remove: RemoveOption = None,
    resize: ResizeOption = None,
    move: MoveOption = None,
    lose_host: LoseOption = None,
) -> View:
    """Say how hosts would stand if guests were removed, resized, moved or added, or a host lost; in that order."""
    from domstat.capacity import changes as of
    from domstat.capacity.whatif import ChangeError
    from domstat.capacity.whatif import whatif as what_if

    changes: list[Change] = [
        *_read(asked, "--remove", remove, of.Remove),
        *_read(asked, "--resize", resize, of.resize),
        *_read(asked, "--move", move, of.move),
        *_read(asked, "--add", add, of.add),
        *_read(asked, "--lose-host", lose_host, of.Lose),
    ]
    if not changes:
        asked.refuse("nothing is changed: say --add, --remove, --resize, --move or --lose-host")
    try:
        answer = what_if(asked.figures, changes)
    except ChangeError as error:
        asked.refuse(str(error))
    messages = [*answer.notes]
    if answer.placed:
        messages.append("placed: " + _named([f"{guest} on {host}" for guest, host in answer.placed]))
    if answer.unplaced:
        messages.append("no room for: " + _named(answer.unplaced))
    return View(COLUMNS, tuple(_lines(answer.before, answer.after)), messages=tuple(messages))


def _read(asked: Asked, option: str, texts: Sequence[str] | None, read: Callable[[str], Change]) -> Iterator[Change]:
    for text in texts or ():
        try:
            yield read(text)
        except ValueError as error:
            asked.fail(option, text, str(error))


def _named(names: Sequence[str]) -> str:
    more = len(names) - NAMES_SAID_MAX
    return ", ".join(names[:NAMES_SAID_MAX]) + (f" and {more} more" if more > 0 else "")


def _lines(before: Sequence[Summary], after: Sequence[Summary]) -> Iterator[Line]:
    then = {(one.host, one.resource): one for summary in after for one in summary.standings}
    for summary in before:
        for now in summary.standings:
            yield _line(now, then.get((now.host, now.resource)))


def _line(now: Standing, then: Standing | None) -> Line:
    both = (_figures(now), (None,) * len(_figures(now)) if then is None else _figures(then))
    return (now.host or ALL_HOSTS, str(now.resource), *(cell for pair in zip(*both, strict=True) for cell in pair))


def _figures(one: Standing) -> tuple[Cell, ...]:
    return (one.usable, one.allocated, one.ratio, one.peak, one.remaining, one.time_remaining)
