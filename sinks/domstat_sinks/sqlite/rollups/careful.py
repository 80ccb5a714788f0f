"""Rolling up, carefully: ticks that cannot be rolled up are sealed all the same, and it is said that they could not.

What the file or the machine is to blame for is raised, since it is tried again. What fails for any other reason would
fail every time, and stop the sealing for good.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator

from domstat_sinks.sqlite.heads.row import DamagedError
from domstat_sinks.sqlite.packed.slices import Slice, Tick
from domstat_sinks.sqlite.rollups.roller import Roller, Rolling

_OF_A_VALUE = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
"""Errors of SQLite's that the file is not to blame for."""

_END = object()


@contextlib.contextmanager
def carefully(connection: sqlite3.Connection, on_mistake: Callable[[Exception], None]) -> Iterator[None]:
    """Take back what was done within if it fails for a reason of its own, and tell *on_mistake* of it.

    Within a transaction. Raises sqlite3.Error, DamagedError, OSError and MemoryError as they come.
    """
    connection.execute("SAVEPOINT carefully")
    try:
        yield
    except Exception as error:
        if not _is_mistake(error):
            raise
        connection.execute("ROLLBACK TO carefully")
        connection.execute("RELEASE carefully")
        on_mistake(error)
    else:
        connection.execute("RELEASE carefully")


def _is_mistake(error: Exception) -> bool:
    if isinstance(error, _OF_A_VALUE):
        return True
    return not isinstance(error, (sqlite3.Error, DamagedError, OSError, MemoryError))


class Careful:
    """One slice of a stream on its way into buckets; after a mistake nothing more is made of it."""

    def __init__(self, roller: Roller, stream: int, slice_: Slice, sealed: int) -> None:
        self._roller = roller
        self._stream = stream
        self._last_id = int(slice_.directory.ids[-1])
        self._rolling: Rolling | None = None
        with self._carefully():
            self._rolling = roller.begin(stream, slice_, sealed)

    def begin(self) -> Iterator[None]:
        """Make sure of what was before the slice, in steps."""
        return self._each(Rolling.begin)

    def is_at_hand(self) -> bool:
        """Tell whether what is to be rolled up next is unpacked already."""
        return self._rolling is not None and self._rolling.is_at_hand()

    def has_more(self) -> bool:
        """Tell whether there is anything more to be rolled up."""
        return self._rolling is not None and self._rolling.has_more()

    def step(self) -> None:
        """Roll up a little."""
        if self._rolling is not None:
            with self._carefully():
                self._rolling.step()

    def finish(self) -> Iterator[None]:
        """Pack the buckets that are finished, in steps."""
        return self._each(Rolling.finish)

    def publish(self, leads: Iterable[Tick]) -> None:
        """Store all that is finished, in the transaction that seals the slice; or pass it over."""
        if self._rolling is not None:
            with self._carefully():
                self._rolling.publish(leads)
        if self._rolling is None:
            self._roller.pass_over(self._stream, self._last_id)

    def _each(self, steps_of: Callable[[Rolling], Iterator[None]]) -> Iterator[None]:
        if self._rolling is None:
            return
        steps = steps_of(self._rolling)  # does nothing yet
        while True:
            is_over = True
            with self._carefully():
                is_over = next(steps, _END) is _END
            if is_over:
                return
            yield

    def _carefully(self) -> contextlib.AbstractContextManager[None]:
        return carefully(self._roller.connection, self._given_up)

    def _given_up(self, error: Exception) -> None:
        self._rolling = None
        self._roller.failed(self._stream, error)
