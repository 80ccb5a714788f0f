"""Rolling up: while a slice of ticks is sealed, buckets are made of it, and stored in the transaction that ends that.

So whatever moment the writer dies at, a tick is either sealed and counted, or neither. What is open then, the last five
minutes and the last hour, is remembered from slice to slice; a writer that is closed stores it for the next one, and
after one that died it is made again of the segments. Where guests come and go it is stored with every slice, and
nothing is remembered.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from domstat.catalog import DERIVED
from domstat_sinks.sqlite.heads.headids import HeadIds
from domstat_sinks.sqlite.heads.numbers import Numbers
from domstat_sinks.sqlite.heads.row import PART_RECORDS, DamagedError, Words
from domstat_sinks.sqlite.heads.rows import LayoutRead
from domstat_sinks.sqlite.packed.directory import Directory
from domstat_sinks.sqlite.packed.segments import Segments
from domstat_sinks.sqlite.packed.slices import LEADS_MAX, Slice, Tick
from domstat_sinks.sqlite.rollups.days import store_hour
from domstat_sinks.sqlite.rollups.guests import Guests
from domstat_sinks.sqlite.rollups.keyfigures import encode, figures_of_hour
from domstat_sinks.sqlite.rollups.lastknown import LastKnown
from domstat_sinks.sqlite.rollups.rolling import Rolled, roll
from domstat_sinks.sqlite.rollups.rollplan import Scope, shape_plan
from domstat_sinks.sqlite.rollups.rollrecord import Form, moving_fields
from domstat_sinks.sqlite.rollups.rollstats import Rollup, Subject, is_alike, subject_of
from domstat_sinks.sqlite.rollups.stretches import Part, Sealed, Stretch, Values, make_part, run_of, stretches
from domstat_sinks.sqlite.rollups.tierrows import Packed, TierRows
from domstat_sinks.sqlite.rollups.unfinished import Held, Unfinished
from domstat_sinks.sqlite.rollups.unfinishedblob import decode as decode_held
from domstat_sinks.sqlite.rollups.unfinishedblob import encode as encode_held

RAW, FIVE_MINUTES, HOURS = 0, 1, 2
"""Tiers of streams."""

RESTORED_TICKS = 512
"""Ticks of 64 guests unpacked at once out of a segment: 14 MB at 52 fields."""


_PartKey: TypeAlias = tuple[object, ...]

_ScopeKey: TypeAlias = tuple[int, Subject]
"""By which scopes that are alike are soon found: how many entries, and whose the first is."""


class _Stream:
    """What is remembered of one stream from slice to slice."""

    def __init__(self, unfinished: Unfinished) -> None:
        self.unfinished = unfinished
        self.known = LastKnown()
        self.boots = {"": 0}
        self.sealed = 0
        """The last tick that is in it."""
        self._parts: dict[_PartKey, tuple[_PartKey, Part]] = {}
        """Parts of layouts, by layout and number, and by what is in them; each with the latter."""
        self._parts_before: dict[_PartKey, tuple[_PartKey, Part]] = {}

    def number_boots(self, directory: Directory) -> None:
        """Give every boot a number."""
        for boot_id in directory.boots:
            self.boots.setdefault(boot_id, len(self.boots))

    def begin_slice(self) -> None:
        """Forget the parts of layouts that the slice before had no ticks of."""
        self._parts, self._parts_before = {}, self._parts

    def end_slice(self, leads: Iterable[Tick]) -> None:
        """Remember no more than what the next slice goes on with: of guests that come and go, each brings a layout."""
        layouts = {tick.layout for tick in leads}
        self.known.retain({subject for layout in layouts for subject in layout.subjects})
        self.keep_parts(layouts)
        self._parts_before = {}

    def keep_parts(self, layouts: Collection[LayoutRead]) -> None:
        """Forget the parts of all other layouts."""
        kept = {key: known for key, known in self._parts.items() if key[0] in layouts}
        self._parts = kept | {known[0]: known for known in kept.values()}

    def part(self, slice_: Slice, layout: int, part: int) -> Part:
        """Return a part of a layout of a slice, nearly always one of the slice before.

        It is the same where another part of the layout has changed, or where the layout was read anew.
        """
        read = slice_.layout_reads[layout]
        known = self._find((read, part))
        if known is None:
            own = slice(part * PART_RECORDS, (part + 1) * PART_RECORDS)
            entries, columns = read.entries[own], [shape.columns for shape in read.shapes]
            plans = tuple([shape_plan(entry.kind, of) for entry, of in zip(entries, columns[own], strict=True)])
            content = (tuple(entries), plans, read.guests_before[own.start], read.guests)
            known = self._find(content)
            if known is None:
                known = (content, make_part(read.entries, columns, read.guests_before, read.guests, part))
        self._parts[read, part] = self._parts[known[0]] = known
        return known[1]

    def _find(self, key: _PartKey) -> tuple[_PartKey, Part] | None:
        return self._parts.get(key) or self._parts_before.get(key)


class Roller:
    """What rolling up remembers of one file, on the writing connection."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        numbers: Numbers,
        ids: HeadIds,
        ends_slice: Callable[[int, int], bool],
        added: Callable[[int, int, int], None],
        on_failed: Callable[[int, Exception], None],
    ) -> None:
        """*ends_slice* and *added* are asked and told of rows of tiers (see :class:`..keeping.upkeep.Upkeep`).

        *on_failed* is told which stream's slice cannot be rolled up.
        """
        self.connection = connection
        self.rows = TierRows(connection, numbers, ids, ends_slice, added)
        self.guests = Guests(connection)
        self.numbers = numbers
        self._on_failed = on_failed
        self._streams: dict[int, _Stream] = {}
        self._held: dict[int, tuple[int, Held]] = {}
        """Of a stream whose slice is in hand the tick before it, and what was open then."""
        self._forms: dict[int, dict[_ScopeKey, list[tuple[Scope, Form]]]] = {}
        """Of each tier's stream those of its last buckets, some 100 KB each of 64 guests."""
        self.moving: frozenset[str] = frozenset()
        self._is_busy = False

    def begin(self, stream: int, slice_: Slice, sealed: int) -> Rolling:
        """Begin to roll up a slice that follows on the tick *sealed*."""
        if self._is_busy:  # the one before was given up, and rows that it packed are nowhere
            self.rows.forget()
        self._is_busy = True
        if not self.moving:
            found = self.connection.execute("SELECT name FROM field WHERE name LIKE '%:min'").fetchall()
            self.moving = frozenset(name.removesuffix(":min") for (name,) in found) - DERIVED.keys()
        known = self._streams.pop(stream, None)
        return Rolling(self, stream, slice_, sealed, known if known is not None and known.sealed == sealed else None)

    def done(self, stream: int, known: _Stream) -> None:
        """Remember a stream for the next slice."""
        self._streams[stream] = known
        self._done(stream)

    def done_with(self, stream: int, tiers: Iterable[int]) -> None:
        """Remember nothing of a stream, nor of its *tiers*; what is open of it is stored.

        Small objects left among the many of a sealing would keep all their memory from being given back, and what is
        open of an hour grows with every guest that comes.
        """
        self._done(stream)
        for tier in tiers:
            self._forms.pop(tier, None)
            self.rows.forget_stream(tier)

    def _done(self, stream: int) -> None:
        self._held.pop(stream, None)
        self._is_busy = False

    def hold(self, stream: int, sealed: int, unfinished: Unfinished) -> None:
        """Remember what is open of a stream after the tick *sealed*, until its slice is done."""
        self._held[stream] = sealed, unfinished.held()

    def held(self, stream: int, sealed: int) -> Held | None:
        """Return what was open of a stream after the tick *sealed*, if it is held or stored. Raises sqlite3.Error."""
        known = self._held.get(stream)
        if known is not None and known[0] == sealed:
            return known[1]
        found = self.connection.execute(
            "SELECT blob FROM unfinished WHERE stream = ? AND sealed = ?", (stream, sealed)
        ).fetchone()
        try:
            return decode_held(found[0]) if found is not None else None
        except DamagedError:  # whoever verifies the file is told of what is in it; it is made again of its ticks
            return None

    def keep(self) -> None:
        """Store what is open of all streams, for the next writer, unless that is there. Raises sqlite3.Error."""
        kept = dict(self.connection.execute("SELECT stream, sealed FROM unfinished").fetchall())
        idle = {stream: (known.sealed, known.unfinished.held()) for stream, known in self._streams.items()}
        for stream, (sealed, held) in {**idle, **self._held}.items():
            if held.hour_from and kept.get(stream) != sealed:
                self.store(stream, sealed, encode_held(held))

    def store(self, stream: int, sealed: int, packed: bytes) -> None:
        """Store what is open of a stream after the tick *sealed*. Raises sqlite3.Error."""
        self.connection.execute("INSERT OR REPLACE INTO unfinished VALUES (?, ?, ?)", (stream, sealed, packed))

    def failed(self, stream: int, error: Exception) -> None:
        """Forget what a slice that cannot be rolled up has left behind, some of which may have been taken back."""
        self._held.pop(stream, None)
        self.numbers.forget()
        self.rows.forget()
        self.guests.forget()
        self._forms.clear()
        self._on_failed(stream, error)

    def pass_over(self, stream: int, last_id: int) -> None:
        """Leave out a slice, whose last tick is *last_id*, and what was open before it. Raises sqlite3.Error.

        That may be what cannot be rolled up with it, and would be open for ever.
        """
        self.connection.execute(
            "UPDATE rolled SET minutes_from = ?1, hour_from = ?1 WHERE stream = ?2", (last_id + 1, stream)
        )

    def whose(self, stream: int) -> tuple[str, str]:
        """Return a stream's host and collect block."""
        of_stream = "SELECT host, collect FROM stream WHERE id = ?"
        host, collect = self.connection.execute(of_stream, (stream,)).fetchone()
        return host, collect

    def forms(self, stream: int, scopes: Sequence[Scope]) -> list[Form]:
        """Return the forms for the buckets of a tier's stream, nearly always those of the buckets before."""
        before, self._forms[stream] = self._forms.get(stream, {}), {}
        forms = []
        for scope in scopes:
            key = (len(scope.entries), subject_of(scope.entries[0]))
            known = [form for of, form in before.get(key, ()) if is_alike(of, scope)]
            forms.append(known[0] if known else Form())
            self._forms[stream].setdefault(key, []).append((scope, forms[-1]))
        return forms


