"""Sealing: a stream's head rows become a segment, a few milliseconds at a time between ticks.

Chunks are written first, over as many ticks as it takes; nobody reads them, since there is no segment of that number.
The segment's row and the stream's ``sealed``, up to which head rows no longer count, are then written in one
transaction: so a reader sees every tick once, whatever moment the writer dies at. A segment that was begun and not
published is ``doomed``, and so is one that was merged or has expired: :class:`Sweeper` deletes the chunks of these.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

import numpy as np

from domstat.model import Stamp
from domstat_sinks.sqlite import schema
from domstat_sinks.sqlite.heads import row
from domstat_sinks.sqlite.heads.numbers import Numbers
from domstat_sinks.sqlite.heads.rows import LayoutRead, Rows, Subject
from domstat_sinks.sqlite.packed import chunk
from domstat_sinks.sqlite.packed.directory import EVERYTHING, Directory
from domstat_sinks.sqlite.packed.slices import LEADS_MAX, Columns, Group, Skeleton, Slice, Tick
from domstat_sinks.sqlite.rollups.careful import Careful
from domstat_sinks.sqlite.rollups.roller import Roller

TICKS_MAX = 512
"""Ticks sealed at once: their values of one group, all fields, are 14 MB at 52 fields."""

DAY_MS = 86_400_000
"""A segment has ticks of one day, in UTC."""

ROWS_MAX = TICKS_MAX + 4 * LEADS_MAX
"""Rows read for a slice: beside its own the leads, their bases, and the bases that rows after the last slice need."""

BASES_SEARCHED = 4_096
"""Rows after a slice that are looked at for the bases they need: those of every layout a stream can keep at work."""


class Known:
    """What slices of one history have in common, remembered from one to the next."""

    def __init__(self, connection: sqlite3.Connection, numbers: Numbers) -> None:
        self.rows = Rows(connection)
        self._numbers = numbers
        self._columns: dict[int, Columns] = {}
        self._skeletons: dict[int, tuple[tuple[LayoutRead, ...], Skeleton | None]] = {}
        """By stream the layouts of its last slice, and their skeleton if the slice before had the same."""

    def begin_slice(self) -> None:
        """Forget what the slice before last had and none has had since."""
        self.rows.turn()

    def forget(self, stream: int) -> None:
        """Forget what the next slice of a stream has no use for."""
        self._skeletons.pop(stream, None)
        self._columns.pop(stream, None)
        self.rows.forget()

    def skeleton(self, stream: int, layouts: Sequence[LayoutRead]) -> Skeleton:
        """Return the skeleton for a stream's layouts, nearly always those of the slice before.

        It is kept once the same layouts have come twice: where guests come and go no two slices have the same, and some
        MB would be held for nothing, between two slices of the one.
        """
        of = tuple(layouts)
        last, kept = self._skeletons.get(stream, ((), None))
        if kept is not None and last == of:
            return kept
        is_kept = last == of
        made = Skeleton(layouts, self._columns.setdefault(stream, Columns(self._numbers)), is_kept=is_kept)
        self._skeletons[stream] = of, made if is_kept else None
        return made


class Sealing:
    """One slice of a stream on its way into a segment."""

    def __init__(
        self, connection: sqlite3.Connection, known: Known, stream: int, last_id: int, roller: Roller | None = None
    ) -> None:
        """*roller* rolls the slice up, and there are leads then; without one ticks are buckets, and follow on none."""
        self.stream = stream
        self._connection = connection
        self._roller = roller
        self.last_id = last_id
        self.segment = begin(connection)
        self._steps = self._all_steps(known)

    def step(self) -> bool:
        """Read the slice, write a chunk, roll up a little, or at last publish; return whether there is more to do.

        Raises DamagedError and sqlite3.Error; then nothing but what nobody reads has been written.
        """
        return next(self._steps, None) is not None

    def _all_steps(self, known: Known) -> Iterator[bool]:
        found = self._connection.execute("SELECT sealed FROM stream WHERE id = ?", (self.stream,))
        (self._sealed,) = found.fetchone()
        known.begin_slice()
        self._slice = self._load(known.rows, self.last_id)
        yield True
        self._directory = self._slice.open(known.skeleton(self.stream, self._slice.layout_reads))
        yield True
        if self._slice.leads == len(self._slice.ticks):  # nothing could be read
            self._connection.execute("UPDATE stream SET sealed = ? WHERE id = ?", (self.last_id, self.stream))
            return
        rolling = Careful(self._roller, self.stream, self._slice, self._sealed) if self._roller else None
        if rolling is not None:
            for _ in rolling.begin():
                yield True
        for number in range(self._directory.groups):
            yield from self._pack(number)
            while rolling is not None and rolling.is_at_hand():
                rolling.step()
                yield True
        while rolling is not None and rolling.has_more():
            rolling.step()
            yield True
        kept: set[int] = set()
        if rolling is not None:
            for _ in rolling.finish():
                yield True
            kept = followed(self._slice.ticks)
            rolling.publish([tick for tick in self._slice.ticks if tick.id in kept])
        publish(self._connection, self.segment, self.stream, 0, self._directory)
        self._connection.execute("UPDATE stream SET sealed = ? WHERE id = ?", (self.last_id, self.stream))
        self._clear(kept)
        if self._roller is None or self._slice.is_restless:  # the next slice of buckets is hours away
            known.forget(self.stream)

    def give_up(self) -> None:
        """Set all of the slice aside: it could not be unpacked although every row's checksum was right."""
        unsealed = self._connection.execute(
            "SELECT h.id FROM head h JOIN stream s ON s.id = h.stream"
            " WHERE h.stream + 0 = ? AND h.id > s.sealed AND h.id <= ?",
            (self.stream, self.last_id),
        ).fetchall()
        for (head_id,) in unsealed:
            self._set_aside(head_id, "it cannot be unpacked")
        self._connection.execute("UPDATE stream SET sealed = ? WHERE id = ?", (self.last_id, self.stream))

    def _pack(self, number: int) -> Iterator[bool]:
        """Write the chunks of one group."""
        group = self._slice.group(number)
        self._slice.find_breaks(group)
        yield True
        pace = chunk.Pace()
        for field, series in self._series(group):
            insert_chunk(self._connection, self.segment, number, field, chunk.encode(series, joint=True))
            if pace.is_enough(len(series) * len(self._slice.ticks)):
                yield True
        yield True

    def _series(self, group: Group) -> Iterator[tuple[int, list[chunk.Series]]]:
        """Give, by field, the series of a group as they go into a chunk."""
        directory, members = self._directory, group.members
        broken = {member for (member, _), ticks in directory.breaks.items() if max(ticks)}
        plain = {m for m in members.places if m not in broken and directory.is_everywhere(m)}
        fields = directory.field_of[members.series[:, 1]]
        for own in np.split(np.arange(len(fields)), np.flatnonzero(np.diff(fields, prepend=-1)))[1:]:
            series = []
            for place, (member, column) in zip(own.tolist(), members.series[own].tolist(), strict=True):
                type_, words = directory.columns[column].type, group.values[place]
                if member in plain:
                    series.append(chunk.Series(type_, words))
                else:
                    words, breaks = words[directory.ticks_of(member, column)], positions(directory, member, column)
                    series.append(chunk.Series(type_, words, breaks=breaks))
            yield int(fields[own[0]]), series

    def _load(self, rows: Rows, last_id: int) -> Slice:
        """Read the slice: what is not sealed yet, and of what is what the first ticks follow on."""
        earlier: list[Tick] = []
        ticks: list[Tick] = []
        found = self._connection.execute(
            "SELECT h.id, h.time_ms, h.boot_ns, b.boot_id, h.call_ns, h.layout, h.blob FROM head h"
            " JOIN boot b ON b.id = h.boot_id WHERE h.stream + 0 = ? AND h.id <= ? ORDER BY h.id LIMIT ?",
            (self.stream, last_id, ROWS_MAX),
        ).fetchall()
        if len(found) == ROWS_MAX:
            self.last_id = found[-1][0]
        for head_id, time_ms, boot_ns, boot_id, call_ns, layout_id, blob in found:
            # Ticks are sealed by days, so that these are what retention and SQL's column `day` take; buckets are not.
            is_next_day = self._roller and ticks and time_ms // DAY_MS != ticks[0].stamp.time_ms // DAY_MS
            if len(ticks) == TICKS_MAX or is_next_day:
                self.last_id = ticks[-1].id
                break
            try:
                body = row.open_blob(blob)
                if body.base:
                    rows.row(body.base)
            except row.DamagedError as error:
                if head_id > self._sealed:
                    self._set_aside(head_id, str(error))
                continue
            tick = Tick(head_id, Stamp(time_ms, boot_ns, boot_id, call_ns), layout_id, rows.layout(layout_id), body)
            (earlier if head_id <= self._sealed else ticks).append(tick)
        wanted = followed(earlier) if self._roller else set()
        leads = [tick for tick in earlier if tick.id in wanted]
        return Slice(rows, leads + ticks, len(leads))

    def _set_aside(self, head_id: int, reason: str) -> None:
        """Keep a row that cannot be read where :mod:`..rescue.recovery` and people find it."""
        self._connection.execute(
            "INSERT OR IGNORE INTO damaged SELECT id, stream, time_ms, layout, ?, blob FROM head WHERE id = ?",
            (reason, head_id),
        )

    def _clear(self, kept: set[int]) -> None:
        """Delete the head rows that are sealed, but for those *kept* that the next ticks follow on, and their bases."""
        bases = {tick.body.base for tick in self._slice.ticks if tick.id in kept}
        following = self._connection.execute(
            "SELECT blob FROM head WHERE stream + 0 = ? AND id > ? ORDER BY id LIMIT ?",
            (self.stream, self.last_id, BASES_SEARCHED),
        )
        for (blob,) in following:
            try:
                bases.add(row.open_blob(blob).base)
            except row.DamagedError:  # it says so when it is read
                continue
        old = self._connection.execute(
            "SELECT id FROM head WHERE stream + 0 = ? AND id <= ?", (self.stream, self.last_id)
        ).fetchall()
        gone = [(head_id,) for (head_id,) in old if head_id not in kept and head_id not in bases]
        self._connection.executemany("DELETE FROM head WHERE id = ?", gone)


