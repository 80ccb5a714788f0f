"""How the samples of one record are written: a plan per set of keys, so that a scrape costs little but the numbers.

A plan is everything of a record but its numbers and the labels that all its samples share; it is made once, and serves
every record with the same keys. The exposition format wants all samples of a family together, of whichever guest, so
what a plan writes falls into chunks, one a family. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from domstat.catalog import Unit, look_up
from domstat.model import Value, split_key
from domstat.rates import picker
from domstat_sinks.prometheus.names import Family, apart, derived_of, family_of, info_of, label_value

LABELS_HERE = b"\xff"
"""Stands for the labels that all of a record's samples share. No text has this byte, which is none of UTF-8's."""

_CHUNK_ENDS = b"\xfe"
"""Stands between the samples of two families; no text has this one either."""

PLANS_MAX = 65_536
"""Sets of keys remembered, one a guest, since MACs differ, of about 8 KiB, and a smaller one for its derived values."""

HEADS_MAX = 4_096
"""Keys, and beginnings of samples, remembered while plans are made: far more than guests share, which is all but those
of NICs."""

SHARED_MAX = 4_096
"""Parts of plans that are remembered so that other plans may have the very same."""

NANO = Unit.NANOSECONDS.scale
"""The one factor that is below one. Values are divided by its inverse, since itself it is no number in binary."""

EXACT_MAX = 2**53
"""The largest integer up to which floats hold every one; Prometheus has nothing but floats."""

REAL_MAX = 1e290
"""What is beyond it is no measurement, and would be infinite in another unit, which no scrape survives."""

Source: TypeAlias = Literal["params", "derived"]
"""Which of a record's values: parameters are in libvirt's units, what is derived of them in base units."""

TupleT = TypeVar("TupleT", bound=tuple[Any, ...])

_to_json = msgspec.json.Encoder().encode


class Chunks(Struct, frozen=True, gc=False):
    """What one record comes to: families, and of each its samples, every one ended by a newline."""

    families: tuple[Family, ...]
    texts: list[bytes]


class _Sample(Struct, frozen=True):
    """One sample: where among a record's values it is, and what it is called beside the labels that all share."""

    position: int
    family: Family
    labels: bytes
    factor: float
    is_flag: bool


class Plan:
    """How records with one set of keys are written; *types* are those of the values, of derived ones none.

    *texts* are the values that are text, in their order: they are labels, so that another text needs another plan.
    """

    __slots__ = ("_divided", "_multiplied", "_pick", "_pieces", "families")

    def __init__(
        self, source: Source, keys: tuple[str, ...], types: tuple[type, ...], texts: tuple[str, ...] = ()
    ) -> None:
        samples = sorted(_samples(source, keys, types, texts), key=lambda sample: sample.family.name)
        self.families = _shared(tuple({sample.family.name: sample.family for sample in samples}.values()))
        """What is written, in this order; guests alike share the very same tuple."""
        self._pieces: list[bytes] = []
        before = ""
        for sample in samples:
            self._pieces += [_head(sample.family.name, sample.labels, before), b""]
            before = sample.family.name
        self._pieces.append(b"\n")
        self._pick = _picker(tuple(sample.position for sample in samples))
        self._divided = _shared(tuple(place for place, sample in enumerate(samples) if sample.factor == NANO))
        # What is true is 1, once it is multiplied by anything.
        self._multiplied = _shared(
            tuple(
                (place, int(sample.factor))
                for place, sample in enumerate(samples)
                if sample.factor > 1 or (sample.factor == 1 and sample.is_flag)
            )
        )

    def write(self, values: Sequence[Value], labels: bytes) -> list[bytes] | None:
        """Write *values* under *labels*, one text a family; None if one of them is no number that can be written."""
        if not self.families:
            return []
        numbers: list[Any] = list(self._pick((*values, 1)))
        for place in self._divided:
            numbers[place] /= 1e9
        for place, factor in self._multiplied:
            numbers[place] *= factor
        try:
            if not math.isfinite(sum(numbers, 0.0)):
                return None
            text = _to_json(numbers)
        except OverflowError:  # an integer beyond all floats, or beyond what the encoder takes
            return None
        pieces = self._pieces.copy()
        pieces[1::2] = text[1:-1].split(b",")
        return b"".join(pieces).replace(LABELS_HERE, labels).split(_CHUNK_ENDS)


