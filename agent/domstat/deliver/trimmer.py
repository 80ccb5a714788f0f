"""Keeping the journal within its bounds, a short step at a time."""

from __future__ import annotations

import sqlite3
import time

from domstat import clock
from domstat.deliver import bounds
from domstat.deliver.ages import Ages
from domstat.deliver.bounds import Limits, Row, Verdict
from domstat.deliver.journal import TRIM_ROWS, Journal

TRIM_EVERY_S = 10.0
"""How often it is looked whether rows are to go."""

FORGET_DEVICES_EVERY_S = 3600.0
DEVICES_KEPT_MS = 7 * 86_400_000
"""What a guest's devices were is said once an hour: who was not heard of for a week has gone."""

SHRINK_BYTES_MIN = 16 << 20
"""Free pages within the file beyond this are given back to the disk."""


class Trimmer:
    """Removes rows. Used by the spool's thread alone, but for *bytes* and :meth:`forget`."""

    def __init__(self, limits: Limits) -> None:
        self.bytes = 0
        """What the journal takes, as of the last look."""
        self.limits = limits
        self._ages = Ages(1, 0.0, 0)
        self._devices_due = 0.0
        self._forgotten: set[str] = set()

    def begin(self, journal: Journal, number: int) -> None:
        """Begin with a journal that was opened; *number* is the next to be given. Raises sqlite3.Error."""
        self.bytes = journal.bytes_used()
        now_s = time.monotonic()
        self._ages = Ages(number, now_s, clock.now().time_ms)
        self._devices_due = now_s + FORGET_DEVICES_EVERY_S

    def note(self, number: int) -> None:
        """Note that rows up to *number* have just come."""
        self._ages.note(number, time.monotonic())

    def forget(self, sink: str) -> None:
        """Have a sink's position removed with the next step."""
        self._forgotten.add(sink)

    def age_of(self, journal: Journal, low: int) -> float:
        """Return how old the oldest row beyond a number is, in seconds; 0 if there is none. Raises sqlite3.Error."""
        rows = journal.rows(low, 1 << 62, 1)
        return self._ages.age_s(rows[0][0], rows[0][1], time.monotonic()) if rows else 0.0

    def lag(self, journal: Journal, low: int) -> tuple[float, int]:
        """Return how old what comes after a number is, in seconds, and its bytes; 0 where that cannot be told."""
        try:
            return self.age_of(journal, low), journal.bytes_after(low)
        except sqlite3.Error:
            return 0.0, 0

    def trim(self, journal: Journal, committed: int, low: int) -> Verdict:
        """Remove what is to go, as far as one step goes. Raises sqlite3.Error."""
        now_s = time.monotonic()
        while self._forgotten:
            journal.forget(self._forgotten.pop())
        self.bytes = journal.bytes_used()
        excess = self.bytes - self.limits.bytes
        rows = [
            Row(number, records, self._ages.age_s(number, time_ms, now_s), is_newest)
            for number, time_ms, records, is_newest in journal.rows(0, committed, TRIM_ROWS)
        ]
        waiting_age_s = self.age_of(journal, low)
        sizes = journal.sizes([row.number for row in rows]) if excess > 0 else {}
        verdict = bounds.judge(rows, low, waiting_age_s, self.limits, excess, lambda number: sizes.get(number, 0))
        if now_s >= self._devices_due:
            self._devices_due = now_s + FORGET_DEVICES_EVERY_S
            journal.forget_devices(clock.now().time_ms - DEVICES_KEPT_MS)
        if journal.bytes_free() > SHRINK_BYTES_MIN:
            journal.shrink()
        if verdict.numbers:  # last: whatever is removed has to be counted
            journal.remove(verdict.numbers)
            self._ages.forget(verdict.numbers[-1])
        return verdict

    @staticmethod
    def make_room(journal: Journal, low: int) -> None:
        """Make room within the file on a disk that is full: by the reserve, and by rows that every sink has."""
        if journal.is_tight and journal.keep_reserve():
            return  # somebody has made room
        journal.give_up_reserve()
        journal.remove(number for number, _, _, is_newest in journal.rows(0, low, TRIM_ROWS) if not is_newest)
