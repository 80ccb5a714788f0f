"""HTML that cannot be broken out of: elements are made of elements and of text, and text is always escaped. Pure."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any, TypeAlias

import msgspec

from domstat.text import printable

TEXT_MAX = 600
"""Characters of one text on the page, names and reasons; longer ones are cut."""

_EMPTY = frozenset({"meta", "br", "link"})
"""Elements that have no end."""


class Html(str):
    """Markup that may go into a page as it is."""

    __slots__ = ()


Content: TypeAlias = "Html | str"
"""What an element may hold. Text that is not Html is escaped."""


def text(content: Content) -> Html:
    """Return content as markup; of text, what could reorder or hide what is beside it is written as its escape."""
    return content if isinstance(content, Html) else Html(html.escape(printable(content, TEXT_MAX)))


def element(name: str, /, *contents: Content, **attributes: str | bool | None) -> Html:
    """Make an element.

    A trailing underscore of an attribute's name goes (``class_``), others become hyphens (``data_chart``). True is an
    attribute without a value; None and False are none.
    """
    said = "".join(
        _attribute(key, value) for key, value in attributes.items() if value is not None and value is not False
    )
    if name in _EMPTY:
        return Html(f"<{name}{said}>")
    return Html(f"<{name}{said}>{''.join(map(text, contents))}</{name}>")


def joined(contents: Iterable[Content]) -> Html:
    """Put contents one after the other."""
    return Html("".join(map(text, contents)))


def data(value: Any) -> Html:
    """Write a value as JSON that may stand inside a script element: nothing in it can end that, or begin another."""
    encoded = msgspec.json.encode(value).decode()
    for character in "<>&\u2028\u2029":
        encoded = encoded.replace(character, f"\\u{ord(character):04x}")
    return Html(encoded)


def _attribute(key: str, value: str | bool) -> str:  # noqa: FBT001
    name = key.rstrip("_").replace("_", "-")
    # Line breaks are what makes an explanation readable: each line is made harmless by itself.
    lines = "" if value is True else "\n".join(printable(line, TEXT_MAX) for line in str(value).split("\n"))
    return f" {name}" if value is True else f' {name}="{html.escape(lines)}"'
