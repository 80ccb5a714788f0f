"""What is stored, taken apart again: rows into values, values into records, records into rates.

Works on any connection to a history, the writer's own or a reader's; asks nothing but small indexed queries, and
keeps a bounded number of rows unpacked.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from domstat.catalog import ValueType
from domstat.model import Batch, Domain, Kind, Moment, Pool, Record, Stamp, Value, key_of, moment_within
from domstat.rates import Baseline, Breaks, Shape, advance
from domstat_sinks.sqlite import row, schema
from domstat_sinks.sqlite.layout import Column, Entry, unpack

ROWS_KEPT = 8
"""Unpacked rows kept: of each stream the one at hand, the one before, their bases; 120 KB each at 200 guests."""

LAYOUTS_KEPT = 64
BASELINES_KEPT = 20_000
"""Baselines of rates kept, about 5 KB each; a history read in time order needs one per guest and stream."""

LOOK_BACK_MAX = 10_000
"""Rows looked back for what a partial record lacked: a day of a guest that hangs, at 10 s."""


class _Layout:
    """A layout with its shapes: who is where in a row."""

    def __init__(self, entries: list[Entry], columns: list[tuple[Column, ...]]) -> None:
        self.entries = entries
        self.columns = columns
        self.lengths = [len(columns_) for columns_ in columns]
        self.bounds = row.part_bounds(self.lengths)
        self.starts: list[int] = []
        """Where each record's words begin, within its part."""
        for position in range(len(entries)):
            first_in_part = position % row.PART_RECORDS == 0
            self.starts.append(0 if first_in_part else self.starts[-1] + self.lengths[position - 1])
        self.guests = sum(entry.kind == Kind.GUEST for entry in entries)
        self.guests_before = list(accumulate((entry.kind == Kind.GUEST for entry in entries), initial=0))
        """Per position, how many guests come before it: its place in the answer."""
        self.positions = {_subject(entry): position for position, entry in enumerate(entries)}
        self.keys = [tuple(key_of(column.field, column.device) for column in columns_) for columns_ in columns]


class _Row:
    """One head row, its parts unpacked as they are needed."""

    def __init__(
        self, head_id: int, stream: int, stamp: Stamp, layout_id: int, layout: _Layout, body: row.Body
    ) -> None:
        self.id = head_id
        self.stream = stream
        self.stamp = stamp
        self.layout_id = layout_id
        self.layout = layout
        self.body = body
        self.parts: dict[int, Any] = {}