def begin(connection: sqlite3.Connection) -> int:
    """Take a number for a new segment, which is doomed until it is published. Raises sqlite3.Error.

    No number is given twice, for readers know directories and chunks by it.
    """
    segment = connection.execute("INSERT INTO doomed VALUES (NULL)").lastrowid
    assert segment is not None  # noqa: S101 - a row was inserted
    return segment


def publish(connection: sqlite3.Connection, segment: int, stream: int, level: int, directory: Directory) -> None:
    """Make a segment one that counts. Raises sqlite3.Error."""
    own = directory.own
    ids, times = directory.ids[own], directory.time_ms[own]
    ticks = np.bincount(directory.layout_of[own], minlength=len(directory.layouts))
    samples = int((ticks[directory.layouts.numbers()] * directory.shapes.lengths[directory.layouts.flat[:, 1]]).sum())
    connection.execute("DELETE FROM doomed WHERE segment = ?", (segment,))
    connection.execute(
        "INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?, ?, ifnull(strftime('%Y-%m-%d', ?, 'unixepoch'), ''), ?, ?, ?)",
        (
            segment, stream, level, int(ids[0]), int(ids[-1]), int(times.min()), int(times.max()),
            int(times.min()) // 1000, len(own), samples, directory.encode(),
        ),
    )  # fmt: skip
    whose = [(segment, place, *row) for place, row in enumerate(directory.subjects)]
    connection.executemany("INSERT INTO segment_member VALUES (?, ?, ?, ?, ?)", whose)