class _Unsealed:
    """The values of a slice."""

    def __init__(self, known: _Stream, slice_: Slice) -> None:
        self.directory = slice_.directory
        self._known = known
        self._slice = slice_

    def part(self, layout: int, part: int) -> Part:
        """Return a part of one of the directory's layouts."""
        return self._known.part(self._slice, layout, part)

    def words(self, stretch: Stretch) -> Generator[None, None, Words]:
        """Return a stretch's words, unpacked in one step."""
        yield from ()
        there = np.flatnonzero(self.directory.layout_of == stretch.layout)
        first = int(np.searchsorted(there, stretch.ticks[0]))
        return self._slice.matrix(stretch.layout, stretch.part)[first : first + len(stretch.ticks)]


class Rolling:
    """One slice of a stream on its way into buckets."""

    def __init__(self, roller: Roller, stream: int, slice_: Slice, sealed: int, known: _Stream | None) -> None:
        self._roller = roller
        self._stream = stream
        self._slice = slice_
        self._sealed = sealed
        self._is_begun_anew = known is None
        self._is_to_restore = False
        self._known = known or _Stream(self._what_was_open())
        self._known.begin_slice()
        self._values = _Unsealed(self._known, slice_)
        own = slice_.directory.own
        self._ids, self._times_ms = slice_.directory.ids[own], slice_.directory.time_ms[own]
        self._todo = list(stretches(slice_.directory, own.tolist()))[::-1]
        self._to_come = Counter(stretch.layout for stretch in self._todo)
        self._is_restless = slice_.is_restless
        self._whose = roller.whose(stream)
        self._packed: list[Packed] = []
        self._figures: list[tuple[int, int, int, bytes]] = []
        self._open: bytes | None = None
        """What is open in the end, packed, if nothing is to be remembered."""

    def _what_was_open(self) -> Unfinished:
        held = self._roller.held(self._stream, self._sealed)
        if held is not None:
            return Unfinished.of(held)
        self._is_to_restore = True
        found = self._roller.connection.execute(
            "SELECT open_ms, minutes_from, hour_from FROM rolled WHERE stream = ?", (self._stream,)
        ).fetchone()
        return Unfinished(*found) if found else Unfinished()

    def begin(self) -> Iterator[None]:
        """Make sure of what was before the slice, in steps. Raises sqlite3.Error, DamagedError."""
        if self._is_to_restore:
            yield from self._restore(self._known.unfinished.minutes_from, self._known.unfinished.hour_from)
        if self._is_to_restore or not self._is_begun_anew:  # otherwise it is stored, or held already
            self._roller.hold(self._stream, self._sealed, self._known.unfinished)
        self._known.number_boots(self._slice.directory)
        if self._is_begun_anew:
            leads = np.flatnonzero(self._slice.directory.lead).tolist()
            for stretch in stretches(self._slice.directory, leads):
                yield from self._follow(self._values, stretch)
                yield

    def is_at_hand(self) -> bool:
        """Tell whether what is to be rolled up next is unpacked already."""
        return bool(self._todo) and self._slice.is_at_hand(self._todo[-1].layout, self._todo[-1].part)

    def has_more(self) -> bool:
        """Tell whether there is anything more to be rolled up."""
        return bool(self._todo)

    def step(self) -> None:
        """Roll up a little. Raises DamagedError."""
        stretch = self._todo.pop()
        self._to_come[stretch.layout] -= 1
        for rolled in _each(self._roll(self._values, stretch)):
            self._known.unfinished.add(rolled)
        if self._is_restless and (not self._todo or self._todo[-1].layout != stretch.layout):
            # The one at hand stays: the next one's parts are found among its.
            wanted = [layout for layout, left in self._to_come.items() if left or layout == stretch.layout]
            self._known.keep_parts({self._slice.layout_reads[layout] for layout in wanted})

    def finish(self) -> Iterator[None]:
        """Pack the buckets that are finished, in steps. Raises sqlite3.Error."""
        yield from self._known.unfinished.fold()
        finished = self._known.unfinished.finish(self._ids, self._times_ms)
        for tier, rollups in ((FIVE_MINUTES, finished.minutes), (HOURS, finished.hours)):
            self._roller.moving = self._roller.moving.union(*map(moving_fields, rollups))
            if rollups:
                yield from self._pack(tier, rollups)
        for start_ms, sketched in finished.sketches.items():
            whose = [part.entries for part in sketched] + [rollup.scope.entries for rollup in finished.hours]
            entries = dict.fromkeys(entry for of in whose for entry in of)  # numbered in their order
            numbers = self._roller.guests.numbers(self._whose[0], entries)
            for field, block, figures in figures_of_hour(start_ms, finished.hours, sketched, numbers):
                self._figures.append((self._roller.numbers.field(field), block, start_ms, encode(figures)))
                yield
        if self._is_restless:
            self._open = encode_held(self._known.unfinished.held())
            yield

    def _pack(self, tier: int, rollups: Sequence[Rollup]) -> Iterator[None]:
        stream = self._roller.numbers.stream(self._whose, tier)
        forms = self._roller.forms(stream, [rollup.scope for rollup in rollups])
        for start_ms in sorted({start_ms for rollup in rollups for start_ms in rollup.starts_ms.tolist()}):
            parts = []
            for rollup, form in zip(rollups, forms, strict=True):
                for bucket in np.flatnonzero(rollup.starts_ms == start_ms).tolist():
                    parts.append(form.row(rollup, bucket, self._roller.moving))
                    yield
            self._packed.append(self._roller.rows.pack(stream, start_ms, int(self._ids[-1]), parts))
            yield

    def publish(self, leads: Iterable[Tick]) -> None:
        """Store all that is finished, in the transaction that seals the slice. Raises sqlite3.Error.

        *leads* are the ticks that the next ones follow on: nobody else is remembered, as nobody would be after a start.
        """
        for packed in self._packed:
            self._roller.rows.store(packed)
        for field, block, start_ms, blob in self._figures:
            store_hour(self._roller.connection, (self._stream, field, block), start_ms, blob)
        self._roller.guests.seen(self._whose[0], self._slice.directory)
        unfinished = self._known.unfinished
        self._roller.connection.execute(
            "INSERT OR REPLACE INTO rolled VALUES (?, ?, ?, ?)",
            (self._stream, unfinished.open_ms, unfinished.minutes_from, unfinished.hour_from),
        )
        sealed = int(self._ids[-1])
        if self._open is not None:
            self._roller.store(self._stream, sealed, self._open)
            self._roller.done_with(self._stream, {packed.stream for packed in self._packed})
            return
        self._known.end_slice(leads)
        self._known.sealed = sealed
        self._roller.done(self._stream, self._known)

    def _roll(self, values: Values, stretch: Stretch) -> Generator[None, None, Rolled]:
        known = self._known.known
        words = yield from values.words(stretch)
        run = run_of(values, stretch, words, self._known.boots)
        rolled = roll(run, known.before(run), values.part(stretch.layout, stretch.part).keyed)
        known.after(run)
        return rolled

    def _follow(self, values: Values, stretch: Stretch) -> Generator[None, None, None]:
        """Take notice of ticks without rolling them up."""
        words = yield from values.words(stretch)
        self._known.known.after(run_of(values, stretch, words, self._known.boots))

    # After a restart.

    def _restore(self, minutes_from: int, hour_from: int) -> Iterator[None]:
        """Make the open buckets again of the segments that their ticks are in, if there are any."""
        if not hour_from:
            return
        found = self._roller.connection.execute(
            "SELECT id FROM segment WHERE stream = ? AND last_id >= ? ORDER BY first_id", (self._stream, hour_from)
        ).fetchall()
        for number, (segment,) in enumerate(found):
            try:
                values = Sealed(Segments(self._roller.connection), segment)  # nothing is kept of the one before
                self._known.number_boots(values.directory)
                if number == 0:
                    yield from self._follow_up_to(values, hour_from)
                yield from self._restore_from(values, minutes_from, hour_from)
                yield from self._known.unfinished.fold()
            except DamagedError:  # whoever reads it is told; the rest of its hour is still right
                continue

    def _follow_up_to(self, values: Sealed, hour_from: int) -> Iterator[None]:
        """Take notice of the last ticks of a segment before one."""
        first = int(np.flatnonzero(values.directory.ids >= hour_from)[0])
        for stretch in stretches(values.directory, range(max(0, first - LEADS_MAX), first), RESTORED_TICKS):
            yield from self._follow(values, stretch)

    def _restore_from(self, values: Sealed, minutes_from: int, hour_from: int) -> Iterator[None]:
        directory = values.directory
        own = directory.own[directory.ids[directory.own] >= hour_from]
        is_earlier = directory.ids[own] < minutes_from
        for is_finished, ticks in ((True, own[is_earlier]), (False, own[~is_earlier])):
            for stretch in stretches(directory, ticks.tolist(), RESTORED_TICKS):
                rolled = yield from self._roll(values, stretch)
                self._known.unfinished.restore(rolled, is_finished=is_finished)
                yield


def _each(steps: Generator[None, None, Any]) -> Iterator[Any]:
    """Go through all steps at once, and give what comes of them."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            yield end.value
            return
