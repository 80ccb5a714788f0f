"""What of the picture is looked at, and what keys do to that. Pure: a view and a key in, a view out."""

from __future__ import annotations

from fnmatch import fnmatchcase

from msgspec import Struct
from msgspec.structs import replace

from domstat.top.columns import ORDERS, Order
from domstat.top.fleet import Picture
from domstat.top.guest import Key, Row

FILTER_MAX = 60
"""Characters of a filter: it stands in one line of a narrow screen."""


class View(Struct, frozen=True, kw_only=True):
    """What is looked at.

    *chosen* is the guest under the bar, None the first whichever that is; *opened* the one whose devices are shown.
    *typing* is whether keys go into the filter. *first* is the line that is shown uppermost of what can be scrolled.
    """

    order: Order = ORDERS[0]
    reversed: bool = False
    filter: str = ""
    typing: bool = False
    host: str | None = None
    chosen: Key | None = None
    opened: Key | None = None
    helping: bool = False
    paused: bool = False
    quitting: bool = False
    first: int = 0


def listed(view: View, picture: Picture) -> list[Row]:
    """Return the guests that are looked at, in their order; who has no value comes last, whichever way it goes."""
    rows = [row for row in picture.guests if view.host in {None, row.host} and matches(view.filter, row)]
    value = view.order.value
    # Equal ones stay where they were: by name and uuid, so that nothing jumps about.
    rows.sort(key=lambda row: (row.name, row.uuid, row.host))
    known = [row for row in rows if value(row) is not None]
    is_text = view.order.key == "g"
    known.sort(key=lambda row: _comparable(value(row)), reverse=view.reversed if is_text else not view.reversed)
    return known + [row for row in rows if value(row) is None]


def _comparable(value: float | str | None) -> tuple[float, str]:
    return (0.0, value) if isinstance(value, str) else (value or 0.0, "")


def matches(wanted: str, row: Row) -> bool:
    """Whether a guest's name or UUID has *wanted* in it, or is of that pattern if it is one; case does not matter."""
    small = wanted.casefold()
    pattern = small if any(sign in small for sign in "*?[") else f"*{small}*"
    return not wanted or fnmatchcase(row.name.casefold(), pattern) or fnmatchcase(row.uuid, pattern)


def place_of(view: View, rows: list[Row]) -> int:
    """Return where the bar is; at the top if its guest is not there."""
    return next((place for place, row in enumerate(rows) if row.key == view.chosen), 0)


def pressed(view: View, key: str, character: str | None, picture: Picture, room: int) -> View:
    """Return the view after a key, named as textual names them, that writes *character*; *room* is lines of a page."""
    if view.typing:
        return _typed(view, key, character)
    if view.helping:
        return replace(view, helping=False, first=0, quitting=key == "q")
    if key == "q":
        return replace(view, quitting=True)
    if key in {"question_mark", "f1"} or character == "?":
        return replace(view, helping=True)
    if key in {"p", "space"}:
        return replace(view, paused=not view.paused)
    return _in_guest(view, key, room) if view.opened else _in_list(view, key, character, picture, room)


def _typed(view: View, key: str, character: str | None) -> View:
    if key == "enter":
        return replace(view, typing=False)
    if key == "escape":
        return replace(view, typing=False, filter="")
    if key == "backspace":
        return replace(view, filter=view.filter[:-1])
    if character is None or not character.isprintable() or len(view.filter) >= FILTER_MAX:
        return view
    return replace(view, filter=view.filter + character, chosen=None, first=0)


def _in_guest(view: View, key: str, room: int) -> View:
    if key in {"escape", "enter", "backspace"}:
        return replace(view, opened=None, first=0)
    step = _steps(room).get(key)
    return view if step is None else replace(view, first=max(0, view.first + step))


def _in_list(view: View, key: str, character: str | None, picture: Picture, room: int) -> View:
    order = next((order for order in ORDERS if order.key == key), None)
    if order is not None:
        return replace(view, order=order, reversed=False, chosen=None, first=0)
    if key == "r":
        return replace(view, reversed=not view.reversed, chosen=None, first=0)
    if key == "slash" or character == "/":
        return replace(view, typing=True)
    if key == "escape":
        return replace(view, filter="", host=None)
    if key == "h":
        return replace(view, host=_next_host(view.host, picture), chosen=None, first=0)
    return _moved(view, key, picture, room)


def _moved(view: View, key: str, picture: Picture, room: int) -> View:
    rows = listed(view, picture)
    if not rows:
        return view
    place = place_of(view, rows)
    if key == "enter":
        return replace(view, opened=rows[place].key, chosen=rows[place].key, first=0)
    step = _steps(room).get(key)
    if step is None:
        return view
    there = min(max(place + step, 0), len(rows) - 1)
    return replace(view, chosen=rows[there].key if there else None)


def _steps(room: int) -> dict[str, int]:
    """Return by how many lines each key goes."""
    page, all_ = max(1, room - 1), 1 << 30
    return {
        "up": -1, "k": -1, "pageup": -page, "home": -all_,
        "down": 1, "j": 1, "pagedown": page, "end": all_,
    }  # fmt: skip


def _next_host(host: str | None, picture: Picture) -> str | None:
    names = [None, *(row.name for row in picture.hosts)]
    return names[(names.index(host) + 1) % len(names)] if host in names else None


def scrolled(view: View, picture: Picture, room: int) -> View:
    """Return the view with the bar within the *room* lines that are shown of the list."""
    if view.opened:
        return view
    rows = listed(view, picture)
    place = place_of(view, rows)
    first = min(max(view.first, place - room + 1), place, max(0, len(rows) - room))
    return replace(view, first=max(0, first))
