"""The contract a store of history meets: what questions are asked of.

A sink class that keeps a history has the ability :class:`HasHistory`; the command line finds it by that, and knows no
store by name. A history that gives back what was written has the ability :class:`HasBatches`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from domstat.model import Batch


class HistoryError(Exception):
    """The history cannot be read, or not that way; the message says what to do."""


class Answer(Struct, frozen=True):
    """What a query returned: the columns' names, and the rows as they come."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]


class History(Protocol):
    """A history opened for reading; it never disturbs whoever writes it."""

    def sql(self, text: str) -> Answer:
        """Answer one SQL query over the views ``samples`` and ``rates``. Raises HistoryError."""


@runtime_checkable
class HasBatches(Protocol):
    """A history that gives back what was written into it, for another sink. Times are milliseconds since 1970."""

    def count(self, since_ms: int, until_ms: int) -> int:
        """Return about how many batches there are from one time on and before another. Raises HistoryError."""

    def batches(self, since_ms: int, until_ms: int, on_damaged: Callable[[str], None]) -> Iterator[Batch]:
        """Give these batches, each stream's in the order of its ticks, with rates as the stream takes them.

        What cannot be read is passed over, and *on_damaged* told what that is. Raises HistoryError.
        """


@runtime_checkable
class HasHistory(Protocol):
    """A sink class whose store can be asked."""

    @staticmethod
    def history(settings: Any, state_dir: Path) -> AbstractContextManager[History]:
        """Open the store that *settings* describe, for reading only. Raises HistoryError."""
