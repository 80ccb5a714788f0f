"""What tests of the journal share: all that one says, to be compared, and steps to write one by."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from msgspec import Struct

from domstat.deliver.files import look
from domstat.deliver.journal import Entry, Journal
from domstat.deliver.position import Position

STREAM = ("kvm1", "default")

Step = Callable[[Journal], object]


class Content(Struct, frozen=True):
    """What a journal says: rows by number, positions by sink, devices by guest."""

    rows: dict[int, bytes]
    positions: dict[str, Position]
    devices: dict[str, bytes]


def content_of(journal: Journal) -> Content:
    """Read all that a journal says."""
    rows = {number: blob for number, _, blob in journal.read(0, None, 1 << 20)}
    return Content(rows, journal.positions(), journal.devices(STREAM))


def entry(number: int, size: int = 40) -> Entry:
    """Make a row with a blob of so many bytes, which says its number, and every fourth with a guest's devices."""
    blob = (f"{number}." * size).encode()[:size]
    devices = ((f"guest-{number % 3}", b"devices"),) if number % 4 == 0 else ()
    return Entry(number, STREAM, 1000 * number, 3, blob, devices)


def commit(*sizes: int, first: int, done: int) -> Step:
    """Make the step that stores rows of these *sizes*, with the position of a sink that has *done* so much."""
    entries = [entry(first + i, size) for i, size in enumerate(sizes)]
    return lambda journal: journal.append(entries, {"near": Position(done)})


STEPS: Sequence[Step] = (
    commit(40, first=1, done=0),
    commit(9000, 700, first=2, done=1),
    lambda journal: journal.append([], {"near": Position(2, ((4, 4),)), "far": Position(1)}),
    lambda journal: journal.checkpoint(),
    commit(40, 20_000, 300, first=4, done=4),
    lambda journal: journal.remove((1, 2)),
    lambda journal: journal.append([], {"far": Position(5)}),
    commit(5000, first=7, done=6),
    lambda journal: journal.remove((3, 4, 5)),
    lambda journal: journal.checkpoint(),
    lambda journal: journal.shrink(),
    lambda journal: journal.forget("far"),
    lambda journal: journal.give_up_reserve(),
    commit(700, 40, first=8, done=7),
    lambda journal: journal.forget_devices(7000),
    lambda journal: journal.keep_reserve(),
)
"""What a spool does to a journal, in one order, so that it can be done again and again."""


def contents(path: Path) -> list[Content]:
    """Take all the steps; return what the journal says before the first, and after each."""
    journal = Journal(path)
    said = [content_of(journal)]
    for step in STEPS:
        step(journal)
        said.append(content_of(journal))
    journal.close()
    return said


def integrity(path: Path) -> str:
    """Have SQLite look through a whole journal; ``ok`` if all is well."""
    try:
        with closing(look(path)) as connection:
            return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    except sqlite3.DatabaseError as error:
        return str(error)
