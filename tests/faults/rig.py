"""A spool and its couriers, driven step by step in one thread: what their threads would do, in any order one likes.

Couriers and the spool are the real ones. Only their threads are not started: the same methods are called, from here.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from msgspec import Struct

from domstat.deliver.bounds import Limits
from domstat.deliver.courier import Courier, Outlet
from domstat.deliver.journal import FILE
from domstat.deliver.spool import Spool
from domstat.model import Batch
from domstat.sink import Fatal, Reject, Retry, SinkContext
from heard import Log
from records import batch, gap_record

LIMITS = Limits(64 << 10, 86_400.0, 0.0)
"""Some dozens of batches as they are here; and what every sink has is not kept."""

TEXT_BYTES = 1600
"""In a record."""

BATCHES = 3
"""A write has no more of them."""


def made(tag: int, records: int, text_bytes: int = TEXT_BYTES) -> Batch:
    """Make a batch that is of the time *tag*, with so many records, each with so much text."""
    # Text that does not deflate to nothing, so that not too many batches fill the journal.
    texts = [hashlib.shake_128(f"{tag} {i}".encode()).hexdigest(text_bytes // 2) for i in range(records)]
    return batch(*[gap_record(str(i), time_ms=tag, params={"text": text}) for i, text in enumerate(texts)], time_ms=tag)


class CrashedError(BaseException):
    """The process dies, here and now."""


class Taker:
    """A sink that does what it is told with the next writes, and then what it should; it outlives the spools."""

    Settings: ClassVar[type[Struct]] = Struct

    def __init__(self, *, any_order: bool, offered: dict[int, Batch]) -> None:
        self.any_order = any_order
        self.plan: list[str] = []
        self.stored: list[int] = []
        """The tags of what was stored, in order, and of what was stored again."""
        self._offered = offered
        self._poison: tuple[int, str] | None = None

    def open(self, context: SinkContext) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def write(self, batches: Sequence[Batch]) -> None:
        """Do as the plan says."""
        for one in batches:
            whole = self._offered[one.stamp.time_ms]
            assert set(map(repr, one.records)) <= set(map(repr, whole.records)), "it is what was collected"
        step = self.plan.pop(0) if self.plan else "store"
        if step == "poison":
            long = [one for one in batches if len(one.records) > 1]
            self._poison = (long[0].stamp.time_ms, repr(long[0].records[0])) if long else None
        if self._has_poison(batches):
            raise ValueError("a fault that one record brings about")
        getattr(self, f"_{step}", self._store)(batches)

    def _has_poison(self, batches: Sequence[Batch]) -> bool:
        return self._poison is not None and any(
            (one.stamp.time_ms, repr(record)) == self._poison for one in batches for record in one.records
        )

    def _store(self, batches: Sequence[Batch]) -> None:
        self.stored += [one.stamp.time_ms for one in batches]

    def _retry(self, _batches: Sequence[Batch]) -> NoReturn:
        raise Retry("busy")

    def _fail(self, _batches: Sequence[Batch]) -> NoReturn:
        raise RuntimeError("a fault")

    def _stop(self, _batches: Sequence[Batch]) -> NoReturn:
        raise Fatal("no retry helps")

    def _reject(self, batches: Sequence[Batch]) -> NoReturn:
        self._store(batches)
        raise Reject([(batches[0], batches[0].records[0], "not this one")])

    def _crash(self, batches: Sequence[Batch]) -> NoReturn:
        self._store(batches)
        raise CrashedError


class Rig:
    """A spool with its couriers, and the sinks that they carry to; the journal may be closed and opened again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = Log()
        self.sinks: dict[str, Taker] = {}
        self.offered: dict[int, Batch] = {}
        """What was collected, by tag."""
        self.couriers: dict[str, Courier] = {}
        self.tags: dict[int, int] = {}
        """The tags of what this spool or its journal has, by number."""
        self.is_disk_dead = False
        self._lives = 0

    def begin(self, sinks: dict[str, bool], oldest: Sequence[str]) -> None:
        """Open the journal, with these sinks (by name, whether it takes any order)."""
        self.spool = Spool(self.folder / FILE, LIMITS, self.log)
        self.spool.open()
        assert self.spool.journal is not None
        numbers = self._numbers()
        assert self.spool._next > max(numbers, default=0), "no number is given twice"
        self.tags = {number: self.tags[number] for number in numbers}
        self.couriers = {}
        for name, any_order in sinks.items():
            sink = self.sinks.setdefault(name, Taker(any_order=any_order, offered=self.offered))
            sink.any_order, sink.plan, sink._poison = any_order, [], None
            outlet = Outlet(name, lambda sink=sink: sink, oldest=name in oldest, batches=BATCHES)  # type: ignore[misc]
            courier = self.couriers[name] = Courier(outlet, self.spool, self.folder, self.log)
            self.spool.enlist(courier, oldest=name in oldest)
            courier._open()

    def _numbers(self) -> list[int]:
        assert self.spool.journal is not None
        return [number for number, _, _ in self.spool.journal.read(0, None, 1 << 20)]

    def in_journal(self) -> set[int]:
        """Return the tags of what is in the journal."""
        return {self.tags[number] for number in self._numbers()}

    def in_memory(self) -> set[int]:
        """Return the tags of what waits for the journal."""
        memory = self.spool._memory
        return {self.tags[one.number] for queue in (memory.packed, memory.incoming) for one in queue}

    def offer(self, tag: int, records: int) -> None:
        """Collect something."""
        self.offered[tag] = made(tag, records)
        self.tags[self.spool._next] = tag
        self.spool.offer(self.offered[tag])

    def commit(self, *, flush: bool = False) -> bool:
        """Have the spool's thread pack and commit what there is; return whether it did."""
        if flush:
            self.spool._flush_due = 0.0
        self.spool._pack_all()
        return self.spool._commit_some()

    def trim(self) -> None:
        """Have the spool's thread trim the journal."""
        self.spool._trim()

    def kill_disk(self) -> None:
        """Have nothing written from now on."""

        def fail(*_arguments: object) -> NoReturn:
            raise sqlite3.OperationalError("disk I/O error")

        journal: Any = self.spool.journal
        journal.append = journal.remove = fail
        self.is_disk_dead = True

    def mend_disk(self) -> None:
        """Have it written again."""
        journal: Any = self.spool.journal
        if self.is_disk_dead:
            del journal.append, journal.remove
        self.is_disk_dead = False

    def has_done(self, name: str) -> set[int]:
        """Return the tags of what a sink has done, as its position has it."""
        at = self.spool.position(name)
        return {tag for number, tag in self.tags.items() if at.has(number)}

    def deliver(self, name: str) -> None:
        """Have a courier carry once, if there is anything. Raises CrashedError or Fatal, if its sink does."""
        courier = self.couriers[name]
        with self.spool._lock:
            if not self.spool.has_for(name):
                return
        taken = courier._take()
        assert taken is not None
        assert courier._deliver(taken)

    def stop(self) -> None:
        """Stop in good order."""
        self.spool._stopping = True
        self.spool._run()

    def crash(self, *, copied: bool) -> None:
        """Have the process die: the journal has what is on the disk; *copied*: as it lies there, WAL and all."""
        assert self.spool.journal is not None
        self.mend_disk()
        if copied:
            self._lives += 1
            copy = self.folder / f"life-{self._lives}"
            copy.mkdir()
            for ending in ("", "-wal"):
                shutil.copy(self.folder / f"{FILE}{ending}", copy / f"{FILE}{ending}")
        self.spool.journal.close()
        if copied:
            for ending in ("", "-wal"):
                shutil.move(copy / f"{FILE}{ending}", self.folder / f"{FILE}{ending}")
            copy.rmdir()

    def close(self) -> None:
        """Let go of everything."""
        journal = getattr(self, "spool", None) and self.spool.journal
        if journal is not None:
            journal.close()
