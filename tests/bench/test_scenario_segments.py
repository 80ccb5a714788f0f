"""Buckets written many at once: the very words that the sink's own form has for each of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import count

import numpy as np
import pytest

from domstat_bench.scenario_courses import HOUR_MS, Course
from domstat_bench.scenario_segments import MOVING, Rows, rows_of, store
from domstat_bench.scenario_stretches import Stretches
from domstat_bench.scenario_values import Survey, Ticks
from domstat_bench.scenario_world import GIB, Disk, Guest, Host, Pool, Sleeper, World
from domstat_sinks.sqlite import schema
from domstat_sinks.sqlite.heads.numbers import Numbers
from domstat_sinks.sqlite.packed.segments import Segments
from domstat_sinks.sqlite.rollups.rollrecord import Form
from domstat_sinks.sqlite.rollups.rollstats import Rollup
from domstat_sinks.sqlite.rollups.rollup import merge

BEGIN_MS, STEP_MS = 1_795_392_000_000, 300_000
SPAN_MS = 30 * HOUR_MS


def world(*more: Guest) -> World:
    busy = Guest(
        uuid="u1", name="web-1", cores=Course(level=1.5, noise=0.2), memory=Course(level=1.0 * GIB, noise=0.1),
        steal=Course(level=0.1, noise=0.2), rx=Course(level=10.0, noise=0.1), resets=(BEGIN_MS + 5 * HOUR_MS,),
        disks=(Disk(reads=Course(level=0.002, noise=0.5), allocation=Course(level=1e9, growth=1e9)),),
    )  # fmt: skip
    mute = Guest(uuid="u2", name="mute-1", speaks_until_ms=0, vcpus=1)
    pool = Pool(allocation=Course(level=1e9, noise=0.1))
    host = Host(
        name="kvm1", guests=(busy, mute, *more), pools=(pool,), sleepers=(Sleeper(uuid="u3", name="off-1"),),
        gaps=((BEGIN_MS + 9 * HOUR_MS, BEGIN_MS + 11 * HOUR_MS),),
    )  # fmt: skip
    return World(begin_ms=BEGIN_MS, end_ms=BEGIN_MS + SPAN_MS, hosts=(host,))


def rollups(of: World, stream: type = Ticks) -> list[Rollup]:
    host = of.hosts[0]
    made = Stretches(stream(of, host), host.gaps, STEP_MS, 60_000, BEGIN_MS)
    return [stretch.rollup for stretch in made.window(BEGIN_MS, BEGIN_MS + SPAN_MS)]


@pytest.mark.parametrize("width_ms", [STEP_MS, HOUR_MS])
@pytest.mark.parametrize("stream", [Ticks, Survey])
def test_every_bucket_has_the_words_and_columns_that_the_sinks_form_has(width_ms: int, stream: type) -> None:
    (rollup,) = [merge([of], width_ms) for of in rollups(world(), stream)]
    rows = rows_of(rollup)
    form = Form()
    for bucket in range(len(rollup.starts_ms)):
        row = form.row(rollup, bucket, MOVING)
        assert row.columns == rows.columns
        assert row.entries == rows.entries
        assert np.array_equal(row.words, rows.words[:, bucket])


def test_a_gauge_that_may_not_move_within_an_hour_is_refused() -> None:
    shrinking = Guest(uuid="u4", name="ballooned", memory=Course(level=1e9))
    (rollup,) = rollups(world(shrinking))
    sums = rollup.levels[0]
    for matrix in (sums.maxs,):
        matrix.setflags(write=True)
    moved = np.array(sums.maxs)
    place = [name for name, _ in rollup.scope.series[0].names].index("balloon.current")
    moved[:, place] += 1
    changed = Rollup(
        rollup.scope, rollup.starts_ms, rollup.ticks,
        (type(sums)(sums.counts, sums.mins, moved, sums.sums, sums.lasts), *rollup.levels[1:]),
        rollup.texts, rollup.counters,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"balloon\.current moves within an hour"):
        rows_of(changed)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(":memory:", isolation_level=None)
    opened.executescript(schema.NEW)
    yield opened
    opened.close()


def words_of(rows: Rows, record: int, field: str) -> np.ndarray:
    names = [(i, column.field, column.device) for i, of in enumerate(rows.columns) for column in of]
    return np.asarray(rows.words[names.index((record, field, None))])


def test_a_segment_gives_back_what_was_stored_of_all_who_came_and_went(connection: sqlite3.Connection) -> None:
    coming = Guest(uuid="u5", name="new-1", from_ms=BEGIN_MS + 20 * HOUR_MS, cores=Course(level=1.0))
    parts = [rows_of(rollup) for rollup in rollups(world(coming))]
    numbers = Numbers(connection)
    made = store(connection, numbers, numbers.stream(("kvm1", "default"), 1), count(1), parts)
    (segment, ticks, level) = connection.execute("SELECT id, ticks, level FROM segment").fetchone()
    assert (ticks, level) == (len(made), 2)
    assert made.ids.tolist() == list(range(2, 2 * ticks + 2, 2))
    assert made.boot_ns.tolist() == list(range(1, 2 * ticks + 1, 2))
    segments = Segments(connection)
    directory = segments.directory(segment)
    column = next(i for i, of in enumerate(directory.columns) if segments.field(of.field) == "cpu.time:increment")
    by_uuid = {member.uuid: place for place, member in enumerate(directory.members)}
    whole = segments.words(segment, by_uuid["u1"], column)
    assert np.array_equal(whole, np.concatenate([words_of(part, 1, "cpu.time:increment") for part in parts]))
    late = segments.words(segment, by_uuid["u5"], column)
    assert np.array_equal(late, words_of(parts[1], 3, "cpu.time:increment"))
    assert connection.execute("SELECT count(*) FROM doomed").fetchone() == (0,)
