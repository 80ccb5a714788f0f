"""The numbers of head rows: they tell the order of ticks, whatever their clocks said, and none is given twice."""

from __future__ import annotations

import sqlite3


class HeadIds:
    """Gives numbers, on the writing connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._next = 0

    def take(self) -> int:
        """Return a number that no tick ever had, sealed or not. Raises sqlite3.Error."""
        number = self._next or self._first_free()
        self._next = number + 1
        return number

    def forget(self) -> None:
        """Ask the file again: a transaction that was rolled back took its numbers with it."""
        self._next = 0

    def _first_free(self) -> int:
        (last,) = self._connection.execute(
            "SELECT max((SELECT ifnull(max(id), 0) FROM head), (SELECT ifnull(max(last_id), 0) FROM segment),"
            " (SELECT ifnull(max(sealed), 0) FROM stream))"
        ).fetchone()
        return int(last) + 1
