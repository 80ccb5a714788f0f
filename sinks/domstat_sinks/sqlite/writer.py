"""Writing: one head row a batch, committed durably, with the shapes and layouts that it needs; events and gaps apart.

Everything remembered between ticks only saves work: after any failure it is forgotten, and the file alone counts.
"""

from __future__ import annotations

import contextlib
import sqlite3
import struct
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from domstat.model import Batch, Record, Stamp
from domstat_sinks.sqlite import schema
from domstat_sinks.sqlite.heads import occurrences, row
from domstat_sinks.sqlite.heads.bases import Base, Bases
from domstat_sinks.sqlite.heads.headids import HeadIds
from domstat_sinks.sqlite.heads.layout import Shape, Shapes, entry_of
from domstat_sinks.sqlite.heads.numbers import Numbers
from domstat_sinks.sqlite.heads.rows import Rows, Subject, keep
from domstat_sinks.sqlite.heads.stored import Store
from domstat_sinks.sqlite.keeping.retention import Bounds
from domstat_sinks.sqlite.keeping.upkeep import Upkeep
from domstat_sinks.sqlite.packed.segments import Segments
from domstat_sinks.sqlite.sharing import kept_beside
from domstat_sinks.sqlite.upgrade import upgrade

BUSY_TIMEOUT_S = 1.0
"""Nobody else writes, but a checkpoint may wait for a reader's last page."""

DETAILS_REMEMBERED_MAX = 65_536
"""Guests whose labels and devices are remembered as stored; beyond that all are looked up again."""

LAYOUTS_REMEMBERED_MAX = 64
"""Layouts of one stream that need not be looked up: one for each chunk that a large host's tick comes in."""

_EVER_MS = 1 << 62
"""Later than any time."""

CROWD_MAX = 1_000
"""Ticks of one stream that may claim one millisecond: each takes a clock set back to the very same one."""


SETTLING_S = 0.25
"""Seconds of upkeep in one transaction while nobody waits for the next tick: few commits, and signals are heard."""

UPKEEP_AGAIN_S = 60.0
"""After upkeep failed (a full disk, most likely) it is tried again no sooner: ticks come first."""


class ForeignFileError(Exception):
    """The file is not a history, or one of a newer version."""