_plan_of = lru_cache(maxsize=PLANS_MAX)(Plan)


def _shared(made: TupleT) -> TupleT:
    """Return the tuple that was made first of those like it: guests' plans differ in little."""
    first: TupleT = _first(made)
    return first


@lru_cache(maxsize=SHARED_MAX)
def _first(made: Any) -> Any:
    return made


def write(source: Source, keys: tuple[str, ...], values: Sequence[Value], labels: bytes) -> Chunks:
    """Write a record's values under *labels*; leave out what is no number."""
    written = _write(source, keys, values, labels)
    if written is None:
        real = {key: n for key, value in zip(keys, values, strict=True) if (n := _real(value)) is not None}
        written = _write(source, tuple(real), tuple(real.values()), labels)
    return written or Chunks((), [])


def _write(source: Source, keys: tuple[str, ...], values: Sequence[Value], labels: bytes) -> Chunks | None:
    # What is derived are floats, and nobody needs to look.
    types = tuple(map(type, values)) if source == "params" else ()
    texts = tuple(value for value in values if isinstance(value, str)) if str in types else ()
    plan = _plan_of(source, keys, types, texts)
    written = plan.write(values, labels)
    return None if written is None else Chunks(plan.families, written)


def text_labels(labels: dict[str, str]) -> bytes:
    """Write labels as they stand in the braces. An empty one is none, except that the first is always written."""
    written = [(name, text) for i, (name, text) in enumerate(labels.items()) if text or i == 0]
    return b",".join(b'%s="%s"' % (name.encode(), label_value(text)) for name, text in written)


def _real(value: Value) -> Value | None:
    """Return *value* as it can be written, as a float where it is a larger integer than those that floats hold."""
    if isinstance(value, (bool, str)) or (isinstance(value, int) and abs(value) <= EXACT_MAX):
        return value
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if abs(number) <= REAL_MAX else None


def _samples(source: Source, keys: tuple[str, ...], types: tuple[type, ...], texts: tuple[str, ...]) -> list[_Sample]:
    text_at = dict(zip((i for i, type_ in enumerate(types) if type_ is str), texts, strict=True))
    flags = {i for i, type_ in enumerate(types) if type_ is bool}
    called = [_called(source, key, i in text_at) for i, key in enumerate(keys)]
    taken: set[tuple[str, bytes]] = set()
    samples: list[_Sample] = []
    for i, key in enumerate(keys):
        family, labels, position = called[i].family, called[i].labels, i
        if i in text_at:
            labels += b',value="%s"' % label_value(text_at[i])
            position = len(keys)  # behind the values stands a 1
        while (family.name, labels) in taken:
            family = Family(apart(family.name, key), family.help)
        taken.add((family.name, labels))
        samples.append(_Sample(position, family, labels, called[i].factor, is_flag=i in flags))
    return samples


class _Called(Struct, frozen=True, gc=False):
    """What a key is in Prometheus: a family and a device."""

    family: Family
    labels: bytes
    factor: float
    """What a value is multiplied by to be in the base unit."""


@lru_cache(maxsize=HEADS_MAX)
def _called(source: Source, key: str, is_text: bool) -> _Called:  # noqa: FBT001 - keyword arguments cost a cache more
    name, device = split_key(key)
    labels = b',device="%s"' % label_value(device) if device else b""
    if is_text:
        return _Called(info_of(name), labels, 1)
    if source == "derived":
        return _Called(derived_of(name), labels, 1)
    return _Called(family_of(name), labels, look_up(name).unit.scale)


def _head(name: str, labels: bytes, before: str) -> bytes:
    """Write what stands between the number of the sample before, which is of the family *before*, and the next."""
    if not before:
        return _begin(name, labels)
    return _go_on(name, labels) if name == before else _end_and_begin(name, labels)


@lru_cache(maxsize=HEADS_MAX)
def _begin(name: str, labels: bytes) -> bytes:
    return b"%s{%s%s} " % (name.encode(), LABELS_HERE, labels)


@lru_cache(maxsize=HEADS_MAX)
def _go_on(name: str, labels: bytes) -> bytes:
    return b"\n" + _begin(name, labels)


@lru_cache(maxsize=HEADS_MAX)
def _end_and_begin(name: str, labels: bytes) -> bytes:
    return b"\n" + _CHUNK_ENDS + _begin(name, labels)


_picker = lru_cache(maxsize=SHARED_MAX)(picker)
