"""Sinks for tests: one that takes all, one that takes nothing until it is revived; and a logger that nobody reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from msgspec import Struct

from domstat.model import Batch
from domstat.sink import Retry, SinkContext


class Living:
    """A sink that takes all, and remembers the times of what it took."""

    Settings: ClassVar[type[Struct]] = Struct

    def __init__(self) -> None:
        self.times: list[int] = []

    def open(self, context: SinkContext) -> None:
        """Do nothing."""

    def write(self, batches: Sequence[Batch]) -> None:
        """Take them."""
        self.times += [one.stamp.time_ms for one in batches]

    def close(self) -> None:
        """Do nothing."""


class Dead(Living):
    """A sink that takes nothing, until it is revived."""

    def __init__(self) -> None:
        super().__init__()
        self.is_alive = False

    def write(self, batches: Sequence[Batch]) -> None:
        """Refuse."""
        if not self.is_alive:
            raise Retry("it is down")
        super().write(batches)


class Silent:
    """A logger that nobody reads."""

    def bind(self, **_facts: object) -> Silent:
        """Be bound."""
        return self

    def __getattr__(self, _level: str) -> Callable[..., None]:
        return lambda *_args, **_facts: None
