"""Buckets as JSON, which SQL unrolls into rows: a call for each field and segment, not a call a value."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from domstat.history import Span
from domstat_sinks.sqlite.heads.layout import I64_MAX
from domstat_sinks.sqlite.packed.segments import Segments
from domstat_sinks.sqlite.rollups import tiers
from domstat_sinks.sqlite.rollups.tiers import Buckets, Values, Wanted

_encoder = msgspec.json.Encoder()


class BucketViews:
    """The function that the views of tiers call, on any connection to a history."""

    def __init__(self, connection: sqlite3.Connection, span: Span) -> None:
        """*span* is all that is shown."""
        self._connection = connection
        self._span = span
        self._segments = Segments(connection)

    def buckets(self, stream: int, segment: int, field: str) -> str:
        """Return a field's buckets in a segment, or, for segment 0, those of a stream that are not sealed.

        Each is [time, kind, uuid, name, device, increase, max rate, min, max, mean, last, coverage]. Raises
        DamagedError.
        """
        (tier,) = self._connection.execute("SELECT tier FROM stream WHERE id = ?", (stream,)).fetchone()
        wanted = Wanted(fields=frozenset({field}))
        if segment:
            found = tiers.of_segment(self._segments, segment, tier, self._span, wanted)
        else:
            found = tiers.of_head(self._connection, stream, tier, self._span, wanted)
        width_ns = tiers.WIDTHS_MS[tier] * 1_000_000
        return _encoder.encode([row for buckets in found for row in self._rows(buckets, width_ns)]).decode()

    def _rows(self, buckets: Buckets, width_ns: int) -> Iterator[list[Any]]:
        owner, count = buckets.owner, len(buckets.starts_ms)
        lasts = _listed(buckets.lasts, count)
        if buckets.is_text:
            lasts = [None if number is None else self._segments.text(number) for number in lasts]
        columns = zip(
            buckets.starts_ms.tolist(),
            _listed(buckets.increases, count),
            _listed(buckets.max_rates, count),
            _listed(buckets.mins, count),
            _listed(buckets.maxs, count),
            _listed(buckets.means, count),
            lasts,
            (buckets.covered_ns / width_ns).tolist(),
            buckets.counts.tolist(),
            strict=True,
        )
        for start_ms, increase, max_rate, least, most, mean, last, coverage, values in columns:
            if values:
                whose = (owner.kind, owner.uuid, owner.name, buckets.device)
                yield [start_ms, *whose, increase, max_rate, least, most, mean, last, min(1.0, coverage)]


def _listed(values: Values | None, count: int) -> Sequence[Any]:
    """Return values as JSON can have them: nothing for what is no number, and as digits what SQLite cannot hold."""
    if values is None:
        return [None] * count
    if values.dtype.kind == "f":
        return [value if math.isfinite(value) else None for value in values.tolist()]
    if values.dtype.kind == "u" and values.size and int(values.max()) > I64_MAX:
        return [value if value <= I64_MAX else str(value) for value in values.tolist()]
    listed: list[Any] = values.tolist()
    return listed
