"""A history in a temporary folder, written by the real sink and read by anybody's means."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from domstat.model import Batch
from domstat.sink import SinkContext
from domstat_sinks.sqlite import SqliteSink, connect
from domstat_sinks.sqlite.sink import SqliteSettings
from heard import Log


class History:
    """A sink at work on a file, and readers of that file; all closed at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "history.db"
        self.log = Log()
        self._sinks: list[SqliteSink] = []
        self._readers: list[sqlite3.Connection] = []
        self.sink = self.another()

    def another(self) -> SqliteSink:
        """Make a sink on the same file, not opened."""
        self._sinks.append(SqliteSink(SqliteSettings()))
        return self._sinks[-1]

    def open(self, sink: SqliteSink | None = None) -> None:
        (sink or self.sink).open(SinkContext("history", self.folder, self.log, lambda _record, _reason: None))

    def write(self, *batches: Batch) -> None:
        self.sink.write(batches)

    def settle(self) -> None:
        """Do all upkeep that is due, as many ticks would."""
        upkeep = self.sink._writer._upkeep  # type: ignore[union-attr]
        while upkeep._has_work():
            upkeep.run()

    def reader(self) -> sqlite3.Connection:
        self._readers.append(connect(self.path))
        return self._readers[-1]

    def ask(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        return self.reader().execute(query, parameters).fetchall()

    def close(self) -> None:
        for reader in self._readers:
            reader.close()
        for sink in self._sinks:
            sink.close()


@pytest.fixture
def make_history(tmp_path: Path) -> Iterator[Callable[[], History]]:
    made: list[History] = []

    def make() -> History:
        folder = tmp_path / f"state{len(made)}"
        made.append(History(folder))
        made[-1].open()
        return made[-1]

    yield make
    for history in made:
        history.close()


@pytest.fixture
def history(make_history: Callable[[], History]) -> History:
    return make_history()
