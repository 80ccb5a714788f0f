"""How the samples of one record are written: a plan per set of keys, so that a scrape costs little but the numbers.

A plan is everything of a record but its numbers and the labels that all its samples share; it is made once, and serves
every record with the same keys. The exposition format wants all samples of a family together, of whichever guest, so
what a plan writes falls into chunks, one a family. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec
from msgspec import Struct

from domstat.memo import Lately
from domstat.model import Value
from domstat_sinks.prometheus.names import Family, escaped, label_value
from domstat_sinks.prometheus.samples import Numbers, Sample, Source, real, samples_of, shared, types_and_texts

LABELS_HERE = b"\xff"
"""Stands for the labels that all of a record's samples share. No text has this byte, which is none of UTF-8's."""

_CHUNK_ENDS = b"\xfe"
"""Stands between the samples of two families; no text has this one either."""

PLANS_MAX = 65_536
"""Sets of keys at hand, one a guest, since MACs differ, of about 8 KiB, and a smaller one for its derived values."""

HEADS_MAX = 1_024
"""Beginnings of samples remembered while plans are made: what guests share, which is all but those of NICs."""

_to_json = msgspec.json.Encoder().encode


class Chunks(Struct, frozen=True, gc=False):
    """What one record comes to: families, and of each its samples, every one ended by a newline."""

    families: tuple[Family, ...]
    texts: list[bytes]


class Plan:
    """How records with one set of keys are written; *types* are those of the values, of derived ones none.

    *texts* are the values that are text, in their order: they are labels, so that another text needs another plan.
    """

    __slots__ = ("_numbers", "_pieces", "families")

    def __init__(
        self, source: Source, keys: tuple[str, ...], types: tuple[type, ...], texts: tuple[str, ...] = ()
    ) -> None:
        samples = samples_of(source, keys, types, texts)
        self.families = shared(tuple({sample.family.name: sample.family for sample in samples}.values()))
        """What is written, in this order; guests alike share the very same tuple."""
        self._pieces: list[bytes] = []
        before = ""
        for sample in samples:
            self._pieces += [_head(sample.family.name, _labels(sample), before), b""]
            before = sample.family.name
        self._pieces.append(b"\n")
        self._numbers = Numbers(samples)

    def write(self, values: Sequence[Value], labels: bytes) -> list[bytes] | None:
        """Write *values* under *labels*, one text a family; None if one of them is no number that can be written."""
        if not self.families:
            return []
        numbers = self._numbers.of(values)
        if numbers is None:
            return None
        try:
            text = _to_json(numbers)
        except OverflowError:  # an integer beyond what the encoder takes
            return None
        pieces = self._pieces.copy()
        pieces[1::2] = text[1:-1].split(b",")
        return b"".join(pieces).replace(LABELS_HERE, labels).split(_CHUNK_ENDS)


_plan_of = Lately(Plan, PLANS_MAX)


def write(source: Source, keys: tuple[str, ...], values: Sequence[Value], labels: bytes) -> Chunks:
    """Write a record's values under *labels*; leave out what is no number."""
    written = _write(source, keys, values, labels)
    if written is None:
        found = {key: n for key, value in zip(keys, values, strict=True) if (n := real(value)) is not None}
        written = _write(source, tuple(found), tuple(found.values()), labels)
    return written or Chunks((), [])


def _write(source: Source, keys: tuple[str, ...], values: Sequence[Value], labels: bytes) -> Chunks | None:
    plan = _plan_of(source, keys, *types_and_texts(source, values))
    written = plan.write(values, labels)
    return None if written is None else Chunks(plan.families, written)


def text_labels(labels: dict[str, str]) -> bytes:
    """Write labels as they stand in the braces. An empty one is none, except that the first is always written."""
    written = [(name, text) for i, (name, text) in enumerate(labels.items()) if text or i == 0]
    return b",".join(b'%s="%s"' % (name.encode(), label_value(text)) for name, text in written)


def _labels(sample: Sample) -> bytes:
    """Write the labels that are a sample's own."""
    labels = b',device="%s"' % escaped(sample.device) if sample.device else b""
    return labels if sample.text is None else labels + b',value="%s"' % escaped(sample.text)


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
