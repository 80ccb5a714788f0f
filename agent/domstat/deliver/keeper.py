"""The journal however it fares: not to be opened yet, full, damaged, removed. Not locked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from domstat.deliver.codec import Stream
from domstat.deliver.files import is_damage, is_full, set_aside
from domstat.deliver.journal import DamagedError, Entry, Journal
from domstat.deliver.position import Position
from domstat.deliver.trimmer import Trimmer

LOOK_BACK_ROWS = 64
"""Rows searched for the sample before: one will do, unless a guest was missing for a while or a tick came in parts."""


class Keeper:
    """Keeps the journal at *path*, and says once per outage what is wrong with it."""

    def __init__(self, path: Path, log: Any) -> None:
        self.journal: Journal | None = None
        self.failing: str | None = None
        """Why the journal cannot be written, None while it can."""
        self.failed = 0
        """Openings and commits that failed."""
        self._path = path
        self._log = log

    def open(self) -> Journal | None:
        """Open the journal, a fresh one if it is damaged; return None if it cannot be opened now."""
        try:
            try:
                return Journal(self._path)
            except DamagedError as error:
                self._log.error("journal_damaged", path=str(self._path), error=str(error), hint="begun anew")
                return Journal(self._path)
        except (sqlite3.Error, OSError, DamagedError) as error:
            self.note_failing(error)
            return None

    def open_again(self) -> Journal:
        """Open the journal. Raises sqlite3.Error, OSError, or DamagedError: a fresh one may be made then."""
        return Journal(self._path)

    def look_back(self, stream: Stream, number: int) -> Iterable[bytes]:
        """Give a stream's rows before a number, the newest first, as far as it is worth looking."""
        journal = self.journal
        if journal is None:
            return
        yield from journal.before(stream, number, 1)
        yield from journal.before(stream, number, LOOK_BACK_ROWS)[1:]

    def waiting(self, positions: Mapping[str, Position], committed: int) -> dict[str, int]:
        """Return how many records up to *committed* wait for each sink; 0 where that cannot be told."""
        journal = self.journal
        if journal is None or not positions:
            return dict.fromkeys(positions, 0)
        try:
            return {name: journal.waiting(at, committed) for name, at in positions.items()}
        except sqlite3.Error:
            return dict.fromkeys(positions, 0)

    @staticmethod
    def append(
        journal: Journal, entries: Sequence[Entry], positions: Mapping[str, Position], trimmer: Trimmer, low: int
    ) -> None:
        """Store *entries* and *positions*, on a full disk too. Raises sqlite3.Error or OSError if nothing helps.

        Every sink has the rows up to *low*: on a full disk they make room.
        """
        if not journal.is_in_place():
            raise sqlite3.DatabaseError("it was removed while it was in use")
        try:
            journal.append(entries, positions)
        except sqlite3.Error as error:
            if not is_full(error):
                raise
            trimmer.make_room(journal, low)
            journal.append(entries, positions)

    def is_of_damage(self, error: Exception) -> bool:
        """Whether an error says that the journal, which is open, is damaged."""
        return self.journal is not None and isinstance(error, sqlite3.Error) and is_damage(error)

    def set_aside(self, journal: Journal, error: Exception) -> Journal | None:
        """Set a damaged journal aside; return a fresh one, None if there can be none now."""
        journal.close()
        try:
            aside = set_aside(self._path)
            self._log.error(
                "journal_damaged", path=str(self._path), error=str(error), hint=f"set aside as {aside.name}"
            )
            return Journal(self._path)
        except (sqlite3.Error, OSError, DamagedError):
            return None

    def note_failing(self, error: Exception) -> None:
        """Say once per outage that the journal cannot be written; couriers go on without it."""
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        self.failed += 1
        say = self._log.error if self.failing is None else self._log.debug
        self.failing = reason
        say(
            "journal_not_written",
            path=str(self._path),
            error=reason,
            hint="sinks still get what is collected; a crash would lose what they have not stored",
        )

    def note_written(self, lost: int) -> None:
        """Say that it can be written again, and how many records it has missed since the start."""
        if self.failing is not None:
            self._log.warning("journal_written_again", after=self.failing, lost=lost)
            self.failing = None
