"""A sink opened by hand, and what it told the agent."""

from __future__ import annotations

from pathlib import Path

from domstat.model import Batch, Record
from domstat.sink import Reject, Sink, SinkContext
from heard import Log
from records import batch


class Told:
    """Remembers which parts of which records the sink left out, and what it logged."""

    def __init__(self, sink: Sink, folder: Path) -> None:
        self.sink = sink
        self.log = Log()
        self.parts: list[tuple[Record, str]] = []
        self._context = SinkContext("told", folder, self.log, lambda record, why: self.parts.append((record, why)))

    def open(self) -> None:
        self.sink.open(self._context)

    def write(self, *batches: Batch) -> list[tuple[Record, str]]:
        """Write (by default one guest's record), and return the rejected records, each with the reason."""
        try:
            self.sink.write(batches or [batch()])
        except Reject as error:
            return [(item.record, item.reason) for item in error.items]
        return []