class Store:
    """Reads rows, records and rates out of a history."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._rows: OrderedDict[int, _Row] = OrderedDict()
        self._layouts: OrderedDict[int, _Layout] = OrderedDict()
        self._shapes: dict[tuple[str, ...], Shape] = {}
        self._texts: dict[int, str] = {}
        self._baselines: OrderedDict[tuple[int, int], Baseline] = OrderedDict()
        """After the record at (head row, position)."""
        self._rates: OrderedDict[tuple[int, int], dict[str, float]] = OrderedDict()
        self._before: OrderedDict[int, int | None] = OrderedDict()

    def value(self, head_id: int, position: int, column: int) -> Value:
        """Return one value."""
        at = self._row(head_id)
        words = self._words(at, position // row.PART_RECORDS)
        start = at.layout.starts[position]
        spec = at.layout.columns[position][column]
        return self._unpack((spec,), [int(words[start + column])])[0]

    def rate(self, head_id: int, position: int, column: int) -> float | None:
        """Return one rate, None where there is none."""
        rates = self._rates.get((head_id, position))
        if rates is None:
            rates = self._take_rates(head_id, position)
        return rates.get(self._row(head_id).layout.keys[position][column])

    def batch(self, head_id: int) -> Batch:
        """Return a row as the batch it was, without rates, derived values and details."""
        at = self._row(head_id)
        of_stream = "SELECT host, collect FROM stream WHERE id = ?"
        host, collect = self._connection.execute(of_stream, (at.stream,)).fetchone()
        about: dict[str, Any] = {
            "host": host,
            "collect": collect,
            "time_ms": at.stamp.time_ms,
            "rates": {},
            "derived": {},
        }
        records = [self._record(at, position, about) for position in range(len(at.layout.entries))]
        for other in at.body.others:
            domain = Domain(other.uuid, other.name or "", other.incarnation) if other.uuid else None
            records.append(
                Record(kind=Kind(other.kind), domain=domain, params={}, event=other.event, gap=other.gap, **about)
            )
        return Batch(host=host, collect=collect, stamp=at.stamp, records=tuple(records))

    def dependents(self, head_id: int) -> Iterator[int]:
        """Name the rows that are differences to this one."""
        at = self._row(head_id)
        following = self._connection.execute(
            "SELECT id FROM head WHERE stream = ? AND id > ? ORDER BY id LIMIT ?",
            (at.stream, head_id, schema.KEYFRAME_EVERY * 2),
        ).fetchall()
        return (other for (other,) in following if self._row(other).body.base == head_id)

    def _record(self, at: _Row, position: int, about: dict[str, Any]) -> Record:
        entry = at.layout.entries[position]
        extra = at.body.extras.get(position, _NOTHING_EXTRA)
        return Record(
            kind=Kind(entry.kind),
            domain=Domain(entry.uuid, entry.name or "", entry.incarnation) if entry.uuid else None,
            pool=Pool(entry.name) if entry.name is not None and not entry.uuid else None,
            params=self._params(at, position),
            partial=extra.partial,
            anew=extra.anew,
            **about,
        )

    def _params(self, at: _Row, position: int) -> dict[str, Value]:
        words = self._words(at, position // row.PART_RECORDS)
        start = at.layout.starts[position]
        bits = words[start : start + at.layout.lengths[position]].tolist()
        return dict(zip(at.layout.keys[position], self._unpack(at.layout.columns[position], bits), strict=True))

    def _unpack(self, columns: tuple[Column, ...], bits: list[int]) -> list[Value]:
        for column, word in zip(columns, bits, strict=True):
            if column.type is ValueType.TEXT and word not in self._texts:
                found = self._connection.execute("SELECT value FROM text WHERE id = ?", (word,)).fetchone()
                self._texts[word] = found[0]
        return unpack(columns, bits, self._texts)

    # Rates: the stream's own function over the stored samples.

    def _take_rates(self, head_id: int, position: int) -> dict[str, float]:
        at = self._row(head_id)
        before = self._record_before(at, position)
        baseline = self._baseline_after(*before) if before else None
        rates, after = self._advance(baseline, at, position)
        _keep(self._rates, (head_id, position), rates, BASELINES_KEPT)
        _keep(self._baselines, (head_id, position), after, BASELINES_KEPT)
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
            at = self._row(step[0])
            extra = at.body.extras.get(step[1])
            if extra is None or extra.partial is None:
                break
            step = self._record_before(at, step[1])
        for step in reversed(chain):
            _, baseline = self._advance(baseline, self._row(step[0]), step[1])
            _keep(self._baselines, step, baseline, BASELINES_KEPT)
        assert baseline is not None  # noqa: S101 - the chain has at least the record asked for
        return baseline

    def _advance(self, baseline: Baseline | None, at: _Row, position: int) -> tuple[dict[str, float], Baseline]:
        entry = at.layout.entries[position]
        extra = at.body.extras.get(position, _NOTHING_EXTRA)
        breaks = Breaks(frozenset(extra.partial.missing) if extra.partial else frozenset(), frozenset(extra.anew or ()))
        shape = self._shape(at.layout.keys[position])
        return advance(
            baseline, shape, self._params(at, position), self._moment(at, position), entry.incarnation, breaks
        )

    def _moment(self, at: _Row, position: int) -> Moment:
        """Estimate the record's moment as the stream did: by its place among the guests of the answer."""
        return moment_within(at.stamp, at.layout.guests_before[position], at.layout.guests or 1)

    def _shape(self, keys: tuple[str, ...]) -> Shape:
        shape = self._shapes.get(keys)
        if shape is None:
            if len(self._shapes) >= BASELINES_KEPT:
                self._shapes.clear()
            shape = self._shapes[keys] = Shape(keys)
        return shape

    def _record_before(self, at: _Row, position: int) -> tuple[int, int] | None:
        """Find the same subject's record before this one, in the same stream."""
        before = self._row_before(at)
        if before is None:
            return None
        earlier = self._row(before)
        if earlier.layout_id == at.layout_id:
            return before, position
        entry = at.layout.entries[position]
        if _subject(entry) in earlier.layout.positions:
            return before, earlier.layout.positions[_subject(entry)]
        found = self._connection.execute(
            "SELECT h.id, r.position FROM head h CROSS JOIN layout_record r ON r.layout = h.layout"
            " WHERE h.stream = ? AND h.time_ms < ? AND r.kind = ? AND r.uuid IS ?"
            " AND (r.uuid IS NOT NULL OR r.name IS ?) ORDER BY h.time_ms DESC LIMIT 1",
            (at.stream, earlier.stamp.time_ms, entry.kind, entry.uuid, entry.name),
        ).fetchone()
        return (int(found[0]), int(found[1])) if found else None

    def _row_before(self, at: _Row) -> int | None:
        if at.id not in self._before:
            found = self._connection.execute(
                "SELECT id FROM head WHERE stream = ? AND time_ms < ? ORDER BY time_ms DESC LIMIT 1",
                (at.stream, at.stamp.time_ms),
            ).fetchone()
            _keep(self._before, at.id, int(found[0]) if found else None, BASELINES_KEPT)
        return self._before[at.id]

    # Rows and layouts.

    def _row(self, head_id: int) -> _Row:
        known = self._rows.get(head_id)
        if known is not None:
            return known
        found = self._connection.execute(
            "SELECT h.stream, h.time_ms, h.boot_ns, b.boot_id, h.call_ns, h.layout, h.blob"
            " FROM head h JOIN boot b ON b.id = h.boot_id WHERE h.id = ?",
            (head_id,),
        ).fetchone()
        if found is None:
            raise row.DamagedError(f"head row {head_id} is missing, though another is a difference to it")
        stream, time_ms, boot_ns, boot_id, call_ns, layout_id, blob = found
        try:
            body = row.open_blob(blob)
        except row.DamagedError as error:
            raise row.DamagedError(f"head row {head_id} is damaged: {error}") from error
        stamp = Stamp(time_ms, boot_ns, boot_id, call_ns)
        fresh = _Row(head_id, stream, stamp, layout_id, self._layout(layout_id), body)
        _keep(self._rows, head_id, fresh, ROWS_KEPT)
        return fresh

    def _words(self, at: _Row, part: int) -> Any:
        if part not in at.parts:
            base = self._words(self._row(at.body.base), part) if at.body.base else None
            start, end = at.layout.bounds[part]
            at.parts[part] = row.unpack_part(at.body.parts[part], end - start, base)
        return at.parts[part]

    def _layout(self, layout_id: int) -> _Layout:
        known = self._layouts.get(layout_id)
        if known is None:
            found = self._connection.execute(
                "SELECT kind, uuid, name, incarnation, shape FROM layout_record WHERE layout = ? ORDER BY position",
                (layout_id,),
            ).fetchall()
            columns = {shape: self._columns(shape) for shape in {item[4] for item in found}}
            known = _Layout([Entry(*item[:4]) for item in found], [columns[item[4]] for item in found])
            _keep(self._layouts, layout_id, known, LAYOUTS_KEPT)
        return known

    def _columns(self, shape: int) -> tuple[Column, ...]:
        found = self._connection.execute(
            "SELECT f.name, c.device, c.type FROM shape_column c JOIN field f ON f.id = c.field"
            " WHERE c.shape = ? ORDER BY c.position",
            (shape,),
        )
        return tuple(Column(name, device, ValueType(type_)) for name, device, type_ in found)


_NOTHING_EXTRA = row.Extra()


def _subject(entry: Entry) -> tuple[str, str | None, str | None]:
    """Whose values these are, over ticks: a guest may change its name, a pool is nothing but its name."""
    return (entry.kind, entry.uuid, None if entry.uuid else entry.name)


def _keep(remembered: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    remembered[key] = value
    while len(remembered) > most:
        remembered.popitem(last=False)
