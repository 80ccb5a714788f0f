"""What is stored, taken apart again: rows into values, values into records, records into rates.

Works on any connection to a history, the writer's own or a reader's.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from domstat.catalog import ValueType
from domstat.model import Batch, Domain, Figures, Kind, Moment, Pool, Record, Value, moment_within
from domstat.rates import Baseline, Breaks, advance
from domstat_sinks.sqlite import schema
from domstat_sinks.sqlite.heads import row
from domstat_sinks.sqlite.heads.layout import Column, unpack
from domstat_sinks.sqlite.heads.rows import HeadRow, Rows, keep

BASELINES_KEPT = 20_000
"""Baselines of rates kept, about 5 KB each; a history read in time order needs one per guest and stream."""

TEXTS_KEPT = 65_536
"""Text values kept; there are only a few, unless a hypervisor makes new ones all the time."""

LOOK_BACK_MAX = 10_000
"""Rows looked back for what a partial record lacked: a day of a guest that hangs, at 10 s."""


class Store:
    """Reads values, records and rates out of a history."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._rows = Rows(connection)
        self._texts: dict[int, str] = {}
        self._baselines: OrderedDict[tuple[int, int], Baseline] = OrderedDict()
        """After the record at (head row, position)."""
        self._rates: OrderedDict[tuple[int, int], dict[str, float]] = OrderedDict()

    def value(self, head_id: int, position: int, column: int) -> Value:
        """Return one value."""
        at = self._rows.row(head_id)
        words = self._rows.words(at, position // row.PART_RECORDS)
        start = at.layout.starts[position]
        spec = at.layout.shapes[position].columns[column]
        return self._unpack((spec,), [int(words[start + column])])[0]

    def rate(self, head_id: int, position: int, column: int) -> float | None:
        """Return one rate, None where there is none."""
        return self.rates(head_id, position).get(self._rows.row(head_id).layout.shapes[position].keys[column])

    def rates(self, head_id: int, position: int) -> dict[str, float]:
        """Return a record's rates, by key. Raises DamagedError."""
        rates = self._rates.get((head_id, position))
        return self._take_rates(head_id, position) if rates is None else rates

    def moment(self, head_id: int, position: int) -> Moment:
        """Return when a record was read. Raises DamagedError."""
        return self._moment(self._rows.row(head_id), position)

    def moment_before(self, head_id: int, position: int) -> Moment | None:
        """Return when the subject's record before was read; None for the first of an incarnation.

        Raises DamagedError.
        """
        at = self._rows.row(head_id)
        before = self._rows.record_before(at, position)
        if before is None:
            return None
        earlier = self._rows.row(before[0])
        is_same = earlier.layout.entries[before[1]].incarnation == at.layout.entries[position].incarnation
        return self._moment(earlier, before[1]) if is_same else None

    def batch(self, head_id: int) -> Batch:
        """Return a row as the batch it was, without rates, derived values and details, and without events and gaps."""
        at = self._rows.row(head_id)
        of_stream = "SELECT host, collect FROM stream WHERE id = ?"
        host, collect = self._connection.execute(of_stream, (at.stream,)).fetchone()
        about: dict[str, Any] = {
            "host": host,
            "collect": collect,
            "time_ms": at.stamp.time_ms,
        }
        records = tuple(self._record(at, position, about) for position in range(len(at.layout.entries)))
        return Batch(host=host, collect=collect, stamp=at.stamp, records=records)

    def base_of(self, head_id: int) -> int:
        """Return the id of the row to which this one is a difference, 0 for none."""
        return self._rows.row(head_id).body.base

    def dependents(self, head_id: int) -> Iterator[int]:
        """Name the rows that are differences to this one, but for those that cannot be read anyway."""
        following = self._connection.execute(
            "SELECT id FROM head WHERE layout = (SELECT layout FROM head WHERE id = ?1)"
            " AND stream = (SELECT stream FROM head WHERE id = ?1) AND id > ?1 ORDER BY id LIMIT ?2",
            (head_id, schema.KEYFRAME_EVERY * 2),
        ).fetchall()
        return (other for (other,) in following if self._builds_on(other, head_id))

    def _builds_on(self, head_id: int, base: int) -> bool:
        try:
            return self.base_of(head_id) == base
        except row.DamagedError:
            return False

    def _record(self, at: HeadRow, position: int, about: dict[str, Any]) -> Record:
        entry = at.layout.entries[position]
        extra = at.body.extras.get(position, _NOTHING_EXTRA)
        return Record(
            kind=Kind(entry.kind),
            domain=Domain(entry.uuid, entry.name or "", entry.incarnation) if entry.uuid else None,
            pool=Pool(entry.name) if entry.name is not None and not entry.uuid else None,
            figures=Figures(self._params(at, position)),
            partial=extra.partial,
            anew=extra.anew,
            **about,
        )

    def _params(self, at: HeadRow, position: int) -> dict[str, Value]:
        words = self._rows.words(at, position // row.PART_RECORDS)
        start = at.layout.starts[position]
        bits = words[start : start + at.layout.lengths[position]].tolist()
        shape = at.layout.shapes[position]
        return dict(zip(shape.keys, self._unpack(shape.columns, bits), strict=True))

    def _unpack(self, columns: tuple[Column, ...], bits: list[int]) -> list[Value]:
        if len(self._texts) > TEXTS_KEPT:
            self._texts.clear()
        for column, word in zip(columns, bits, strict=True):
            if column.type is ValueType.TEXT and word not in self._texts:
                found = self._connection.execute("SELECT value FROM text WHERE id = ?", (word,)).fetchone()
                self._texts[word] = found[0]
        return unpack(columns, bits, self._texts)

    # Rates: the stream's own function over the stored samples.

    def _take_rates(self, head_id: int, position: int) -> dict[str, float]:
        at = self._rows.row(head_id)
        before = self._rows.record_before(at, position)
        baseline = self._baseline_after(*before) if before else None
        rates, after = self._advance(baseline, at, position)
        keep(self._rates, (head_id, position), rates, BASELINES_KEPT)
        keep(self._baselines, (head_id, position), after, BASELINES_KEPT)
        return rates

    def _baseline_after(self, head_id: int, position: int) -> Baseline:
        """Return the baseline as it was after one record: remembered, or made from the last whole record on.

        After a record that lacks nothing a baseline is what that record says and nothing else, so it can be made
        from there, whatever came before.
        """
        chain: list[tuple[int, int]] = []
        step: tuple[int, int] | None = (head_id, position)
        baseline: Baseline | None = None
        while step is not None and len(chain) < LOOK_BACK_MAX:
            baseline = self._baselines.get(step)
            if baseline is not None:
                break
            chain.append(step)
            at = self._rows.row(step[0])
            extra = at.body.extras.get(step[1])
            if extra is None or extra.partial is None:
                break
            step = self._rows.record_before(at, step[1])
        for step in reversed(chain):
            _, baseline = self._advance(baseline, self._rows.row(step[0]), step[1])
            keep(self._baselines, step, baseline, BASELINES_KEPT)
        assert baseline is not None  # noqa: S101 - the chain has at least the record asked for
        return baseline

    def _advance(self, baseline: Baseline | None, at: HeadRow, position: int) -> tuple[dict[str, float], Baseline]:
        entry = at.layout.entries[position]
        extra = at.body.extras.get(position, _NOTHING_EXTRA)
        breaks = Breaks(frozenset(extra.partial.missing) if extra.partial else frozenset(), frozenset(extra.anew or ()))
        shape = at.layout.shapes[position].counters
        return advance(
            baseline, shape, self._params(at, position), self._moment(at, position), entry.incarnation, breaks
        )

    def _moment(self, at: HeadRow, position: int) -> Moment:
        """Estimate the record's moment as the stream did: by how many guests of the batch come before it.

        So a host's record, which comes first, is of the call's beginning, and the agent's own of its end.
        """
        return moment_within(at.stamp, at.layout.guests_before[position], at.layout.guests or 1)


_NOTHING_EXTRA = row.Extra()
