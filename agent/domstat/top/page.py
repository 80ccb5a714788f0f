"""The page as lines: hosts on top, then guests, or one guest, or help; the last line says what keys do. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from textwrap import wrap
from typing import TypeAlias

from domstat import units
from domstat.text import printable
from domstat.top.columns import BUSY, ORDERS, STOLEN, Column, chosen
from domstat.top.fleet import Picture
from domstat.top.guest import Row
from domstat.top.guestpage import guest_lines
from domstat.top.hostlines import host_lines
from domstat.top.lines import Frame, Line, Tone, counted, cut, fit, spark
from domstat.top.measures import CPU
from domstat.top.view import View, listed, place_of

TROUBLE_LINES, TROUBLE_MAX = 4, 500
"""Lines, and characters, for why there is nothing."""

NAME_ENOUGH = 32
"""Cells of a guest's name, where there is room for more: then the last hour of its CPU stands beside it."""

SPARK_MIN, SPARK_MAX = 20, 60
"""Cells of that: in fewer nothing can be seen, and more are no finer."""

Hour: TypeAlias = Callable[[Row, int], Sequence[float | None]]
"""Gives a measure's last hour of a guest."""


def room_of(view: View, picture: Picture, frame: Frame) -> int:
    """Return how many lines of a page scroll."""
    above = len(_trouble(frame)) + len(host_lines(picture.hosts, view.host, frame))
    return max(1, frame.height - 2 - above - (0 if view.opened else 1))


def compose(view: View, picture: Picture, frame: Frame, hour: Hour) -> list[Line]:
    """Lay the page out: as many lines as there are, each exactly as wide."""
    if view.helping:
        body = [_plain(text) for text in HELP.splitlines()]
    else:
        room = room_of(view, picture, frame)
        shown = (
            _guest(view, picture, room, frame, hour) if view.opened else _list(view, picture, room, frame.width, hour)
        )
        body = [*_trouble(frame), *host_lines(picture.hosts, view.host, frame), *shown]
    body = [_title(view, picture, frame), *body][: max(0, frame.height - 1)]
    body += [()] * (frame.height - 1 - len(body))
    return [cut(line, frame.width) for line in [*body, _foot(view)]][: frame.height]


def _plain(text: str) -> Line:
    return ((text, "plain"),)


def _title(view: View, picture: Picture, frame: Frame) -> Line:
    time = datetime.fromtimestamp((picture.time_ms or frame.now_ms) / 1000, frame.zone)
    order = f"by {view.order.name}{', reversed' if view.reversed else ''}"
    parts = [f"{time:%H:%M:%S}", frame.source, f"{counted(len(picture.guests), 'guest')} {order}"]
    if view.filter or view.host:
        wanted = f' "{view.filter}"' if view.filter else ""
        parts.append(f"only{wanted}{f' on {view.host}' if view.host else ''}")
    text = fit("domstat top · " + " · ".join(parts), frame.width - (8 if view.paused else 0))
    return ((text, "strong"), (" PAUSED ", "bad")) if view.paused else ((text, "strong"),)


def _trouble(frame: Frame) -> list[Line]:
    if frame.trouble is None:
        return []
    # Where a path is long, what is wrong stands at the end.
    lines = wrap(printable(frame.trouble, TROUBLE_MAX), max(frame.width, 2))
    return [((line, "bad"),) for line in lines[:TROUBLE_LINES]]


# Guests.


def _list(view: View, picture: Picture, room: int, width: int, hour: Hour) -> list[Line]:
    columns, name = chosen(width, several_hosts=len(picture.hosts) > 1 and view.host is None)
    sparks = name - NAME_ENOUGH - 1
    if sparks >= SPARK_MIN:
        sparks = min(sparks, SPARK_MAX)
        name -= sparks + 1
    else:
        sparks = 0
    rows = listed(view, picture)
    place = place_of(view, rows)
    heading = _heading(columns, name, view)
    lines: list[Line] = [(*heading, (f" {fit('CPU, last hour', sparks)}", "head")) if sparks else heading]
    if not rows:
        lines.append(((_nothing(picture), "dim"),))
    for at, row in enumerate(rows[view.first : view.first + room], view.first):
        pieces = _row(row, columns, name)
        if sparks:
            pieces = (*pieces, (f" {fit(spark(hour(row, CPU), sparks, full=1.0), sparks)}", "bar"))
        lines.append(tuple((text, "chosen") for text, _ in pieces) if at == place else pieces)
    return lines