def retire(connection: sqlite3.Connection, segments: Sequence[int]) -> None:
    """Make segments ones that do not count any more; their chunks are swept away later. Raises sqlite3.Error."""
    for statement in (
        "DELETE FROM segment WHERE id = ?",
        "DELETE FROM segment_member WHERE segment = ?",
        "INSERT INTO doomed VALUES (?)",
    ):
        connection.executemany(statement, [(segment,) for segment in segments])


def insert_chunk(connection: sqlite3.Connection, segment: int, group: int, field: int, blob: bytes) -> None:
    """Store a chunk. Raises sqlite3.Error."""
    connection.execute("INSERT INTO chunk VALUES (?, ?)", (schema.chunk_id(segment, field, group), blob))


def followed(ticks: Sequence[Tick]) -> set[int]:
    """Return which ticks the next ones follow on: of each subject the last, and before partial ones the last whole.

    Of partial ones between these only those with other values than the later ones have: a guest that hangs for a day
    is as partial in all its ticks.
    """
    wanted: set[int] = set()
    whole: set[Subject] = set()
    partial: dict[Subject, set[tuple[str, ...]]] = {}
    """By subject that no whole record has been found of, which keys its partial ones have."""
    done: set[int] = set()
    """The layouts of whose subjects all have been found whole."""
    for tick in reversed(ticks):
        if len(wanted) >= LEADS_MAX:
            break
        if tick.layout_id in done:
            continue
        for position, subject in enumerate(tick.layout.subjects):
            if subject in whole:
                continue
            extra = tick.body.extras.get(position)
            if extra is None or extra.partial is None:
                whole.add(subject)
                wanted.add(tick.id)
                continue
            known, keys = partial.setdefault(subject, set()), tick.layout.shapes[position].keys
            if keys not in known or extra.anew:
                known.add(keys)
                wanted.add(tick.id)
        if whole.issuperset(tick.layout.subjects):
            done.add(tick.layout_id)
    return wanted


def positions(directory: Directory, member: int, column: int) -> tuple[int, ...]:
    """Return where in a series, beyond its first value, its counter begins anew."""
    breaks = [*directory.breaks.get((member, column), ()), *directory.breaks.get((member, EVERYTHING), ())]
    if not breaks:
        return ()
    ticks = directory.ticks_of(member, column)
    return tuple(place for place in sorted(set(np.searchsorted(ticks, breaks).tolist())) if 0 < place < len(ticks))


class Sweeper:
    """Deletes the chunks of doomed segments, a few at a time."""

    ROWS = 64
    """Chunks deleted in one step: a few MB of pages at most."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def step(self) -> bool:
        """Delete some, while no segment is being made; return whether there may be more. Raises sqlite3.Error."""
        found = self._connection.execute("SELECT segment FROM doomed ORDER BY segment LIMIT 1").fetchone()
        if found is None:
            return False
        deleted = self._connection.execute(
            "DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE id BETWEEN ? AND ? LIMIT ?)",
            (*schema.chunks_of(found[0]), self.ROWS),
        )
        if deleted.rowcount < self.ROWS:
            self._connection.execute("DELETE FROM doomed WHERE segment = ?", found)
        return True
