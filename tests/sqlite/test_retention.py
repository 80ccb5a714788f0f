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

    def write(ticks: int, bounds: Bounds, *, extra: int = 0, from_tick: int = 0) -> Path:
        path = tmp_path / "history.db"
        writers.append(Writer(path, bounds))
        for tick in range(from_tick, from_tick + ticks):
            noise = {f"x.{i}.sum": int.from_bytes(os.urandom(7), "big") for i in range(extra)}
            writers[-1].write([tick_of(TIME_MS + tick * SECOND_MS, noise)])
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
    path = write(41, Bounds(raw_s=12.0))
    ((first, last, count),) = ask(path, TICKS)
    newest_sealed = TIME_MS + 39 * SECOND_MS
    assert last == TIME_MS + 40 * SECOND_MS
    assert newest_sealed - 12 * SECOND_MS - SLICE * SECOND_MS < first <= newest_sealed - 12 * SECOND_MS
    assert count == (last - first) // SECOND_MS + 1
    assert ask(path, "SELECT count(*) FROM doomed") == [(0,)]
    assert ask(path, "SELECT count(*) FROM chunk c WHERE c.id >> 26 NOT IN (SELECT id FROM segment)") == [(0,)]


def test_a_clock_that_jumps_ahead_takes_one_segment_at_a_time(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "EVERY_S", 3_600.0)
    write(40, Bounds())
    path = write(SLICE + 1, Bounds(), from_tick=1_000_000)
    connection = sqlite3.connect(path, isolation_level=None)
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
