"""Slabs: statistics of many series in the same buckets, as matrices of a row a series and a column a bucket. Pure.

A tier is read slab by slab: a segment of it is one, and so are all of its head rows together. What buckets say is
worked out for all series of a slab at once, which costs next to nothing for each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import numpy as np
from msgspec import Struct

from domstat_sinks.sqlite.answers.source import Values
from domstat_sinks.sqlite.answers.ticks import Flags, Integers

Owner: TypeAlias = tuple[tuple[str, str | None, str | None], str | None]
"""Whose a series is: (kind, uuid, name of what has no uuid), and its device."""

ABSENT, MIXED = -1, -2
"""In place of a type, by its place in :data:`.source.TYPES`: there is no such series; it has values of several."""


class Stat(Struct, frozen=True):
    """One statistic of some series: *there* says of which buckets it is there, None of all; elsewhere it is 0."""

    values: Values
    there: Flags | None


class Presence(Struct, frozen=True):
    """Of which buckets a statistic of some series is there, None of all."""

    there: Flags | None


class Slab(Protocol):
    """Some buckets of a tier, in the order in which they were stored."""

    time_ms: Integers
    """By bucket, when it begins; one that ticks came for later has several, milliseconds apart."""

    def types(self, name: str, owners: Sequence[Owner]) -> Integers:
        """Return, for a statistic of each of these series, the place of its type in TYPES, or ABSENT, or MIXED."""

    def stat(self, name: str, owners: Sequence[Owner]) -> Stat:
        """Return a statistic of series that are of one type; of one that is MIXED alone. Raises DamagedError."""

    def presence(self, name: str, owners: Sequence[Owner]) -> Presence:
        """Return of which buckets that statistic is there, without unpacking it unless it has to be."""


def filled(stat: Stat | None, default: Values | float | Callable[[], Values | float]) -> Values | float:
    """Return a statistic, with *default* where it is not there; that is worked out only where it takes one."""
    if stat is not None and stat.there is None:
        return stat.values
    other = default() if callable(default) else default
    if stat is None or stat.there is None:
        return other
    values, others = stat.values, np.asarray(other)
    if values.dtype.kind in "biu" and others.dtype.kind == "f":
        values = values.astype(np.float64)
    return np.where(stat.there, values, others.astype(values.dtype))
