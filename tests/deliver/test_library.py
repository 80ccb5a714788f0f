"""Which SQLite this Python has."""

from __future__ import annotations

import sqlite3

from domstat.deliver.library import SQLITE_VERSION


def test_the_version_is_that_of_the_library_that_is_loaded() -> None:
    assert ".".join(map(str, SQLITE_VERSION)) == sqlite3.sqlite_version
