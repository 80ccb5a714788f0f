"""When what waits becomes an hour's file, and when a day goes.

An hour of a host is made a file of

* when it is over, by the wall clock, and a write has nothing of it: whatever fills it, has gone on;
* when something of it has waited for as long as the settings let readers wait;
* when it has come to very many files.

A crash anywhere leaves the hour's file as it was or whole, and then also files that wait although they are in it: the
next one made of both has every record once.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from domstat.model import Batch
from domstat_sinks.parquet import hours, layout
from domstat_sinks.parquet.layout import Slot
from domstat_sinks.parquet.portions import Faults, portions
from domstat_sinks.parquet.stores import Store
from domstat_sinks.parquet.waiting import DamagedError, Waiting

GRACE_MS = 120_000
"""How long after its end an hour may still be added to: ticks that came late, and clocks that differ."""

SLOT_FILES_MAX = 720
"""Files that wait of an hour of a host before it is made one file early: two hours' ticks at 10 s."""

FILES_MAX = 20_000
"""Files that wait in all, half an hour's of a hundred hosts at 10 s. If they cannot be made fewer, nothing more is
taken: the journal has more room, and says what it drops."""

PUBLISH_S = 5.0
"""How long a write may go on making hours' files, begun ones are finished: ticks wait meanwhile, in the journal."""

PAUSE_S = 60.0
"""How long nothing is made after something failed."""


class Keeper:
    """Stores batches, and makes hours' files of them."""

    def __init__(self, store: Store, every_s: float, retention_s: float, log: Any) -> None:
        """Find what waits. Raises OSError."""
        self._store, self._every_s, self._retention_s, self._log = store, every_s, retention_s, log
        self._waiting = Waiting(store)
        self._not_before_s = -math.inf
        self._expired_on = ""
        self.trouble = ""
        """Why hours' files cannot be made; nothing while they can."""

    def store(self, batches: Sequence[Batch]) -> Faults:
        """Store *batches*, durably, and make hours' files that are due. Raises OSError if all is to be tried again."""
        self._make_room()
        faults, written = Faults(), set[Slot]()
        # Should one of these fail, the others stay: they may have taken the place of what was stored long ago.
        for portion in portions(batches, faults):
            self._waiting.add(portion)
            written.add(portion.slot)
        self._make_due(written)
        self._expire()
        return faults

    def close(self) -> None:
        """Make the files of hours that are over, and let go; never raises."""
        self._make([slot for slot in sorted(self._waiting.slots) if _is_over(slot)], math.inf)
        self._store.close()

    def _make_room(self) -> None:
        """Have fewer files wait if they are very many, whoever fills their hours. Raises OSError if that fails."""
        if len(self._waiting) >= FILES_MAX and time.monotonic() >= self._not_before_s:
            fullest = sorted(self._waiting.slots.items(), key=lambda item: -len(item[1].parts))
            self._make([slot for slot, _ in fullest], PUBLISH_S)
        if len(self._waiting) >= FILES_MAX:
            raise OSError(f"{len(self._waiting)} files wait to become hours' files, and that fails: {self.trouble}")

    def _make_due(self, written: Collection[Slot]) -> None:
        now_s = time.monotonic()
        if now_s < self._not_before_s:
            return
        due = [
            slot
            for slot, waits in sorted(self._waiting.slots.items())
            if (slot not in written and _is_over(slot))
            or now_s - waits.since_s >= self._every_s
            or len(waits.parts) >= SLOT_FILES_MAX
        ]
        self._make(due, PUBLISH_S)

    def _make(self, due: Sequence[Slot], budget_s: float) -> None:
        """Make hours' files until none is due or it takes too long; what fails is tried again later."""
        until_s = time.monotonic() + budget_s
        trouble = ""
        for slot in due:
            if time.monotonic() > until_s:
                break
            trouble = self._try(slot) or trouble
            pa.default_memory_pool().release_unused()  # or a hundred MB stay Arrow's until the next hour's file
        if trouble:
            self._not_before_s = time.monotonic() + PAUSE_S
            if not self.trouble:
                self._log.error("parquet_hours_not_made", error=trouble, hint="what comes is stored, and waits")
        if due:
            self.trouble = trouble

    def _try(self, slot: Slot) -> str:
        """Make an hour's file; return what is in the way."""
        name = layout.hour_file(slot, self._store.writer)
        while slot in self._waiting.slots:
            parts = tuple(self._waiting.slots[slot].parts)
            try:
                hours.make(self._store, name, self._waiting.sources(parts))
                self._waiting.remove(parts)
            except DamagedError as error:
                self._log.error("parquet_rows_damaged", error=str(error), hint="set aside as .damaged; its rows lack")
                try:
                    self._waiting.set_aside(error.name)
                except OSError as fault:
                    return f"{error}, and cannot be set aside: {fault}"
            except (OSError, pa.ArrowException, KeyError, ValueError) as error:
                if isinstance(error, FileNotFoundError):
                    with contextlib.suppress(OSError):
                        self._waiting.look()
                return f"{name} cannot be made: {error}"
        return ""

    def _expire(self) -> None:
        """Remove days that are older than is wanted, once a day; another day will do for what fails."""
        today = datetime.fromtimestamp(time.time(), UTC)
        if math.isinf(self._retention_s) or self._expired_on == f"{today:%F}":
            return
        self._expired_on = f"{today:%F}"
        oldest = (today - timedelta(seconds=self._retention_s)).date()
        with contextlib.suppress(OSError):
            for host in filter(layout.is_host_folder, self._store.folders("")):
                for name in self._store.folders(host):
                    day = layout.day_of(name)
                    if day is not None and day < oldest:
                        self._remove_day(f"{host}/{name}")

    def _remove_day(self, folder: str) -> None:
        ours = [name for name in self._store.names(folder) if layout.is_hour_file(name, self._store.writer)]
        self._store.remove([f"{folder}/{name}" for name in ours])
        self._store.remove_empty(folder)


def _is_over(slot: Slot) -> bool:
    return time.time() * 1000 >= slot.hour_ms + layout.HOUR_MS + GRACE_MS
