"""Guests by number, and when each was seen: whose the key figures are. The host has a number too, without a uuid."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from domstat_sinks.sqlite.heads.layout import Entry
from domstat_sinks.sqlite.packed.directory import Directory
from domstat_sinks.sqlite.rollups.keyfigures import KINDS

REMEMBERED_MAX = 65_536
"""Numbers remembered; beyond that all are looked up again."""


class Guests:
    """Numbers guests, on the writing connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._numbers: dict[tuple[str, str], int] = {}

    def forget(self) -> None:
        """Drop what is remembered: guests have been removed, or were never stored."""
        self._numbers.clear()

    def numbers(self, host: str, entries: Iterable[Entry]) -> dict[Entry, int]:
        """Return the numbers of those of *entries* that have one. Raises sqlite3.Error."""
        return {entry: self._number(host, entry.uuid or "") for entry in entries if entry.kind in KINDS}

    def seen(self, host: str, directory: Directory) -> None:
        """Take note of a segment's own ticks. Raises sqlite3.Error."""
        found: dict[int, tuple[int, int, str | None]] = {}
        for number, layout in enumerate(directory.layouts):
            times_ms = directory.time_ms[(directory.layout_of == number) & (directory.lead == 0)]
            if not len(times_ms):
                continue
            first_ms, last_ms = int(times_ms.min()), int(times_ms.max())
            for member_number, _, name in layout.tolist():
                member = directory.members[member_number]
                if member.kind in KINDS:
                    guest = self._number(host, member.uuid or "")
                    before = found.get(guest, (first_ms, -1, None))
                    newest = directory.names[name] if last_ms >= before[1] else before[2]
                    found[guest] = (min(before[0], first_ms), max(before[1], last_ms), newest)
        self._connection.executemany(
            "UPDATE guest SET first_ms = min(first_ms, ?1), domain = iif(?2 >= last_ms, ?3, domain),"
            " last_ms = max(last_ms, ?2) WHERE id = ?4",
            [(*what, guest) for guest, what in found.items()],
        )

    def _number(self, host: str, uuid: str) -> int:
        number = self._numbers.get((host, uuid))
        if number is None:
            if len(self._numbers) >= REMEMBERED_MAX:
                self._numbers.clear()
            number = self._numbers[host, uuid] = self._find_or_add(host, uuid)
        return number

    def _find_or_add(self, host: str, uuid: str) -> int:
        self._connection.execute(
            "INSERT OR IGNORE INTO guest (host, uuid, first_ms, last_ms) VALUES (?, nullif(?, ''), ?, 0)",
            (host, uuid, 1 << 62),
        )
        find = "SELECT id FROM guest WHERE host = ? AND ifnull(uuid, '') = ?"
        return int(self._connection.execute(find, (host, uuid)).fetchone()[0])
