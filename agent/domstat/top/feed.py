"""What a feed is: where records come from, and how they are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from msgspec import Struct

from domstat.model import Batch
from domstat.top.guest import Key
from domstat.top.ring import Values


class Arrived(Struct, frozen=True):
    """Batches, in the order in which they were collected."""

    batches: tuple[Batch, ...]


class Failed(Struct, frozen=True):
    """A host that gave no answer, or (None) a source that could not be read, and why."""

    host: str | None
    trouble: str


class Past(Struct, frozen=True):
    """A guest's last hour: times in milliseconds since 1970, oldest first, and its measures then."""

    key: Key
    values: tuple[tuple[int, Values], ...]


Told: TypeAlias = Arrived | Failed | Past
Tell: TypeAlias = Callable[[Told], None]
"""Is called from threads of the feed's own."""


class Feed(Protocol):
    """Gives records until it is stopped."""

    def start(self, tell: Tell) -> None:
        """Begin; returns at once."""

    def ask(self, key: Key, until_ms: int) -> None:
        """Ask for the hour of a guest that ends at a time; returns at once. Who knows no past tells nothing."""

    def stop(self) -> None:
        """End; what hangs is not waited for."""
