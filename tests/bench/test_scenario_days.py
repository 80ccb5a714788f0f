"""A scenario's days: the rows that the sink would make of the same figures, and sums of all before."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from domstat_bench.scenario_courses import DAY_MS, HOUR_MS, Course
from domstat_bench.scenario_days import DayRows
from domstat_bench.scenario_stretches import Stretches
from domstat_bench.scenario_values import Ticks
from domstat_bench.scenario_world import GIB, Disk, Guest, Host, World
from domstat_sinks.sqlite import schema
from domstat_sinks.sqlite.heads.numbers import Numbers
from domstat_sinks.sqlite.rollups.days import Days
from domstat_sinks.sqlite.rollups.guests import Guests
from domstat_sinks.sqlite.rollups.keyfigures import total
from domstat_sinks.sqlite.rollups.rollup import merge

BEGIN_MS = 20_780 * DAY_MS
"""A day before one that sums are made for: 20,790 is a multiple of 30."""
STEP_MS, TICK_MS = 300_000, 60_000
DAYS = 12
END_MS = BEGIN_MS + DAYS * DAY_MS


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(":memory:", isolation_level=None)
    opened.executescript(schema.NEW)
    busy = Guest(
        uuid="u1", name="web-1", cores=Course(level=1.5, noise=0.2), memory=Course(level=1.0 * GIB, noise=0.1),
        rx=Course(level=1000.0, noise=0.1), disks=(Disk(reads=Course(level=3.0, noise=0.5)),),
    )  # fmt: skip
    late = Guest(uuid="u2", name="new-1", from_ms=BEGIN_MS + 3 * DAY_MS + 6 * HOUR_MS, cores=Course(level=0.5))
    host = Host(name="kvm1", guests=(busy, late))
    world = World(begin_ms=BEGIN_MS, end_ms=END_MS, hosts=(host,))
    made = Stretches(Ticks(world, host), (), STEP_MS, TICK_MS, BEGIN_MS)
    rows = DayRows(opened, Numbers(opened), Guests(opened), ("kvm1", "default"), STEP_MS // TICK_MS)
    for from_ms, until_ms in ((BEGIN_MS, BEGIN_MS + 10 * DAY_MS), (BEGIN_MS + 10 * DAY_MS, END_MS - HOUR_MS)):
        stretches = [(of, merge([of.rollup], HOUR_MS)) for of in made.window(from_ms, until_ms)]
        rows.add(stretches, from_ms, until_ms, END_MS - HOUR_MS)
    yield opened
    opened.close()


def daily(connection: sqlite3.Connection, field: str, uuid: str) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT d.n, d.increase, d.mean, d.p50, d.max, d.coverage FROM day d JOIN field f ON f.id = d.field"
        " JOIN guest g ON g.id = d.guest WHERE f.name = ? AND g.uuid = ? ORDER BY d.day",
        (field, uuid),
    ).fetchall()


def test_a_day_counts_every_tick_and_has_what_was_used_in_it(connection: sqlite3.Connection) -> None:
    first, *others = daily(connection, "cpu.cores", "u1")
    n, increase, mean, p50, most, coverage = first
    assert (n, coverage) == (1440, 1.0)
    assert mean == pytest.approx(1.5, rel=0.03)
    assert p50 == pytest.approx(1.5, rel=0.05)
    assert increase == pytest.approx(mean * 86_400, rel=1e-6)
    assert most > mean
    assert len(others) == DAYS - 2


def test_a_guest_that_came_during_a_day_has_part_of_it(connection: sqlite3.Connection) -> None:
    found = daily(connection, "cpu.cores", "u2")
    assert len(found) == DAYS - 4
    assert [row[0] for row in found[:2]] == [18 * 60, 1440]
    assert found[0][5] == pytest.approx(0.75)


def test_levels_have_no_increase(connection: sqlite3.Connection) -> None:
    (first, *_) = daily(connection, "memory.used", "u1")
    assert first[1] is None
    assert first[2] == pytest.approx(GIB, rel=0.02)


def test_the_sink_would_make_the_same_rows_of_the_same_figures(connection: sqlite3.Connection) -> None:
    before = connection.execute("SELECT * FROM day ORDER BY field, day, stream, guest").fetchall()
    sums = connection.execute("SELECT * FROM sketch_sum").fetchall()
    days = Days(connection)
    connection.execute("BEGIN")
    stored = connection.execute("SELECT stream, field, block, day, blob FROM sketch_day").fetchall()
    for *whose, blob in stored:
        days._store(tuple(whose), total([blob]))
    after = connection.execute("SELECT * FROM day ORDER BY field, day, stream, guest").fetchall()
    connection.execute("ROLLBACK")
    assert after == before
    assert sums


def test_a_sum_is_of_all_days_before_its_day(connection: sqlite3.Connection) -> None:
    found = connection.execute(
        "SELECT DISTINCT s.day FROM sketch_sum s JOIN field f ON f.id = s.field WHERE f.name = 'cpu.cores'"
    ).fetchall()
    assert found == [(20_790,)]


def test_hours_of_the_last_days_are_kept_and_those_of_the_open_day_are_still_to_be_added(
    connection: sqlite3.Connection,
) -> None:
    found = connection.execute(
        "SELECT is_added, min(start_ms), max(start_ms) FROM sketch_hour h JOIN field f ON f.id = h.field"
        " WHERE f.name = 'cpu.cores' GROUP BY is_added ORDER BY is_added"
    ).fetchall()
    today_ms = END_MS - DAY_MS
    kept_ms = END_MS - HOUR_MS - 8 * DAY_MS
    assert found == [(0, today_ms, END_MS - 2 * HOUR_MS), (1, kept_ms, today_ms - HOUR_MS)]
