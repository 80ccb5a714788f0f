"""Between ticks and sinks: every batch goes into the journal, and then to the couriers, the newest from memory.

A tick only leaves its batch here. One thread packs, commits and trims; couriers see a batch when it is committed.
Should the journal not be writable (a full disk, a dead one), they see it all the same, and what waits for the disk is
kept in memory up to a bound: then the promise that nothing collected is lost holds for as long as the process lives.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from domstat.deliver.bounds import Limits, Why
from domstat.deliver.codec import Stream, Unpacker
from domstat.deliver.journal import DamagedError, Entry, Journal, Removed, is_damage, is_full, set_aside
from domstat.deliver.memory import Memory, Parcel
from domstat.deliver.parcels import Reader, Taken, packed, unpacked
from domstat.deliver.position import Position
from domstat.deliver.trimmer import TRIM_EVERY_S, Trimmer
from domstat.model import Batch

COMMIT_BATCHES_MAX = 64
"""Batches in one commit: after a stall there are many, and each transaction is to stay short."""

STALL_S = 5.0
"""A commit that takes longer is a disk that hangs: couriers go on without it."""

RETRY_S = 1.0
"""How often it is tried again to write a journal that cannot be written."""

FLUSH_EVERY_S = 5.0
"""How often positions are stored while no batch comes with which they could ride."""

LOOK_BACK_ROWS = 64
"""Rows searched for the sample before: one will do, unless a guest was missing for a while or a tick came in parts."""

UNOPENED_SHIFT = 20
"""Numbers given before the journal could be opened for the first time begin at the time in seconds, so far to the left:
beyond all that it may have."""


class Lag(Struct, frozen=True):
    """How far a sink is behind: batches, seconds since the oldest of them came, bytes the journal keeps for it."""

    batches: int
    seconds: float
    bytes: int


class Figures(Struct, frozen=True):
    """How the journal is: bytes used, seconds of the last commit, commits that failed, records it never had.

    *committed* is the newest number that is in it. *failing* says why it cannot be written, None while it can.
    """

    bytes: int
    commit_s: float
    failed: int
    lost: int
    failing: str | None
    committed: int


class Spool:
    """Takes batches from ticks, keeps them in the journal, gives them to couriers."""

    def __init__(self, path: Path, limits: Limits, log: Any) -> None:
        self._path = path
        self._log = log
        self._lock = threading.RLock()
        self._rows = threading.Lock()
        """Held from reading rows to their being in somebody's hands, and from removing rows to their being counted."""
        self._incoming = threading.Condition(self._lock)
        """Something is to be committed."""
        self._ready = threading.Condition(self._lock)
        """Something is there for couriers."""
        self._journal: Journal | None = None
        self._trimmer = Trimmer(limits)
        self._memory = Memory()
        self._readers: dict[str, Reader] = {}
        self._removals = 0
        self._gives_again = False
        """Whether a position was damaged: whoever has none may be the one, and gets all that there is again."""
        self._unreadable: tuple[Journal, sqlite3.Error] | None = None
        """A journal that a courier has found to be damaged."""
        self._positions: dict[str, Position] = {}
        """Of every sink that has one, configured or not."""
        self._dirty: set[str] = set()
        self._next = int(time.time()) << UNOPENED_SHIFT
        self._committed = self._next - 1
        self._committing_since: float | None = None
        self._failing: str | None = None
        self._stopping = False
        self._commit_s = 0.0
        self._failed = 0
        self._lost = 0
        self._trim_due = self._flush_due = 0.0
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    # From start to stop.

    def open(self) -> None:
        """Open the journal, before all else; one that cannot be opened is tried again while the agent runs."""
        journal = self._try_to_open()
        if journal is None:
            return
        try:
            self._next = journal.newest() + 1
            self._committed = self._next - 1
            self._adopt(journal)
        except sqlite3.Error as error:
            journal.close()
            self._journal = None
            self._note_failing(error)

    def start(self) -> None:
        """Begin to commit."""
        now = time.monotonic()
        self._trim_due, self._flush_due = now + TRIM_EVERY_S, now + FLUSH_EVERY_S
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Commit what waits, and the positions; return whether that was done within *timeout_s* seconds."""
        with self._lock:
            self._stopping = True
            self._incoming.notify_all()
            self._ready.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _try_to_open(self) -> Journal | None:
        try:
            try:
                return Journal(self._path)
            except DamagedError as error:
                self._log.error("journal_damaged", path=str(self._path), error=str(error), hint="begun anew")
                return Journal(self._path)
        except (sqlite3.Error, OSError, DamagedError) as error:
            self._note_failing(error)
            return None

    def _adopt(self, journal: Journal) -> None:
        """Go on with a journal that was opened; whoever has come in meanwhile has done what came meanwhile."""
        with self._lock:
            self._journal = journal
            self._trimmer.begin(self._next)
            positions = journal.positions()
            if journal.damaged:
                self._gives_again = True
                self._log.error("position_damaged", positions=len(journal.damaged), hint="all is given to it again")
                journal.forget_damaged()
            for name, stored in positions.items():
                at = self._positions.get(name)
                self._positions[name] = stored if at is None else stored.done(self._committed + 1, at.low)
            for name, reader in self._readers.items():
                reader.note_received(journal.waiting(self._positions[name], self._committed))
            self._dirty = set(self._positions)

    # For ticks.

    def offer(self, batch: Batch) -> None:
        """Take a batch; never waits."""
        with self._lock:
            parcel = Parcel(self._next, batch)
            self._next += 1
            for reader in self._readers.values():
                reader.note_received(len(batch.records))
            lost = self._memory.add(parcel)
            self._lost += sum(row.records for row in lost)
            self._note_removed(lost, Why.MEMORY)
            self._incoming.notify()
            if self._visible() > self._committed:
                self._ready.notify_all()

    # For couriers.

    def enlist(self, reader: Reader, *, oldest: bool) -> None:
        """Have a sink come in, and tell it how many records wait for it.

        A sink that was never here begins with what comes now or, with *oldest*, with all that the journal has.
        """
        with self._lock:
            self._readers[reader.name] = reader
            if reader.name not in self._positions:
                is_early = oldest or self._gives_again
                first = self._journal.oldest() if is_early and self._journal is not None else None
                self._positions[reader.name] = Position(first - 1 if first is not None else self._next - 1)
                self._dirty.add(reader.name)
            reader.note_received(self._waiting_for(reader.name))

    def _waiting_for(self, name: str) -> int:
        at = self._positions[name]
        stored = self._journal.waiting(at, self._committed) if self._journal is not None else 0
        return stored + self._memory.uncommitted_records(at)

    def strangers(self) -> dict[str, int]:
        """Return the sinks that have a position and are not here, and how many records are kept for each."""
        with self._lock:
            return {name: self._waiting_for(name) for name in sorted(self._positions.keys() - self._readers.keys())}

    def position(self, name: str) -> Position:
        """Return how far a sink has come."""
        return self._positions[name]

    def done(self, name: str, first: int, last: int) -> None:
        """Note that a sink has the numbers from *first* to *last*; that is stored with the next commit."""
        with self._lock:
            self._positions[name] = self._positions[name].done(first, last)
            self._dirty.add(name)
            self._readers[name].note_done()

    def dismiss(self, name: str) -> None:
        """Have nothing kept any more for a sink that has ended for good; what still comes is not for it."""
        with self._lock:
            reader = self._readers.pop(name, None)
            if self._positions.pop(name, None) is not None and self._journal is not None:
                self._dirty.discard(name)
                self._trimmer.forget(name)
            if reader is not None:
                reader.note_left(0, Why.ENDED)

    def wait(self, holds: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait until a condition of the caller's holds, which is looked at whenever something changes here."""
        with self._lock:
            return self._ready.wait_for(holds, seconds)

    def wake(self) -> None:
        """Have everybody look at what they wait for."""
        with self._lock:
            self._ready.notify_all()

    def has_for(self, name: str) -> bool:
        """Whether there is anything for a sink; it has to hold the lock or wait."""
        return self._positions[name].low < self._visible()

    def expects(self, name: str) -> bool:
        """Whether there is, or will be with the next commit, anything for a sink; it has to hold the lock or wait."""
        return self._positions[name].low < self._next - 1

    def waits_for(self, name: str) -> int:
        """Return about how many batches there are for a sink; it has to hold the lock or wait."""
        return self._visible() - self._positions[name].low

    def is_behind(self, name: str) -> bool:
        """Whether what a sink needs next is not in memory any more."""
        with self._lock:
            return self._positions[name].low + 1 < self._begin()

    def _visible(self) -> int:
        """Return the last number that couriers may have."""
        since = self._committing_since
        is_stalled = since is not None and time.monotonic() - since > STALL_S
        return self._next - 1 if self._failing is not None or is_stalled else self._committed

    def _begin(self) -> int:
        begin = self._memory.begin
        return self._next if begin is None else begin

    def fresh(self, name: str, batches: int) -> Taken | None:
        """Give the newest batches to a sink that is behind and takes them in any order; None if there is none."""
        with self._lock:
            at = self._positions[name]
            begin = self._begin()
            if at.low + 1 >= begin or at.is_full:
                return None
            parcels = self._memory.parcels(max(at.high, begin - 1), self._visible() + 1, batches)
            return self._hand(name, Taken(tuple(parcels), parcels[0].number, parcels[-1].number)) if parcels else None

    def _hand(self, name: str, taken: Taken) -> Taken:
        records = sum(len(parcel.batch.records) for parcel in taken.parcels)
        records += sum(row.records for row in taken.damaged)
        self._readers[name].note_taken(taken.first, taken.last, records)
        return taken

    def take(self, name: str, batches: int, unpacker: Unpacker) -> Taken:
        """Give a sink what it needs next, in order. Raises sqlite3.Error."""
        with self._rows:
            while True:
                taken, removals = self._take(name, batches, unpacker)
                with self._lock:
                    if removals == self._removals:  # or some of it is counted as gone by now
                        return self._hand(name, taken)

    def _take(self, name: str, batches: int, unpacker: Unpacker) -> tuple[Taken, int]:
        """Look what a sink needs next; return, too, how often anything had been removed by then."""
        with self._lock:
            removals = self._removals
            at = self._positions[name]
            first = at.low + 1
            ending = min(self._visible() + 1, at.gap_after(at.low) or self._next)
            if first >= self._begin():
                parcels = self._memory.parcels(at.low, ending, batches)
                last = parcels[-1].number if len(parcels) == batches else ending - 1
                return Taken(tuple(parcels), first, last), removals
            ending = min(ending, self._begin())
            waiting = self._memory.rows(at.low, ending)
            journal = self._journal
        rows = self._read(journal, at.low, waiting[0][0] if waiting else ending, batches) if journal is not None else []
        rows = [*rows, *waiting][:batches]
        return unpacked(rows, unpacker, first, rows[-1][0] if len(rows) == batches else ending - 1), removals

    def _read(self, journal: Journal, after: int, before: int, batches: int) -> list[tuple[int, int, bytes]]:
        try:
            return journal.read(after, before, batches)
        except sqlite3.Error as error:
            if is_damage(error):
                with self._lock:
                    self._unreadable = (journal, error)
                    self._incoming.notify()
            raise

    def look_back(self, stream: Stream, number: int) -> Iterable[bytes]:
        """Give a stream's rows before a number, the newest first, as far as it is worth looking."""
        journal = self._journal
        if journal is None:
            return
        yield from journal.before(stream, number, 1)
        yield from journal.before(stream, number, LOOK_BACK_ROWS)[1:]

    # For whoever looks on.

    def figures(self) -> Figures:
        """Say how the journal is."""
        return Figures(self._trimmer.bytes, self._commit_s, self._failed, self._lost, self._failing, self._committed)

    def lag(self, name: str) -> Lag:
        """Say how far a sink is behind; nothing of one that has ended."""
        with self._lock:
            at = self._positions.get(name)
            journal = self._journal
            waiting = 0 if at is None else self._visible() - at.low - sum(last - first + 1 for first, last in at.spans)
        if at is None or journal is None or waiting <= 0:
            return Lag(max(0, waiting), 0.0, 0)
        try:
            return Lag(waiting, self._trimmer.age_of(journal, at.low), journal.bytes_after(at.low))
        except sqlite3.Error:
            return Lag(waiting, 0.0, 0)

    @property
    def journal(self) -> Journal | None:
        """The journal itself, None while it cannot be opened; for what is read at the start."""
        return self._journal

    # The thread.

    def _run(self) -> None:
        while True:
            with self._lock:
                self._incoming.wait_for(self._has_work, self._idle_s())
                stopping = self._stopping
                unreadable, self._unreadable = self._unreadable, None
            if unreadable is not None and unreadable[0] is self._journal:
                self._begin_anew(unreadable[1])
            self._pack_all()
            while self._commit_some() and (self._has_work() or self._memory.packed):
                self._pack_all()
            if stopping:
                break
            if time.monotonic() >= self._trim_due:
                self._trim()
        if self._journal is not None:
            self._journal.close()

    def _has_work(self) -> bool:
        return self._stopping or bool(self._memory.incoming) or self._unreadable is not None

    def _idle_s(self) -> float:
        if self._failing is not None:
            return RETRY_S
        due = min(self._trim_due, self._flush_due) if self._dirty else self._trim_due
        return max(0.0, due - time.monotonic())

    def _pack_all(self) -> None:
        """Pack what has come; what cannot be packed is said and lost."""
        while True:
            with self._lock:
                if not self._memory.incoming:
                    return
                parcel = self._memory.incoming[0]
            entry = None
            try:
                entry = packed(parcel)
            except Exception as error:  # noqa: BLE001 - whatever is in it, the next batch must not wait for it
                stream = "/".join(parcel.batch.stream)
                self._log.error("batch_unwritable", stream=stream, error=repr(error), exc_info=error)
            with self._lock:
                if self._memory.note_packed(parcel, entry) and entry is None:
                    records = len(parcel.batch.records)
                    self._lost += records
                    self._note_removed([Removed(parcel.number, records)], Why.DAMAGED)

    def _commit_some(self, *, anew: bool = False) -> bool:
        """Commit some batches, and positions with them or if they have waited long enough; return whether it worked."""
        now = time.monotonic()
        with self._lock:
            entries = [entry for entry, _ in zip(self._memory.packed, range(COMMIT_BATCHES_MAX), strict=False)]
            is_due = bool(self._dirty) and (self._stopping or now >= self._flush_due or self._failing is not None)
            if not entries and not is_due:
                return False
            positions = {name: self._positions[name] for name in self._dirty if name in self._positions}
            self._committing_since = now
            self._memory.committing = len(entries)
        try:
            self._append(entries, positions)
        except (sqlite3.Error, OSError, DamagedError) as error:
            if not anew and self._begin_anew(error):
                return self._commit_some(anew=True)
            self._note_failing(error)
            return False
        finally:
            self._committing_since = None
            self._memory.committing = 0
        with self._lock:
            self._commit_s = time.monotonic() - now
            self._flush_due = now + FLUSH_EVERY_S
            self._note_committed(entries, positions)
        return True

    def _append(self, entries: Sequence[Entry], positions: dict[str, Position]) -> None:
        """Store *entries* and *positions*, on a full disk too. Raises sqlite3.Error or OSError if nothing helps."""
        journal = self._journal
        if journal is None:
            journal = Journal(self._path)
            self._adopt(journal)
            positions = self._positions.copy()
        if not journal.is_in_place():
            raise sqlite3.DatabaseError("it was removed while it was in use")
        try:
            journal.append(entries, positions)
        except sqlite3.Error as error:
            if not is_full(error):
                raise
            self._trimmer.make_room(journal, self._low())
            journal.append(entries, positions)

    def _begin_anew(self, error: Exception) -> bool:
        """Set the journal aside if it is damaged, and count what only it had. Return whether there is a new one."""
        journal = self._journal
        if journal is None or not isinstance(error, sqlite3.Error) or not is_damage(error):
            return False
        with self._rows, self._lock:
            self._journal = None
            self._committed = self._memory.restore(self._committed, packed)
            self._dirty = set(self._positions)
            for name, reader in self._readers.items():
                left = self._memory.records_for(self._positions[name], reader.in_flight)
                reader.note_left(left, Why.DAMAGED)
        journal.close()
        try:
            aside = set_aside(self._path)
            self._log.error(
                "journal_damaged", path=str(self._path), error=str(error), hint=f"set aside as {aside.name}"
            )
            fresh = Journal(self._path)
        except (sqlite3.Error, OSError, DamagedError):
            return False
        with self._lock:
            self._journal = fresh
            self._trimmer.begin(self._next)
        return True

    def _note_committed(self, entries: Sequence[Entry], positions: dict[str, Position]) -> None:
        self._dirty -= {name for name, at in positions.items() if self._positions.get(name) is at}
        if entries:
            self._committed = entries[-1].number
            self._memory.note_committed(self._committed)
            self._trimmer.note(self._committed)
        if self._failing is not None:
            self._log.warning("journal_written_again", after=self._failing, lost=self._lost)
            self._failing = None
        self._ready.notify_all()

    def _note_failing(self, error: Exception) -> None:
        """Say once per outage that the journal cannot be written; couriers go on without it."""
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        with self._lock:
            self._failed += 1
            begins = self._failing is None
            self._failing = reason
            self._ready.notify_all()
        say = self._log.error if begins else self._log.debug
        say(
            "journal_not_written",
            path=str(self._path),
            error=reason,
            hint="sinks still get what is collected; a crash would lose what they have not stored",
        )

    def _low(self) -> int:
        """Every sink has what is not beyond this."""
        with self._lock:
            return min((at.low for at in self._positions.values()), default=self._committed)

    def _trim(self) -> None:
        journal = self._journal
        self._trim_due = time.monotonic() + TRIM_EVERY_S
        if journal is None:
            return
        try:
            with self._rows:
                verdict = self._trimmer.trim(journal, self._committed, self._low())
                with self._lock:
                    for why, gone in verdict.dropped:
                        self._memory.forget(gone[-1].number)
                        self._note_removed(gone, why)
            if self._failing is None:
                journal.keep_reserve()
        except (sqlite3.Error, OSError) as error:
            self._log.debug("journal_not_trimmed", error=str(error))
            return
        if verdict.numbers:
            self._trim_due = time.monotonic()  # there may be more

    def _note_removed(self, rows: Sequence[Removed], why: Why) -> None:
        """Count for every sink what it never gets: what it has neither done nor in its hands."""
        if not rows:
            return
        self._removals += 1
        for name, reader in self._readers.items():
            at, (first, last) = self._positions[name], reader.in_flight
            missed = [row.records for row in rows if not at.has(row.number) and not first <= row.number <= last]
            if missed:
                reader.note_dropped(sum(missed), why)