def _nothing(picture: Picture) -> str:
    if picture.guests:
        return "no guest is like that: / changes what is looked for, escape shows all"
    return "no guest runs" if picture.time_ms else "waiting for the first figures …"


def _heading(columns: tuple[Column, ...], name: int, view: View) -> Line:
    sign = "▲" if view.reversed != (view.order.key == "g") else "▼"
    pieces: list[tuple[str, Tone]] = [(fit(f"guest{sign}" if view.order.key == "g" else "guest", name), "head")]
    marked = False
    for column in columns:
        sorts = column.sort == view.order.key and not marked
        marked |= sorts
        title = column.title + sign if sorts else column.title
        pieces.append((" " + fit(title, column.width, right=column.right), "head"))
    return tuple(pieces)


def _row(row: Row, columns: tuple[Column, ...], name: int) -> Line:
    pieces: list[tuple[str, Tone]] = [(fit(row.name, name), "bad" if row.stuck else "strong")]
    for column in columns:
        cell = column.cell(row)
        tone = "dim" if cell == units.MISSING else column.tone(row)
        pieces.append((" " + fit(cell, column.width, right=column.right), tone))
    return tuple(pieces)


def _guest(view: View, picture: Picture, room: int, frame: Frame, hour: Hour) -> list[Line]:
    row = picture.guest(view.opened)
    if row is None:
        return [(("this guest has gone; escape goes back to the list", "warn"),)]
    lines = guest_lines(row, frame.width, lambda measure: hour(row, measure))
    first = min(view.first, max(0, len(lines) - room))
    return lines[first : first + room]


# The last line, and help.


def _foot(view: View) -> Line:
    if view.typing:
        return (("/", "strong"), (view.filter, "plain"), ("▏", "strong"), ("  enter keeps it, escape drops it", "dim"))
    if view.helping:
        keys = [("any key", "goes back")]
    elif view.opened:
        keys = [("↑↓", "scroll"), ("esc", "back"), ("p", "pause"), ("?", "help"), ("q", "quit")]
    else:
        orders = "".join(order.key for order in ORDERS)
        keys = [(orders, "sort"), ("r", "reverse"), ("/", "filter"), ("enter", "open"), ("h", "host"), ("p", "pause")]
        keys += [("?", "help"), ("q", "quit")]
    pieces: list[tuple[str, Tone]] = []
    for key, what in keys:
        pieces += [(key, "strong"), (f" {what}  ", "dim")]
    return tuple(pieces)


HELP = f"""
Sort by      c  CPU, in host CPUs kept busy    m  memory used
             d  disk, read and written         n  network, both ways
             s  steal                          l  latency
             g  the guest's name               r  the other way round

Look at      up, down, page up, page down, home, end
             enter  a guest's vCPUs, disks, NICs, last hour; escape goes back
             /      guests whose name has this in it, or is like it: web-*
             h      one host after the other, and all again
             p      stop the picture, and let it go on
             q      leave

CPU          of what a guest's vCPUs could use; yellow from {BUSY:.0%} on
memory       used/given, as the guest's balloon driver says; "rss" is what its
             process holds on the host, where the driver says nothing
lat          mean time of a read or write in the last interval
steal        of the vCPU that waits most for a host CPU; yellow from {STOLEN:.0%} on
STUCK        its process does not answer: what it would have to say is missing
"""
"""What is shown for ?; all of it fits into 80 columns and 24 lines."""