class Writer:
    """The one writing connection."""

    def __init__(self, path: Path, bounds: Bounds | None = None, log: Any = None, *, in_bulk: bool = False) -> None:
        self._path = path
        self._log = log
        self._upkeep_after = 0.0
        self.trouble = ""
        """Why upkeep failed when it was last tried."""
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_S)
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            self._connection.close()
            if type(error) is sqlite3.DatabaseError:  # "file is not a database", "malformed"
                raise ForeignFileError(f"{error}; set the file aside and start again") from error
            raise
        except ForeignFileError:
            self._connection.close()
            raise
        self._file = _identity(path)
        self._shapes = Shapes()
        self._numbers = Numbers(self._connection)
        self._ids = HeadIds(self._connection)
        self._upkeep = Upkeep(
            self._connection,
            self._numbers,
            self._ids,
            bounds or Bounds(),
            self._forget_layouts,
            in_bulk=in_bulk,
            log=log,
        )
        self._forget()

    def _prepare(self) -> None:
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and application != schema.APPLICATION_ID:
            raise ForeignFileError("this is an SQLite file, but not a history; choose another path")
        if version > schema.SCHEMA_VERSION:
            raise ForeignFileError(f"written by a newer domstat (schema {version}); upgrade domstat to write it")
        if tables:
            self._connection.executescript(schema.OPEN_PRAGMAS)
            upgrade(self._connection, version)
            self._connection.execute(schema.UNFINISHED)
        else:
            self._connection.executescript(
                f"{schema.NEW_PRAGMAS} {schema.OPEN_PRAGMAS} BEGIN IMMEDIATE; {schema.NEW}"
                f"PRAGMA application_id = {schema.APPLICATION_ID};"
                f"PRAGMA user_version = {schema.SCHEMA_VERSION}; COMMIT"
            )

    def is_in_place(self) -> bool:
        """Whether the path still leads to the open file; one that was removed takes everything written with it."""
        try:
            return _identity(self._path) == self._file
        except FileNotFoundError:
            return False

    def write(self, batches: Iterable[Batch]) -> None:
        """Store *batches* in one transaction. Raises sqlite3.Error; nothing is stored then."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for batch in batches:
                self._write_batch(batch)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._forget()
            self._upkeep.forget()
            self._make_room()
            raise
        if time.monotonic() >= self._upkeep_after:
            self._keep_up()

    def _keep_up(self) -> None:
        """Do a little upkeep. A failure costs nothing of what was written, so it is said and no more."""
        try:
            self._upkeep.run()
            self.trouble = ""
        except Exception as error:  # noqa: BLE001 - whatever it comes to, it has been taken back, and ticks come first
            self._upkeep_after = time.monotonic() + UPKEEP_AGAIN_S
            self.trouble = f"{type(error).__name__}: {error}"
            if self._log is not None:
                self._log.warning("history_upkeep_failed", error=str(error), again_s=UPKEEP_AGAIN_S)
            self._make_room()

    def _make_room(self) -> None:
        """Let go what is beyond the bounds although all else fails: it may be for lack of room."""
        with contextlib.suppress(sqlite3.Error):  # what was wanted has failed, and is what is said
            self._upkeep.make_room()

    def settle(self) -> bool:
        """Do upkeep for a while; return whether more is due. Raises sqlite3.Error; then what it did is undone."""
        return self._upkeep.run(SETTLING_S)

    def close(self) -> None:
        """Close the file, with the WAL folded into it; an empty one stays, for those who may only read."""
        self._upkeep.stop()
        with contextlib.suppress(sqlite3.Error):  # whatever it is, what is in the WAL is as safe there
            self._connection.execute("PRAGMA busy_timeout = 0")  # who still reads is not waited for
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        with kept_beside(self._path) if self.is_in_place() else contextlib.nullcontext():
            self._connection.close()

    def _forget(self) -> None:
        """Drop what is remembered of the file: a transaction that was rolled back took its numbers with it."""
        self._numbers.forget()
        self._details: dict[tuple[int, str], tuple[str, str, int]] = {}
        """The newest that is stored of each guest: labels, devices, and since when these are so."""
        self._layouts: dict[int, OrderedDict[tuple[Any, ...], tuple[list[Any], list[Shape], int]]] = {}
        self._bases = Bases()
        self._segments = Segments(self._connection)
        self._ids.forget()

    def _forget_layouts(self, gone: frozenset[int]) -> None:
        """Drop the numbers of layouts that are *gone*."""
        for remembered in self._layouts.values():
            for key in [key for key, (_, _, number) in remembered.items() if number in gone]:
                del remembered[key]

    def _write_batch(self, batch: Batch) -> None:
        stream = self._numbers.stream(batch.stream)
        valued = tuple([record for record in batch.records if record.event is None and record.gap is None])
        if valued or not batch.records:
            self._write_tick(stream, batch.stamp, valued)
        for record in valued:
            if record.labels is not None and record.domain is not None:  # a guest's
                self._write_detail(stream, record.domain.uuid, record)
        if len(valued) < len(batch.records):
            for record in batch.records:
                occurrences.store(self._connection, stream, record)

    def _write_tick(self, stream: int, stamp: Stamp, records: tuple[Record, ...]) -> None:
        """Store a tick, or lay it over what is stored of it; what is sealed stays as it is.

        A row of the same time but another stamp is another tick: the clock was set back. Neither may replace the
        other, so the later one moves on by a millisecond. Where only one of both knows its boot it is the same tick.
        """
        for time_ms in range(stamp.time_ms, stamp.time_ms + CROWD_MAX):
            found = self._find(stream, time_ms)
            if found is None:
                self._add(stream, msgspec.structs.replace(stamp, time_ms=time_ms), records)
                return
            is_unsure = time_ms == stamp.time_ms and "" in {stamp.boot_id, found.boot_id}
            if not is_unsure and (found.boot_ns, found.boot_id) != (stamp.boot_ns, stamp.boot_id):
                continue
            if found.subjects is None:
                self._merge(stream, found.head_id, msgspec.structs.replace(stamp, time_ms=time_ms), records)
                return
            records = tuple([record for record in records if _subject_of(record) not in found.subjects])
            if not records:
                return
        raise sqlite3.DataError(f"{CROWD_MAX} ticks of one stream at one time")

    def _find(self, stream: int, time_ms: int) -> _Stored | None:
        """Find the tick that is stored under a time, among head rows and in segments; none that cannot be read."""
        found = self._connection.execute(
            "SELECT h.id, h.boot_ns, b.boot_id, h.id <= s.sealed FROM stream s CROSS JOIN head h ON h.stream = s.id"
            " JOIN boot b ON b.id = h.boot_id WHERE s.id = ? AND h.time_ms = ?",
            (stream, time_ms),
        ).fetchone()
        if found is not None and not found[3]:
            return _Stored(*found[:3])
        covering = self._connection.execute(
            "SELECT id FROM segment WHERE stream = ? AND end_ms >= ? AND start_ms <= ?", (stream, time_ms, time_ms)
        ).fetchall()
        for (segment,) in covering:
            try:
                directory = self._segments.directory(segment)
            except row.DamagedError:
                continue
            for tick in np.flatnonzero((directory.time_ms == time_ms) & (directory.lead == 0)).tolist():
                stamp = directory.stamp(tick)
                return _Stored(0, stamp.boot_ns, stamp.boot_id, directory.subjects_at(tick))
        if found is None:
            return None
        try:
            subjects = Rows(self._connection).row(found[0]).layout.subjects
        except row.DamagedError:
            return None
        return _Stored(found[0], found[1], found[2], frozenset(subjects))

    def _add(self, stream: int, stamp: Stamp, records: Sequence[Record]) -> None:
        """Write a tick as a row of its own; the first of a slice builds on none of the slice before."""
        if self._upkeep.ends_slice(stream, stamp.time_ms):
            self._bases.forget(stream)
        head_id = self._ids.take()
        self._insert(stream, stamp, records, head_id)
        self._upkeep.added(stream, head_id, stamp.time_ms)

    def _insert(
        self, stream: int, stamp: Stamp, records: Sequence[Record], head_id: int, *, again: bool = False
    ) -> None:
        """Write records as a new row, or *again* in place of the row that there is, which has no base then."""
        packed = [self._pack(record) for record in records]
        words = np.frombuffer(b"".join([words for _, words in packed]), dtype="<u8")
        layout = self._layout(stream, records, [shape for shape, _ in packed])
        base = None if again else self._bases.find(stream, layout)
        extras = {
            position: row.Extra(record.partial, record.anew)
            for position, record in enumerate(records)
            if record.partial is not None or record.anew is not None
        }
        lengths = [len(shape.columns) for shape, _ in packed]
        blob = row.encode(words, lengths, (base.id, base.words) if base else None, extras)
        boot = self._numbers.boot(stamp.boot_id)
        self._connection.execute(
            "INSERT OR REPLACE INTO head (id, stream, time_ms, boot_ns, boot_id, call_ns, layout, blob)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (head_id, stream, stamp.time_ms, stamp.boot_ns, boot, stamp.call_ns, layout, blob),
        )
        if base is None and not again:
            self._bases.add(stream, layout, Base(head_id, words))

    def _pack(self, record: Record) -> tuple[Shape, bytes]:
        shape = self._shapes.of(record)
        try:
            return shape, shape.packer.pack(*self._values(record, shape))
        except struct.error:  # a value of another type than its field had before, or has by the catalogue
            shape = self._shapes.refit(record)
            return shape, shape.packer.pack(*self._values(record, shape))

    def _values(self, record: Record, shape: Shape) -> Iterable[Any]:
        """Return the values as they are packed. Raises struct.error where packing would change one silently."""
        if shape.is_plain:
            return record.figures.values
        values: list[Any] = list(record.figures.values)
        for position in shape.reals:
            value = values[position]
            if isinstance(value, str) or (isinstance(value, int) and float(value) != value):
                raise struct.error("no number that a double holds")
        for position in shape.flags:
            if not isinstance(values[position], bool):
                raise struct.error("no boolean")
        for position in shape.texts:
            if not isinstance(values[position], str):
                raise struct.error("no text")
            values[position] = self._numbers.text(values[position])
        return values

    def _layout(self, stream: int, records: Sequence[Record], shapes: list[Shape]) -> int:
        """Return the number of the layout that *records* have, nearly always one of the tick before."""
        subjects = [(record.kind, record.domain, record.pool) for record in records]
        remembered = self._layouts.setdefault(stream, OrderedDict())
        key = (len(subjects), *subjects[:1], *subjects[-1:])  # tells chunks apart, without a look at all their guests
        last = remembered.get(key)
        if last is not None and last[0] == subjects and last[1] == shapes:
            remembered.move_to_end(key)
            return last[2]
        layout = self._numbers.layout(
            [(entry_of(record), shape) for record, shape in zip(records, shapes, strict=True)]
        )
        keep(remembered, key, (subjects, shapes, layout), LAYOUTS_REMEMBERED_MAX)
        return layout

    def _write_detail(self, stream: int, uuid: str, record: Record) -> None:
        """Store labels and devices if they are not what is stored already of that time."""
        now = (msgspec.json.encode(record.labels).decode(), msgspec.json.encode(record.devices or {}).decode())
        key, time_ms = (stream, uuid), record.time_ms
        newest = self._details.get(key) or self._detail_before(key, _EVER_MS)
        last = newest
        if newest is not None and time_ms < newest[2]:  # it is of a time gone by
            last = self._detail_before(key, time_ms)
        if last is None or last[:2] != now:
            row_ = (*key, time_ms, *now)
            self._connection.execute("INSERT OR REPLACE INTO detail VALUES (?, ?, ?, ?, ?)", row_)
            last = (*now, time_ms)
        if newest is None or last[2] >= newest[2]:
            newest = last
        if len(self._details) >= DETAILS_REMEMBERED_MAX:
            self._details.clear()
        self._details[key] = newest

    def _detail_before(self, key: tuple[int, str], time_ms: int) -> tuple[str, str, int] | None:
        """Return what labels and devices were at a time, and since when."""
        found: tuple[str, str, int] | None = self._connection.execute(
            "SELECT labels, devices, time_ms FROM detail WHERE stream = ? AND uuid = ? AND time_ms <= ?"
            " ORDER BY time_ms DESC LIMIT 1",
            (*key, time_ms),
        ).fetchone()
        return found

    def _merge(self, stream: int, head_id: int, stamp: Stamp, records: Sequence[Record]) -> None:
        """Lay *records* over the stored row: one that comes again replaces itself, the others stay.

        A row that cannot be read is written anew as if it were not there.

        Its stamp stays too, unless it has no boot and *stamp* does. The row may be the base of later ones; these are
        written anew, plain, before it changes.
        """
        store = Store(self._connection)
        try:
            stored = store.batch(head_id)
        except row.DamagedError:
            self._upkeep.changed(stream)
            self._add(stream, stamp, records)
            return
        if stamp.boot_id and not stored.stamp.boot_id:
            known = (stamp.boot_ns, self._numbers.boot(stamp.boot_id), stamp.call_ns, head_id)
            self._connection.execute("UPDATE head SET boot_ns = ?, boot_id = ?, call_ns = ? WHERE id = ?", known)
            self._upkeep.changed(stream)
            stored = msgspec.structs.replace(stored, stamp=stamp)
        fresh = {(record.kind, record.subject): record for record in records}
        merged = [fresh.pop((record.kind, record.subject), record) for record in stored.records]
        merged += fresh.values()
        if list(map(_kept_of, merged)) == list(map(_kept_of, stored.records)):
            return
        for dependent in store.dependents(head_id):
            differing = store.batch(dependent)
            self._insert(stream, differing.stamp, differing.records, dependent, again=True)
        self._bases.forget(stream)
        self._insert(stream, stored.stamp, merged, head_id, again=True)
        self._upkeep.changed(stream)


class _Stored(Struct, frozen=True):
    """A tick that is in the file; *subjects* are those of a sealed one, which is not written any more."""

    head_id: int
    boot_ns: int
    boot_id: str
    subjects: frozenset[Subject] | None = None


def _subject_of(record: Record) -> Subject:
    domain = record.domain
    return (record.kind, domain.uuid if domain else None, record.pool.name if record.pool else None)


def _identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def _kept_of(record: Record) -> tuple[Any, ...]:
    """Return all of a record that its head row keeps."""
    return (record.kind, record.domain, record.pool, record.partial, record.anew, record.params)
