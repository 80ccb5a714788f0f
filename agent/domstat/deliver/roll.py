"""Who takes from the journal, and how far each has come. Not locked: the spool's lock is held by whoever calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from domstat.deliver.bounds import Why
from domstat.deliver.journal import Removed
from domstat.deliver.memory import Memory
from domstat.deliver.parcels import Reader
from domstat.deliver.position import Position


class Roll:
    """The sinks that are here, and the positions of all that have one, configured or not."""

    def __init__(self) -> None:
        self.readers: dict[str, Reader] = {}
        self.positions: dict[str, Position] = {}
        self.removals = 0
        """How often anything was removed that some sink may have lacked."""
        self._dirty: set[str] = set()

    @property
    def is_dirty(self) -> bool:
        """Whether there are positions to be stored."""
        return bool(self._dirty)

    @property
    def strangers(self) -> list[str]:
        """Those that have a position and are not here."""
        return sorted(self.positions.keys() - self.readers.keys())

    def low(self, otherwise: int) -> int:
        """Return the number up to which every sink has everything; *otherwise* if there is no sink."""
        return min((at.low for at in self.positions.values()), default=otherwise)

    def low_here(self, at_most: int) -> int:
        """Return the number, *at_most* this, up to which every sink that is here has everything."""
        return min([at_most, *(self.positions[name].low for name in self.readers)])

    def enlist(self, reader: Reader, new: Position) -> None:
        """Take a sink in, at *new* if it has no position."""
        self.readers[reader.name] = reader
        if reader.name not in self.positions:
            self.positions[reader.name] = new
            self._dirty.add(reader.name)

    def leave(self, reader: Reader) -> None:
        """Let a sink go whose position stays; another may have taken its place."""
        if self.readers.get(reader.name) is reader:
            del self.readers[reader.name]

    def adopt(self, stored: Mapping[str, Position], base: int) -> None:
        """Take stored positions in; whoever has come in before them has done what it has from *base* on."""
        for name, was in stored.items():
            at = self.positions.get(name)
            self.positions[name] = was if at is None else was.done(base, at.low)
        self.store_all()

    def done(self, name: str, first: int, last: int) -> None:
        """Note that a sink has what it had in its hands."""
        self.positions[name] = self.positions[name].done(first, last)
        self._dirty.add(name)
        self.readers[name].note_done()

    def dismiss(self, name: str) -> bool:
        """Forget a sink; return whether it had a position."""
        reader = self.readers.pop(name, None)
        self._dirty.discard(name)
        had = self.positions.pop(name, None) is not None
        if reader is not None:
            reader.note_left(0, Why.ENDED)
        return had

    # What is to be stored.

    def store_all(self) -> None:
        """Have every position stored with the next commit: the journal is another one."""
        self._dirty = set(self.positions)

    def to_store(self) -> dict[str, Position]:
        """Return the positions that are not stored yet."""
        return {name: self.positions[name] for name in self._dirty}

    def note_stored(self, stored: Mapping[str, Position]) -> None:
        """Note what was stored; who has moved on meanwhile is stored with the next commit."""
        self._dirty -= {name for name, at in stored.items() if self.positions.get(name) is at}

    # What the sinks are told.

    def note_received(self, records: int) -> None:
        """Have every sink count what has come."""
        for reader in self.readers.values():
            reader.note_received(records)

    def note_removed(self, rows: Sequence[Removed], why: Why) -> None:
        """Have every sink count what it never gets: what it has neither done nor in its hands."""
        if not rows:
            return
        self.removals += 1
        for name, reader in self.readers.items():
            at, (first, last) = self.positions[name], reader.in_flight
            missed = [row.records for row in rows if not at.has(row.number) and not first <= row.number <= last]
            if missed:
                reader.note_dropped(sum(missed), why)

    def note_only(self, memory: Memory, why: Why) -> None:
        """Have every sink count what it never gets, since there is nothing left but what is in *memory*."""
        for name, reader in self.readers.items():
            reader.note_left(memory.records_for(self.positions[name], reader.in_flight), why)
