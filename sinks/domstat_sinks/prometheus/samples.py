"""Which samples a record's values come to: names, devices, and numbers in base units, whatever they are written as.

Worked out once for a set of keys. Within a record no two samples are of one name and one device: a plan keeps them
apart. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, TypeAlias, TypeVar

from msgspec import Struct

from domstat.catalog import Unit, look_up
from domstat.model import Value, split_key
from domstat.rates import picker
from domstat_sinks.prometheus.names import Family, apart, derived_of, family_of, info_of, label_text

KEYS_MAX = 1_024
"""Keys remembered while plans are made: what guests share, which is all but those of NICs."""

SHARED_MAX = 256
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


class Sample(Struct, frozen=True):
    """One sample: where among a record's values it is, and what it is called beside the labels that all share.

    *device* is the label of that name, empty where there is none. *text* is the label ``value`` of a text, whose number
    is 1, and None for numbers. A value times *factor* is in the base unit.
    """

    position: int
    family: Family
    device: bytes
    text: bytes | None
    factor: float
    is_flag: bool


def samples_of(source: Source, keys: tuple[str, ...], types: tuple[type, ...], texts: tuple[str, ...]) -> list[Sample]:
    """Name the samples, sorted by family; *types* are those of the values, of derived ones none.

    *texts* are the values that are text, in their order. A text's position is that of a 1 behind all values.
    """
    text_at = dict(zip((i for i, type_ in enumerate(types) if type_ is str), texts, strict=True))
    flags = {i for i, type_ in enumerate(types) if type_ is bool}
    taken: set[tuple[str, bytes, bytes | None]] = set()
    samples: list[Sample] = []
    for i, key in enumerate(keys):
        called = _called(source, key, i in text_at)
        family, position, text = called.family, i, None
        if i in text_at:
            position, text = len(keys), label_text(text_at[i])
        while (family.name, called.device, text) in taken:
            family = Family(apart(family.name, key), family.help)
        taken.add((family.name, called.device, text))
        samples.append(Sample(position, family, called.device, text, called.factor, is_flag=i in flags))
    return sorted(samples, key=lambda sample: sample.family.name)


class Numbers:
    """Takes the numbers of *samples* out of a record's values, in base units."""

    __slots__ = ("_divided", "_multiplied", "_pick")

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._pick = _picker(tuple(sample.position for sample in samples))
        self._divided = shared(tuple(place for place, sample in enumerate(samples) if sample.factor == NANO))
        # What is true is 1, once it is multiplied by anything.
        self._multiplied = shared(
            tuple(
                (place, int(sample.factor))
                for place, sample in enumerate(samples)
                if sample.factor > 1 or (sample.factor == 1 and sample.is_flag)
            )
        )

    def of(self, values: Sequence[Value]) -> list[Any] | None:
        """Return the numbers of *values*, in the samples' order; None if one of them is none, or beyond all floats."""
        numbers: list[Any] = list(self._pick((*values, 1)))
        for place in self._divided:
            numbers[place] /= 1e9
        for place, factor in self._multiplied:
            numbers[place] *= factor
        try:
            return numbers if math.isfinite(sum(numbers, 0.0)) else None
        except OverflowError:  # an integer beyond all floats
            return None


def real(value: Value) -> Value | None:
    """Return *value* as it can be written, as a float where it is a larger integer than those that floats hold."""
    if isinstance(value, (bool, str)) or (isinstance(value, int) and abs(value) <= EXACT_MAX):
        return value
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if abs(number) <= REAL_MAX else None


def types_and_texts(source: Source, values: Sequence[Value]) -> tuple[tuple[type, ...], tuple[str, ...]]:
    """Return what else than its keys decides a record's samples."""
    # What is derived are floats, and nobody needs to look.
    types = tuple(map(type, values)) if source == "params" else ()
    return types, tuple(value for value in values if isinstance(value, str)) if str in types else ()


def shared(made: TupleT) -> TupleT:
    """Return the tuple that was made first of those like it: guests' plans differ in little."""
    first: TupleT = _first(made)
    return first


@lru_cache(maxsize=SHARED_MAX)
def _first(made: Any) -> Any:
    return made


_picker = lru_cache(maxsize=SHARED_MAX)(picker)


class _Called(Struct, frozen=True, gc=False):
    """What a key is in Prometheus: a family and a device."""

    family: Family
    device: bytes
    factor: float
    """What a value is multiplied by to be in the base unit."""


@lru_cache(maxsize=KEYS_MAX)
def _called(source: Source, key: str, is_text: bool) -> _Called:  # noqa: FBT001 - keyword arguments cost a cache more
    name, device = split_key(key)
    label = label_text(device) if device else b""
    if is_text:
        return _Called(info_of(name), label, 1)
    if source == "derived":
        return _Called(derived_of(name), label, 1)
    return _Called(family_of(name), label, look_up(name).unit.scale)
