"""Pruning: the tables that say what head rows mean stay as small as the head is.

A segment says itself whose values it has. So a layout that no head row has any more is needed by nobody, and a host
whose guests come and go has a new one each time.
"""

from __future__ import annotations

import sqlite3

from msgspec import Struct

LAYOUTS = 16
"""Layouts removed at once, each with a row for each of a host's guests."""

# The newest stays, so that its number is not given again: readers know layouts and shapes by their numbers.
_GONE = (
    "SELECT l.id FROM layout l WHERE l.id < (SELECT max(id) FROM layout)"
    " AND NOT EXISTS (SELECT 1 FROM head h WHERE h.layout = l.id)"
    " AND NOT EXISTS (SELECT 1 FROM damaged d WHERE d.layout = l.id) ORDER BY l.id LIMIT ?"
)
_SHAPES_GONE = (
    "SELECT s.id FROM shape s WHERE s.id < (SELECT max(id) FROM shape)"
    " AND s.id NOT IN (SELECT shape FROM layout_record)"
)


class Pruned(Struct, frozen=True):
    """The numbers of layouts and shapes that are gone, and are not given again."""

    layouts: frozenset[int]
    shapes: frozenset[int]


def prune(connection: sqlite3.Connection) -> Pruned | None:
    """Remove some layouts and shapes that no head row has; return which, if any. Raises sqlite3.Error."""
    gone = connection.execute(_GONE, (LAYOUTS,)).fetchall()
    if not gone:
        return None
    connection.executemany("DELETE FROM layout WHERE id = ?", gone)
    connection.executemany("DELETE FROM layout_record WHERE layout = ?", gone)
    shapes = connection.execute(_SHAPES_GONE).fetchall()
    connection.executemany("DELETE FROM shape WHERE id = ?", shapes)
    connection.executemany("DELETE FROM shape_column WHERE shape = ?", shapes)
    return Pruned(frozenset(number for (number,) in gone), frozenset(number for (number,) in shapes))
