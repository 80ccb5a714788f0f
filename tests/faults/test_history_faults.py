"""Whichever statement of its upkeep fails, a history goes on, and at last says what it would have said."""

from __future__ import annotations

import functools
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from domstat_sinks.sqlite import writer as writing
from domstat_sinks.sqlite.keeping import upkeep
from domstat_sinks.sqlite.writer import Writer
from shown import Show

from . import sealing
from .judging import EVERYTHING, judge, prepare, said, state, undisturbed
from .sealing import FILE, batches

EVERY_SHORT = 9
"""In the short form only every so many statements fails; which, differs from batch to batch."""

ERRORS = ("database or disk is full", "disk I/O error")


@pytest.fixture(autouse=True)
def _prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch)
    monkeypatch.setattr(writing, "SETTLING_S", 60.0)  # all steps are one here too, however busy the machine is
    monkeypatch.setattr(upkeep, "TICKS_MAX", 5)  # so that a slice is due again after each failure


class Faulty(sqlite3.Connection):
    """A connection on which one statement fails, counted from when it is told so."""

    left = 0
    error = ""
    failed: str | None = None

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        self._count(arguments[0])
        return super().execute(*arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        self._count(arguments[0])
        return super().executemany(*arguments)

    def _count(self, statement: str) -> None:
        if self.left:
            self.left -= 1
            if not self.left:
                self.failed = statement
                raise sqlite3.OperationalError(self.error)


def write(path: Path, every: int) -> dict[str, int]:
    """Write all, and have each of the statements of upkeep fail once in turn; return how often which failed."""
    failed: dict[str, int] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=Faulty))
        writer = Writer(path, sealing.BOUNDS)
    connection = writer._connection
    assert isinstance(connection, Faulty)
    with closing(writer):
        for number, one in enumerate(batches()):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(upkeep.Upkeep, "run", lambda *_: False)
                writer.write([one])
            connection.left = 1 + number % every
            while connection.left:
                due, connection.failed = connection.left, None
                connection.error = ERRORS[due % 2]
                try:
                    while writer.settle():
                        pass
                except sqlite3.OperationalError:
                    assert not connection.in_transaction
                    statement = " ".join(str(connection.failed).split()[:3])
                    failed[statement] = failed.get(statement, 0) + 1
                    connection.left = due + every
                else:
                    connection.left = 0
    return failed


def judged(folder: Path, every: int) -> dict[str, Any]:
    failed = write(folder / FILE, every)
    wrong = judge(said(folder / FILE), undisturbed(folder), EVERYTHING)
    return {"test": "history faults", "failed": sum(failed.values()), "kinds": len(failed), "wrong": wrong}


def test_whichever_statement_fails_all_is_there_once_and_comes_to_the_same(tmp_path: Path, show: Show) -> None:
    figures = judged(tmp_path, EVERY_SHORT)
    show(figures)
    assert figures["wrong"] == ""
    assert figures["failed"] > 150
    assert figures["kinds"] > 40
    assert state(tmp_path / FILE) == ("ok", 0, 0)


@pytest.mark.faults
def test_each_statement_fails_and_all_is_there_once_and_comes_to_the_same(tmp_path: Path, show: Show) -> None:
    figures = judged(tmp_path, 1)
    show(figures)
    assert figures["wrong"] == ""
    assert figures["failed"] > 1_000
    assert state(tmp_path / FILE) == ("ok", 0, 0)
