"""The sqlite sink keeps the contract."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from domstat import settings
from domstat.history import EVER_MS, HasBatches
from domstat.testing import Keeps, SinkContract, Store, Stored, stored
from domstat_sinks.sqlite import SqliteSink, writer
from domstat_sinks.sqlite.sink import SqliteSettings


class History:
    """The file, read by the history's own contract."""

    sink: ClassVar[type[Any]] = SqliteSink

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "history.db"
        self.settings = {"path": str(self.path), "raw": "forever", "five_minutes": "90d"}

    def read(self) -> Iterator[Stored]:
        if not self.path.exists():
            return
        chosen = settings.decode(self.settings, SqliteSettings)
        damaged: list[str] = []
        with SqliteSink.history(chosen, self.folder) as history:
            assert isinstance(history, HasBatches)
            for batch in history.batches(0, EVER_MS, damaged.append):
                yield from map(stored, batch.records)
        assert damaged == []

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Have the file's folder gone, as a disk that is not mounted."""
        away = self.folder.with_name("away")
        self.folder.rename(away)
        self.folder.write_text("no folder")
        try:
            yield
        finally:
            self.folder.unlink()
            away.rename(self.folder)

    @contextmanager
    def slow(self) -> Iterator[None]:
        """Have somebody else write the file all the while."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")

    def hopeless(self) -> Mapping[str, Any]:
        foreign = self.folder / "notes.db"
        foreign.write_text("this is no database " * 100)
        return {"path": str(foreign)}


class TestSqliteSink(SinkContract):
    keeps = Keeps(rates=False)  # they are taken when it is read

    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
        monkeypatch.setattr(writer, "BUSY_TIMEOUT_S", 0.1)  # no test waits for seconds
        folder = tmp_path / "data"
        folder.mkdir()
        return History(folder)
