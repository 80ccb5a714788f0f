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

from domstat.deliver.bounds import Limits, Why
from domstat.deliver.codec import Stream, Unpacker
from domstat.deliver.files import is_damage
from domstat.deliver.journal import DamagedError, Entry, Journal, Removed
from domstat.deliver.keeper import Keeper
from domstat.deliver.memory import Memory, Parcel
from domstat.deliver.parcels import Figures, Lag, Reader, Taken, packed, unpacked
from domstat.deliver.position import Position
from domstat.deliver.roll import Roll
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

UNOPENED_SHIFT = 20
"""Numbers given before the journal could be opened for the first time begin at the time in seconds, so far to the left:
beyond all that it may have."""


class Spool:
    """Takes batches from ticks, keeps them in the journal, gives them to couriers."""

    def __init__(self, path: Path, limits: Limits, log: Any) -> None:
        self._log = log
        self._lock = threading.RLock()
        self._rows = threading.Lock()
        """Held from reading rows to their being in somebody's hands, and from removing rows to their being counted."""
        self._incoming = threading.Condition(self._lock)
        """Something is to be committed."""
        self._ready = threading.Condition(self._lock)
        """Something is there for couriers."""
        self._keeper = Keeper(path, log)
        self._trimmer = Trimmer(limits)
        self._memory = Memory()
        self._roll = Roll()
        self._gives_again = False
        """Whether a position was damaged: whoever has none may be the one, and gets all that there is again."""
        self._unreadable: tuple[Journal, sqlite3.Error] | None = None
        """A journal that a courier has found to be damaged."""
        self._next = int(time.time()) << UNOPENED_SHIFT
        self._committed = self._next - 1
        self._committing_since: float | None = None
        self.busy_since: float | None = None
        """Since when the journal's thread is at one piece of work, by the monotonic clock; None while it waits."""
        self.commits = 0
        """Commits since the start that had batches in them."""
        self._stopping = False
        self._commit_s = 0.0
        self._lost = 0
        self._trim_due = self._flush_due = 0.0
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    # From start to stop.

    def open(self) -> None:
        """Open the journal, before all else; one that cannot be opened is tried again while the agent runs."""
        journal = self._keeper.open()
        if journal is None:
            return
        try:
            self._next = journal.newest() + 1
            self._committed = self._next - 1
            self._adopt(journal)
        except sqlite3.Error as error:
            journal.close()
            self._keeper.journal = None
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

    def _adopt(self, journal: Journal) -> None:
        """Go on with a journal that was opened; whoever has come in meanwhile has done what came meanwhile."""
        with self._lock:
            self._keeper.journal = journal
            self._trimmer.begin(journal, self._next)
            positions = journal.positions()
            if journal.damaged:
                self._gives_again = True
                self._log.error("position_damaged", positions=len(journal.damaged), hint="all is given to it again")
                journal.forget_damaged()
            self._roll.adopt(positions, self._committed + 1)
            for name, reader in self._roll.readers.items():
                reader.note_received(journal.waiting(self.position(name), self._committed))

    # For ticks.

    def offer(self, batch: Batch) -> None:
        """Take a batch; never waits."""
        with self._lock:
            parcel = Parcel(self._next, batch)
            self._next += 1
            self._roll.note_received(len(batch.records))
            lost = self._memory.add(parcel)
            self._lost += sum(row.records for row in lost)
            self._roll.note_removed(lost, Why.MEMORY)
            self._incoming.notify()
            if self._visible() > self._committed:
                self._ready.notify_all()

    # For couriers.

    def set_limits(self, limits: Limits) -> None:
        """Keep the journal within other bounds, from the next trimming on."""
        self._trimmer.limits = limits

    def enlist(self, reader: Reader, *, oldest: bool) -> None:
        """Have a sink come in, and tell it how many records wait for it.

        A sink that was never here begins with what comes now or, with *oldest*, with all that the journal has.
        """
        with self._lock:
            is_early = (oldest or self._gives_again) and self._keeper.journal is not None
            first = self._keeper.journal.oldest() if is_early and self._keeper.journal is not None else None
            self._roll.enlist(reader, Position((self._next if first is None else first) - 1))
            at = self.position(reader.name)
            stored = self._keeper.journal.waiting(at, self._committed) if self._keeper.journal is not None else 0
            reader.note_received(stored + self._memory.uncommitted_records(at))

    def strangers(self) -> dict[str, int]:
        """Return the sinks that have a position and are not here, and how many records are kept for each."""
        with self._lock:
            committed, found = self._committed, {name: self.position(name) for name in self._roll.strangers}
        return self._keeper.waiting(found, committed)  # without the lock: a disk that hangs must not hold up a tick

    def position(self, name: str) -> Position:
        """Return how far a sink has come."""
        return self._roll.positions[name]

    def leave(self, reader: Reader) -> None:
        """Have a sink go, for now: its position stays, and what comes is kept for it."""
        with self._lock:
            self._roll.leave(reader)

    def done(self, name: str, first: int, last: int, by: Reader | None = None) -> None:
        """Note, to be stored, that a sink has the numbers from *first* to *last*; *by* has no say if it has left."""
        with self._lock:
            if by is None or self._roll.readers.get(name) is by:
                self._roll.done(name, first, last)

    def dismiss(self, name: str) -> None:
        """Have nothing kept any more for a sink that has ended for good; what still comes is not for it."""
        with self._lock:
            if self._roll.dismiss(name):
                self._trimmer.forget(name)

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
        return self.position(name).low < self._visible()

    def expects(self, name: str) -> bool:
        """Whether there is, or will be with the next commit, anything for a sink; it has to hold the lock or wait."""
        return self.position(name).low < self._next - 1

    def waits_for(self, name: str) -> int:
        """Return about how many batches there are for a sink; it has to hold the lock or wait."""
        return self._visible() - self.position(name).low

    def is_behind(self, name: str) -> bool:
        """Whether what a sink needs next is not in memory any more."""
        with self._lock:
            return self.position(name).low + 1 < self._begin()

    def _visible(self) -> int:
        """Return the last number that couriers may have."""
        since = self._committing_since
        is_stalled = since is not None and time.monotonic() - since > STALL_S
        return self._next - 1 if self._keeper.failing is not None or is_stalled else self._committed

    def _begin(self) -> int:
        begin = self._memory.begin
        return self._next if begin is None else begin

    def fresh(self, name: str, batches: int) -> Taken | None:
        """Give the newest batches to a sink that is behind and takes them in any order; None if there is none."""
        with self._lock:
            at = self.position(name)
            begin = self._begin()
            if at.low + 1 >= begin or at.is_full:
                return None
            parcels = self._memory.parcels(max(at.high, begin - 1), self._visible() + 1, batches)
            return self._hand(name, Taken(tuple(parcels), parcels[0].number, parcels[-1].number)) if parcels else None

    def _hand(self, name: str, taken: Taken) -> Taken:
        self._roll.readers[name].note_taken(taken.first, taken.last, taken.records)
        return taken

    def take(self, name: str, batches: int, unpacker: Unpacker) -> Taken:
        """Give a sink what it needs next, in order. Raises sqlite3.Error."""
        with self._rows:
            while True:
                taken, removals = self._take(name, batches, unpacker)
                with self._lock:
                    if removals == self._roll.removals:  # or some of it is counted as gone by now
                        return self._hand(name, taken)
                unpacker.forget()  # what it has just seen comes again

    def _take(self, name: str, batches: int, unpacker: Unpacker) -> tuple[Taken, int]:
        """Look what a sink needs next; return, too, how often anything had been removed by then."""
        with self._lock:
            removals = self._roll.removals
            at = self.position(name)
            first = at.low + 1
            ending = min(self._visible() + 1, at.gap_after(at.low) or self._next)
            if first >= self._begin():
                parcels = self._memory.parcels(at.low, ending, batches)
                last = parcels[-1].number if len(parcels) == batches else ending - 1
                return Taken(tuple(parcels), first, last), removals
            ending = min(ending, self._begin())
            waiting = self._memory.rows(at.low, ending)
            journal = self._keeper.journal
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
        return self._keeper.look_back(stream, number)

    # For whoever looks on.

    def figures(self) -> Figures:
        """Say how the journal is."""
        return Figures(
            self._trimmer.bytes, self._commit_s, self._keeper.failed, self._lost, self._keeper.failing, self._committed
        )

    def lag(self, name: str) -> Lag:
        """Say how far a sink is behind; nothing of one that has ended."""
        with self._lock:
            at = self._roll.positions.get(name)
            journal = self._keeper.journal
            waiting = 0 if at is None else self._visible() - at.low - sum(last - first + 1 for first, last in at.spans)
        if at is None or journal is None or waiting <= 0:
            return Lag(max(0, waiting), 0.0, 0)
        return Lag(waiting, *self._trimmer.lag(journal, at.low))

    @property
    def journal(self) -> Journal | None:
        """The journal itself, None while it cannot be opened; for what is read at the start."""
        return self._keeper.journal

    # The thread.

    def _run(self) -> None:
        while True:
            with self._lock:
                self.busy_since = None
                self._incoming.wait_for(self._has_work, self._idle_s())
                self.busy_since = time.monotonic()
                stopping = self._stopping
                unreadable, self._unreadable = self._unreadable, None
            if unreadable is not None and unreadable[0] is self._keeper.journal:
                self._begin_anew(unreadable[1])
            self._pack_all()
            while self._commit_some() and (self._has_work() or self._memory.packed):
                self.busy_since = time.monotonic()
                self._pack_all()
            if stopping:
                break
            if time.monotonic() >= self._trim_due:
                self._trim()
        if self._keeper.journal is not None:
            self._keeper.journal.close()

    def _has_work(self) -> bool:
        return self._stopping or bool(self._memory.incoming) or self._unreadable is not None

    def _idle_s(self) -> float:
        if self._keeper.failing is not None:
            return RETRY_S
        due = min(self._trim_due, self._flush_due) if self._roll.is_dirty else self._trim_due
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
                    self._roll.note_removed([Removed(parcel.number, records)], Why.DAMAGED)

    def _commit_some(self, *, anew: bool = False) -> bool:
        """Commit some batches, and positions with them or if they have waited long enough; return whether it worked."""
        now = time.monotonic()
        with self._lock:
            entries = [entry for entry, _ in zip(self._memory.packed, range(COMMIT_BATCHES_MAX), strict=False)]
            is_late = self._stopping or now >= self._flush_due or self._keeper.failing is not None
            if not entries and not (self._roll.is_dirty and is_late):
                return False
            positions = self._roll.to_store()
            self._committing_since = now
            self._memory.committing = len(entries)
        error = self._append(entries, positions)
        is_anew = error is not None and not anew and self._begin_anew(error)
        with self._lock:  # in one step, or what is in the file by now might be dropped as what it never took
            self._committing_since = None
            self._memory.committing = 0
            if error is None:
                self._commit_s = time.monotonic() - now
                self._flush_due = now + FLUSH_EVERY_S
                self._note_committed(entries, positions)
                return True
        if is_anew:
            return self._commit_some(anew=True)
        self._note_failing(error)
        return False

    def _append(self, entries: Sequence[Entry], positions: dict[str, Position]) -> Exception | None:
        """Store *entries* and *positions*, by whatever it takes; return why that did not work, None if it did."""
        try:
            journal = self._keeper.journal
            if journal is None:
                journal = self._keeper.open_again()
                self._adopt(journal)
                positions = self._roll.to_store()
            self._keeper.append(journal, entries, positions, self._trimmer, self._low())
        except (sqlite3.Error, OSError, DamagedError) as error:
            return error
        return None

    def _begin_anew(self, error: Exception) -> bool:
        """Set the journal aside if it is damaged, and count what only it had. Return whether there is a new one."""
        journal = self._keeper.journal
        if journal is None or not self._keeper.is_of_damage(error):
            return False
        with self._rows, self._lock:
            self._keeper.journal = None
            self._committed = self._memory.restore(self._committed)
            self._roll.store_all()
            self._roll.note_only(self._memory, Why.DAMAGED)
        fresh = self._keeper.set_aside(journal, error)
        if fresh is None:
            return False
        with self._lock:
            self._keeper.journal = fresh
            self._trimmer.begin(fresh, self._next)
        return True

    def _note_committed(self, entries: Sequence[Entry], positions: dict[str, Position]) -> None:
        self._roll.note_stored(positions)
        if entries:
            self.commits += 1
            committed = self._committed = entries[-1].number
            self._memory.note_committed(committed)
            self._memory.release(self._roll.low_here(committed))
            self._memory.forget(min(committed, self._roll.low(committed)))
            self._trimmer.note(committed)
        self._keeper.note_written(self._lost)
        self._ready.notify_all()

    def _note_failing(self, error: Exception) -> None:
        """Have couriers go on without the journal."""
        with self._lock:
            self._keeper.note_failing(error)
            self._ready.notify_all()

    def _low(self) -> int:
        """Every sink has what is not beyond this."""
        with self._lock:
            return self._roll.low(self._committed)

    def _trim(self) -> None:
        journal = self._keeper.journal
        self._trim_due = time.monotonic() + TRIM_EVERY_S
        if journal is None:
            return
        try:
            with self._rows:
                verdict = self._trimmer.trim(journal, self._committed, self._low())
                with self._lock:
                    for why, gone in verdict.dropped:
                        self._memory.forget(gone[-1].number)
                        self._roll.note_removed(gone, why)
            if self._keeper.failing is None:
                journal.keep_reserve()
        except (sqlite3.Error, OSError) as error:
            self._log.debug("journal_not_trimmed", error=str(error))
            return
        if verdict.numbers:
            self._trim_due = time.monotonic()  # there may be more
