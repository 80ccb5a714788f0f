"""What a history says after all that was done to it, and what it would say otherwise; its life is in sealing.py."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from domstat_sinks.sqlite import connect, schema
from domstat_sinks.sqlite.answers.export import Exporter
from domstat_sinks.sqlite.keeping import merging, retention, upkeep
from domstat_sinks.sqlite.keeping.retention import Bounds
from domstat_sinks.sqlite.writer import Writer

from . import sealing
from .sealing import CLOSING, LENGTH, at_ms, batches

EVERYTHING = LENGTH + CLOSING

Dated = list[tuple[int, str]]
"""What there is, as texts that tell every bit, with its times."""


def prepare(patch: pytest.MonkeyPatch) -> None:
    """Make all small, as in the program; here commits wait for no disk, and all steps are one."""
    for name in ("SLICE_TICKS", "SLICE_MS", "TIER_SLICES_MS", "STEP_S"):
        patch.setattr(upkeep, name, getattr(upkeep, name))
    for name in ("LEVELS", "TIER_LEVELS"):
        patch.setattr(merging, name, dict(getattr(merging, name)))
    patch.setattr(retention, "EVERY_S", retention.EVERY_S)
    patch.setattr(schema, "OPEN_PRAGMAS", schema.OPEN_PRAGMAS.replace("= FULL", "= OFF"))
    sealing.make_small()
    upkeep.STEP_S = 60.0


class Said(Struct, frozen=True):
    """All batches, all samples and rates, all roll-ups and days that a history says it has."""

    batches: Dated
    samples: Dated
    rolled: Dated


def said(path: Path) -> Said:
    """Return all that a history says."""
    with closing(connect(path)) as reader:
        samples = _rows(reader, "SELECT time_ms, * FROM {}", ("samples", "rates"))
        rolled = _rows(reader, "SELECT time_ms, * FROM {}", ("five_minutes", "hourly"))
        days = reader.execute("SELECT 1000 * unixepoch(day), * FROM daily").fetchall()
    rolled += [(row[0], f"daily {_near(row[1:])}") for row in days]
    return Said(batches_of(path), samples, rolled)


def batches_of(path: Path) -> Dated:
    """Return all batches that a history says it has, of any version."""
    damaged: list[str] = []
    with closing(connect(path)) as reader:
        found = [(one.stamp.time_ms, repr(one)) for one in Exporter(reader).batches(0, 1 << 62, damaged.append)]
    assert damaged == []
    return found


def _rows(reader: sqlite3.Connection, query: str, views: tuple[str, ...]) -> Dated:
    return [(row[0], f"{view} {row[1:]}") for view in views for row in reader.execute(query.format(view))]


def _near(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Leave the last bits of doubles out: those of a mean depend on the order in which its parts were added up."""
    return tuple(f"{value:.12g}" if isinstance(value, float) else value for value in row)


def finish(path: Path, start: int, end: int, bounds: Bounds | None = None) -> None:
    """Go on where another was killed, and do all that is due."""
    with closing(Writer(path, bounds)) as writer:
        for one in batches()[start:end]:
            writer.write([one])
        while writer._upkeep._has_work():
            writer._upkeep.run()


def undisturbed(folder: Path) -> Said:
    """Return what a history says that was never killed, and lets nothing go: its samples are never sealed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upkeep.Upkeep, "ends_slice", lambda *_: False)
        finish(folder / "plain.db", 0, EVERYTHING)
    finish(folder / "rolled.db", 0, EVERYTHING)
    plain, rolled = said(folder / "plain.db"), said(folder / "rolled.db")
    assert (plain.batches, Counter(plain.samples)) == (rolled.batches, Counter(rolled.samples))
    assert {text.split()[0] for _, text in rolled.rolled} == {"five_minutes", "hourly", "daily"}
    return rolled


def state(path: Path) -> tuple[str, int, int]:
    """Return whether the file is whole, how many chunks nobody knows of, and how many are doomed."""
    with closing(sqlite3.connect(path)) as connection:
        (integrity,) = connection.execute("PRAGMA integrity_check").fetchone()
        known = "SELECT id FROM segment UNION SELECT segment FROM doomed"
        (strays,) = connection.execute(f"SELECT count(*) FROM chunk WHERE id >> 26 NOT IN ({known})").fetchone()
        (doomed,) = connection.execute("SELECT count(*) FROM doomed").fetchone()
    return integrity, strays, doomed


def lacks(found: Dated, expected: Dated, since_ms: int, until_ms: int) -> list[str]:
    """Say what is there that should not be, or twice; and what is not there of a time of which all should be."""
    has, wanted = Counter(found), Counter(expected)
    missing = [f"missing: {text}" for (at, text) in wanted - has if since_ms <= at < until_ms]
    return [f"wrong: {text}" for _, text in has - wanted] + missing


def judge(found: Said, expected: Said, written: int) -> str:
    """Say what is wrong with a history of so many batches; "" if nothing. What is too old may have gone."""
    newest_ms = at_ms(written - 1)
    since_ms = newest_ms - round(sealing.BOUNDS.raw_s * 1000)
    if sorted(found.batches) != found.batches:
        return "its batches are out of order"
    closing_ms = at_ms(LENGTH)  # which of the buckets after that are finished depends on where slices end
    rolled = [(at, text) for at, text in found.rolled if at < closing_ms]
    wrong = [
        *lacks(found.batches, expected.batches, since_ms, newest_ms + 1),
        *lacks(found.samples, expected.samples, since_ms, newest_ms + 1),
        *lacks(rolled, expected.rolled, since_ms, closing_ms if written == EVERYTHING else 0),
    ]
    return f"{len(wrong)} of it are not as they should be, such as {wrong[0]}" if wrong else ""
