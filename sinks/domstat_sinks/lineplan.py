"""How line protocol is put together: a plan per set of keys, so that a record costs little more than its numbers."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from domstat.catalog import ValueType, look_up
from domstat.model import Kind, split_key
from domstat.rates import picker
from domstat_sinks.escape import escape_name

TAGS_HERE = b"\0"
"""Stands for the tags that all of a record's lines share, until they are known; no escaped name has one."""

_TYPES: dict[ValueType, tuple[tuple[type, ...], bytes]] = {
    ValueType.I64: ((int,), b"i"),
    ValueType.U64: ((int,), b"i"),
    ValueType.F64: ((float, int), b""),
    ValueType.BOOL: ((bool,), b""),
    ValueType.TEXT: ((str,), b""),
}
"""What a value of each of the catalogue's types must be, and what is written after it."""

_to_json = msgspec.json.Encoder().encode

_Lines: TypeAlias = dict[tuple[str, str | None], dict[str, tuple[int, bytes]]]
"""By measurement and device: each field's name with the position of its value and what is written after it."""


class Plan:
    """How records with one set of keys and types are written: everything but the values, prepared once.

    The text is *pieces* with a value in every second place, in the order in which :meth:`write` writes a record's
    values (parameters, rates, derived, time).
    """

    __slots__ = (
        "_booleans",
        "_integers",
        "_others",
        "_pack",
        "_pick",
        "_types",
        "pieces",
        "places",
        "refused",
        "texts",
    )

    def __init__(
        self,
        kind: Kind,
        params: tuple[str, ...],
        types: tuple[type, ...],
        rates: tuple[str, ...],
        derived: tuple[str, ...],
    ) -> None:
        self.refused: list[str] = []
        """Why some parameters cannot be written."""
        self.pieces: list[bytes] = []
        lines: _Lines = {}
        for position, (key, type_) in enumerate(zip(params, types, strict=True)):
            accepted, suffix = _types_of(key, type_)
            if type_ in accepted:
                self._add(lines, kind, key, "", (position, suffix))
            else:
                self.refused.append(f"{key}: {type_.__name__} where the catalogue says {accepted[0].__name__}")
        for position, key in enumerate(rates, len(params)):
            self._add(lines, kind, key, ".rate", (position, b""))
        for position, key in enumerate(derived, len(params) + len(rates)):
            self._add(lines, kind, key, "", (position, b""))
        time = len(params) + len(rates) + len(derived)
        self.places = self._write(lines, time)
        """Place by place, the position of its value."""
        are_texts = {position for position, type_ in enumerate(types) if type_ is str}
        self.texts = [(place, position) for place, position in enumerate(self.places) if position in are_texts]
        """Places that are filled with a text, and the text's position among the values."""
        # A text's place is held by the time, a number, until the numbers are written.
        self._pick = picker([time if position in are_texts else position for position in self.places])
        integers = [position for position, type_ in enumerate(types) if type_ is int]
        self._integers = picker(integers)
        self._pack = struct.Struct(f"{len(integers)}q").pack
        others = [position for position, type_ in enumerate(types) if type_ is not int]
        self._others = picker(others)
        self._types = [types[position] for position in others]
        self._booleans = sum(types[position] is bool for position in self.places if position < len(types))

    def write(self, values: Sequence[Any]) -> bytes:
        """Write the numbers among *values*, place by place, with commas between them: all at once, as JSON.

        Nothing is returned where some value is not of this plan's type or cannot be written. Of most values that is
        found by the quickest means there are: struct packs nothing but integers (of which True is one, to it), and
        none that is too large; NaN and infinities come out as null, and of letters there are no others than of that,
        of true and of false.
        """
        try:
            self._pack(*self._integers(values))
        except struct.error:
            return b""
        if [*map(type, self._others(values))] != self._types:
            return b""
        numbers = _to_json(self._pick(values))[1:-1]
        if numbers.count(b"t") + numbers.count(b"f") != self._booleans or b"n" in numbers:
            return b""
        return numbers

    def _add(self, lines: _Lines, kind: Kind, key: str, ending: str, value: tuple[int, bytes]) -> None:
        field, device = split_key(key)
        if kind is Kind.GUEST:
            word = field.partition(".")[0]
        else:
            word, field = str(kind), field.removeprefix(f"{kind}.")  # the measurement says it
        name = field + ending if field + ending != "time" else "time.value"  # InfluxDB's own
        fields = lines.setdefault((f"domstat_{word}", device), {})
        if name in fields:
            self.refused.append(f"{key}: there is a {name} already")
        else:
            fields[name] = value

    def _write(self, lines: _Lines, time: int) -> list[int]:
        """Write the pieces; return, place by place, the positions of the values that stand between them."""
        places: list[int] = []
        text = b""
        for (measurement, device), fields in lines.items():
            text += write_head(measurement, {} if device is None else {"device": device})
            for name, (position, suffix) in fields.items():
                self.pieces += [text + write_field(name) + b"=", b""]
                places.append(position)
                text = suffix + b","
            self.pieces += [text[:-1] + b" ", b""]
            places.append(time)
            text = b"\n"
        self.pieces.append(text)
        return places


plan_of = lru_cache(maxsize=4096)(Plan)
"""The plan for a kind, keys and types (see :class:`Plan`); guests alike share theirs."""


@lru_cache(maxsize=4096)
def usual_plan_of(kind: Kind, params: tuple[str, ...], rates: tuple[str, ...], derived: tuple[str, ...]) -> Plan:
    """Return the plan for values of the types that the catalogue says they have."""
    types = tuple(_TYPES[look_up(split_key(key)[0]).type][0][0] for key in params)
    return plan_of(kind, params, types, rates, derived)


def write_head(measurement: str, tags: dict[str, str]) -> bytes:
    """Write what stands before a line's fields."""
    return write_name(measurement) + write_tags(tags) + TAGS_HERE + b" "


def write_tags(tags: Mapping[str, str]) -> bytes:
    """Write tags, each with its comma, in the order that spares InfluxDB the sorting."""
    return b"".join(b"," + write_name(name) + b"=" + write_name(value) for name, value in sorted(tags.items()))


def write_name(name: str) -> bytes:
    """Write a measurement, or a tag's name or value."""
    return re.sub(r"([, =])", r"\\\1", escape_name(name)).encode()


def write_field(name: str) -> bytes:
    """Write a field's name, in which a quote would begin a text to some servers."""
    return write_name(name).replace(b'"', b"%22")


def write_text(text: str) -> bytes:
    """Write a text as a field's value."""
    return b'"' + escape_name(text).replace('"', '\\"').encode() + b'"'


def _types_of(key: str, found: type) -> tuple[tuple[type, ...], bytes]:
    field = look_up(split_key(key)[0])
    return _TYPES[field.type] if field.known else ((found,), b"i" if found is int else b"")
