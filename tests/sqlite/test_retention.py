"""What is too old or too much goes, the oldest first and a segment at a time; the file shrinks again."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from domstat.model import Batch, Stamp
from domstat_sinks.sqlite import connect, merging, retention, upkeep
from domstat_sinks.sqlite.retention import Bounds
from domstat_sinks.sqlite.writer import Writer
from records import TIME_MS, guest_record

SECOND_MS = 1_000
SLICE = 5


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of five ticks, never merged, and a look for what is too old after each."""
    monkeypatch.setattr(upkeep, "SLICE_TICKS", SLICE)
    monkeypatch.setattr(upkeep, "SLICE_MS", 1)
    monkeypatch.setattr(upkeep, "STEP_S", 60.0)
    monkeypatch.setattr(merging, "LEVELS", {})
    monkeypatch.setattr(retention, "EVERY_S", 0.0)


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Write ticks, a second apart, of a guest with so many counters that move at random; return the file."""
    writers: list[Writer] = []

    def write(ticks: int, bounds: Bounds, *, extra: int = 0, from_tick: int = 0, step_ms: int = SECOND_MS) -> Path:
        path = tmp_path / "history.db"
        writers.append(Writer(path, bounds))
        for tick in range(from_tick, from_tick + ticks):
            noise = {f"x.{i}.sum": int.from_bytes(os.urandom(7), "big") for i in range(extra)}
            writers[-1].write([tick_of(TIME_MS + tick * step_ms, noise)])
        return path

    yield write
    for writer in writers:
        writer.close()


def tick_of(time_ms: int, noise: dict[str, int]) -> Batch:
    record = guest_record(time_ms=time_ms, extra={**noise})
    stamp = Stamp(time_ms, time_ms * 1_000_000, "boot", 0)
    return Batch(host="kvm1", collect="default", stamp=stamp, records=(record,))


def ask(path: Path, query: str) -> list[tuple[int, ...]]:
    connection = connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


TICKS = "SELECT min(time_ms), max(time_ms), count(DISTINCT time_ms) FROM samples"


def test_nothing_goes_without_bounds(write: Callable[..., Path]) -> None:
    path = write(40, Bounds())
    assert ask(path, TICKS) == [(TIME_MS, TIME_MS + 39 * SECOND_MS, 40)]


def test_segments_older_than_the_newest_tick_by_the_bound_go(write: Callable[..., Path]) -> None:
    step_ms = 1_200_000
    path = write(41, Bounds(raw_s=12 * step_ms / 1000), step_ms=step_ms, from_tick=6)  # all of one day
    ((first, last, count),) = ask(path, TICKS)
    newest_sealed = TIME_MS + 45 * step_ms
    assert last == TIME_MS + 46 * step_ms
    assert newest_sealed - 12 * step_ms - SLICE * step_ms < first <= newest_sealed - 12 * step_ms
    assert count == (last - first) // step_ms + 1
    assert ask(path, "SELECT count(*) FROM doomed") == [(0,)]
    assert ask(path, "SELECT count(*) FROM chunk c WHERE c.id >> 26 NOT IN (SELECT id FROM segment)") == [(0,)]


def test_ticks_stay_while_their_hour_is_open(write: Callable[..., Path]) -> None:
    path = write(41, Bounds(raw_s=12.0))
    assert ask(path, TICKS) == [(TIME_MS, TIME_MS + 40 * SECOND_MS, 41)]


def test_each_tier_goes_by_its_own_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "TIER_LEVELS", {1: {}, 2: {}})
    monkeypatch.setattr(upkeep, "TIER_SLICES_MS", {1: 3_600_000, 2: 6 * 3_600_000})
    bounds = Bounds(raw_s=3_600.0, five_minutes_s=6 * 3_600.0, hours_s=24 * 3_600.0, days_s=24 * 3_600.0)
    writer, path = Writer(tmp_path / "history.db", bounds), tmp_path / "history.db"
    for tick in range(3 * 24 * 30):  # three days, each two minutes
        writer.write([tick_of(TIME_MS + tick * 120_000, {})])
    while writer._upkeep._has_work():
        writer._upkeep.run()
    writer.close()
    spans = ask(
        path,
        "SELECT s.tier, (max(g.end_ms) - min(g.start_ms)) / 3600000 FROM segment g JOIN stream s ON s.id = g.stream"
        " GROUP BY s.tier ORDER BY s.tier",
    )
    assert [tier for tier, _ in spans] == [0, 1, 2]
    for (_, hours), (least, most) in zip(spans, ((0, 2), (5, 8), (18, 31)), strict=True):
        assert least <= hours <= most
    assert ask(path, "SELECT count(DISTINCT day) FROM daily")[0][0] in {1, 2}
    assert ask(path, "SELECT count(*) FROM guests") == [(1,)]


def test_of_the_budget_ticks_go_first_then_five_minutes_then_hours(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    Writer(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    for tier in (2, 0, 1):
        connection.execute("INSERT INTO stream (id, host, collect, tier) VALUES (?, 'h', 'c', ?)", (tier + 1, tier))
        for number in (1, 2):
            row = (10 * tier + number, tier + 1, 100 * number - tier)
            connection.execute("INSERT INTO segment VALUES (?1, ?2, 0, 1, 1, ?3, ?3, '', 1, 1, x'')", row)
    bounded = retention.Retention(connection, Bounds(max_bytes=1))
    gone = []
    while bounded.step():
        gone = [segment for (segment,) in connection.execute("SELECT segment FROM doomed ORDER BY rowid")]
        (newest,) = connection.execute("SELECT count(*) FROM segment").fetchone()
        assert len(gone) + newest == 6
        found = connection.execute("SELECT g.id FROM segment g JOIN stream s ON s.id = g.stream ORDER BY tier, g.id")
        left = [segment for (segment,) in found]
        assert left == [1, 2, 11, 12, 21, 22][len(gone) :]
    connection.close()
    assert len(gone) == 6


def test_a_clock_that_jumps_ahead_takes_one_segment_at_a_time(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "EVERY_S", 3_600.0)
    write(40, Bounds())
    path = write(SLICE + 1, Bounds(), from_tick=1_000_000)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE rolled SET hour_from = 1 << 40")
    looking = retention.Retention(connection, Bounds(raw_s=3_600.0))
    ((before,),) = ask(path, "SELECT count(*) FROM segment")
    assert [looking.step(), looking.step()] == [True, False], "the next look is an hour away"
    assert ask(path, "SELECT count(*) FROM segment") == [(before - 1,)]
    connection.close()


def test_more_than_fits_goes_however_young(write: Callable[..., Path]) -> None:
    bound = 256 * 1024
    path = write(300, Bounds(max_bytes=bound), extra=200)
    ((first, last, _),) = ask(path, TICKS)
    assert first > TIME_MS
    assert last == TIME_MS + 299 * SECOND_MS
    pages, free = (ask(path, f"PRAGMA {pragma}")[0][0] for pragma in ("page_count", "freelist_count"))
    assert (pages - free) * 4096 < 2 * bound


def test_free_pages_are_given_back_but_for_a_few(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "SPARE_PAGES", 8)
    path = write(200, Bounds(), extra=200)
    (before,) = ask(path, "PRAGMA page_count")[0]
    write(2 * SLICE, Bounds(max_bytes=64 * 1024), extra=200, from_tick=200)
    (after,) = ask(path, "PRAGMA page_count")[0]
    (free,) = ask(path, "PRAGMA freelist_count")[0]
    assert after < before / 2
    assert free <= max(8, after // retention.SPARE_SHARE)


def test_a_file_that_cannot_shrink_is_left_as_it_is(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "old.db")
    connection.execute("CREATE TABLE x (y)")
    assert not retention.Shrinking(connection).step()
    connection.close()
