"""Line protocol, read back as its documentation says it is read."""

from __future__ import annotations

import re
from typing import NamedTuple


class Line(NamedTuple):
    measurement: str
    tags: dict[str, str]
    fields: dict[str, str]
    """As written, with the type's suffix or quotes."""
    time: str


def split_outside(text: str, separator: str, *, quotes: bool = False) -> list[str]:
    """Split at separators that no backslash protects and, where *quotes* mean something, no quotes."""
    if "\\" not in text and not (quotes and '"' in text):
        return text.split(separator)
    parts, current, quoted, i = [], "", False, 0
    while i < len(text):
        if text[i] == "\\" and i + 1 < len(text):
            current += text[i : i + 2]
            i += 2
            continue
        if quotes and text[i] == '"' and (quoted or text[i - 1 : i] == "="):
            quoted = not quoted
        if text[i] == separator and not quoted:
            parts.append(current)
            current = ""
        else:
            current += text[i]
        i += 1
    return [*parts, current]


def plain(text: str) -> str:
    return re.sub(r"\\([, =])", r"\1", text)


def read(text: bytes) -> list[Line]:
    lines = []
    assert text.endswith(b"\n") or not text
    for line in text.decode().split("\n")[:-1]:
        head = split_outside(line, " ")[0]
        fields, time = split_outside(line[len(head) + 1 :], " ", quotes=True)
        measurement, *tags = split_outside(head, ",")
        pairs = [split_outside(tag, "=") for tag in tags]
        values = [split_outside(field, "=", quotes=True) for field in split_outside(fields, ",", quotes=True)]
        assert all(len(pair) == 2 and pair[1] for pair in pairs + values)
        assert len({key for key, _ in values}) == len(values)
        tags_read = {plain(key): plain(value) for key, value in pairs}
        lines.append(Line(plain(measurement), tags_read, {plain(key): value for key, value in values}, time))
    return lines
