"""Shapes and layouts: what a tick's values mean. Pure; :mod:`..writer` gives them their numbers in the file."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from weakref import WeakValueDictionary

import msgspec
from msgspec import Struct

from domstat.catalog import ValueType, look_up
from domstat.model import Record, Value, is_own, split_key

I64_MAX = (1 << 63) - 1

SHAPES_MAX = 65_536
"""Records whose very keys are known: more guests than one answer can hold."""

COLUMNS_MAX = 4_096
"""Columns shared: those that guests have in common, of ticks and, some statistics of each, of buckets."""

_PACK_CODES = {
    ValueType.I64: "q",
    ValueType.U64: "Q",
    ValueType.F64: "d",
    ValueType.BOOL: "Q",
    ValueType.TEXT: "Q",
}
"""How a value becomes 64 bits."""


class Column(Struct, frozen=True, array_like=True, gc=False):
    """One value's place in a record: what it is, and its type."""

    field: str
    device: str | None
    type: ValueType


class Shape:
    """The columns of a record, with what packs its values."""

    __slots__ = ("__weakref__", "columns", "flags", "is_plain", "packer", "reals", "texts")

    def __init__(self, columns: tuple[Column, ...]) -> None:
        self.columns = columns
        self.packer = struct.Struct("<" + "".join(_PACK_CODES[column.type] for column in columns))
        self.texts = [i for i, column in enumerate(columns) if column.type is ValueType.TEXT]
        """The columns whose values are references to texts."""
        self.reals = [i for i, column in enumerate(columns) if column.type is ValueType.F64]
        self.flags = [i for i, column in enumerate(columns) if column.type is ValueType.BOOL and not _is_flag(column)]
        """The columns of booleans whose next value may be something else, for all that the catalogue knows."""
        self.is_plain = not (self.texts or self.reals or self.flags)
        """Whether values are packed as they are."""

    @property
    def digest(self) -> bytes:
        """Tell this shape from every other, in every file."""
        return digest(self.columns)


def _is_flag(column: Column) -> bool:
    field = look_up(column.field)
    return field.known and field.type is ValueType.BOOL


class Entry(Struct, frozen=True, gc=False):
    """One record's place in a layout: whose values these are. *name* is the guest's or the pool's."""

    kind: str
    uuid: str | None
    name: str | None
    incarnation: int | None


def entry_of(record: Record) -> Entry:
    """Make the entry for *record*."""
    domain = record.domain
    if domain is not None:
        return Entry(record.kind, domain.uuid, domain.name, domain.id)
    return Entry(record.kind, None, record.pool.name if record.pool else None, None)


def digest(content: object) -> bytes:
    """Return a short digest of JSON-like *content*."""
    from hashlib import blake2b  # loads OpenSSL, 4 ms that who only reads need not wait for

    return blake2b(msgspec.json.encode(content), digest_size=16).digest()


def type_of(field: str, value: Value) -> ValueType:
    """Choose the type of a column from the catalogue, or by *value* where the catalogue is silent or wrong."""
    row = look_up(field)
    known = row.type if row.known else None
    if isinstance(value, str):
        return ValueType.TEXT
    if isinstance(value, bool):
        return ValueType.BOOL
    if isinstance(value, float):
        return ValueType.F64
    if known is ValueType.F64 and float(value) == value:
        return ValueType.F64
    if value > I64_MAX or (known is ValueType.U64 and value >= 0):
        return ValueType.U64
    return ValueType.I64


class Shapes:
    """Finds the shape of a record by its keys; one that nobody holds any more is made anew."""

    def __init__(self) -> None:
        self._by_keys: WeakValueDictionary[tuple[str, ...], Shape] = WeakValueDictionary()
        self._by_columns: WeakValueDictionary[tuple[Column, ...], Shape] = WeakValueDictionary()
        self._by_identity: dict[int, tuple[tuple[str, ...], Shape]] = {}
        """By the number of the very tuple: a guest has the same one tick after tick, and hashing it takes a while."""

    def of(self, record: Record) -> Shape:
        """Return the shape that *record* most likely has; its values may still not fit (see :meth:`refit`)."""
        keys = record.figures.keys
        known = self._by_identity.get(id(keys))
        if known is not None and known[0] is keys:
            return known[1]
        shape = self._by_keys.get(keys) or self.refit(record)
        if record.figures.keys is keys:  # not one that was made for this question
            if len(self._by_identity) >= SHAPES_MAX:
                self._by_identity.clear()
            self._by_identity[id(keys)] = (keys, shape)
        return shape

    def refit(self, record: Record) -> Shape:
        """Return the shape that *record* has by its values' own types."""
        self._by_identity.clear()
        keys, values = record.figures.keys, record.figures.values
        columns = tuple(_column(key, value) for key, value in zip(keys, values, strict=True))
        shape = self._by_columns.setdefault(columns, Shape(columns))
        self._by_keys[keys] = shape
        return shape


def _column(key: str, value: Value) -> Column:
    field, device = split_key(key)
    return shared_column(field, device, type_of(field, value))


def shared_column(field: str, device: str | None, type_: ValueType) -> Column:
    """Make a column, once if guests may have it in common: they differ in their NICs' addresses alone.

    What a guest has for itself goes with it; remembered up to a number, it would be of guests that have gone.
    """
    return Column(field, device, type_) if is_own(device) else _in_common(field, device, type_)


_in_common = lru_cache(maxsize=COLUMNS_MAX)(Column)


def unpack(columns: Sequence[Column], bits: Sequence[int], texts: dict[int, str]) -> list[Value]:
    """Turn 64-bit words back into values."""
    return [value_of(column.type, word, texts) for column, word in zip(columns, bits, strict=True)]


def value_of(type_: ValueType, word: int, texts: dict[int, str]) -> Value:
    """Turn one 64-bit word back into a value of *type_*."""
    match type_:
        case ValueType.U64:
            return word
        case ValueType.I64:
            return word if word <= I64_MAX else word - (1 << 64)
        case ValueType.F64:
            value: float = struct.unpack("<d", struct.pack("<Q", word))[0]
            return value
        case ValueType.BOOL:
            return bool(word)
        case ValueType.TEXT:
            return texts[word]
