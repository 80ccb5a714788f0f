"""What is too old or too much goes, the oldest first and a segment at a time; the file shrinks again."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from domstat.model import Batch, Domain, Figures, Kind, Record, Stamp
from domstat_sinks.sqlite import connect
from domstat_sinks.sqlite import writer as writer_module
from domstat_sinks.sqlite.keeping import merging, retention, upkeep
from domstat_sinks.sqlite.keeping.retention import Bounds
from domstat_sinks.sqlite.writer import Writer
from heard import Log
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


def ask(path: Path, query: str) -> list[tuple[Any, ...]]:
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


# Days and guests.

HOUR_MS = 3_600_000
DAY_S = 86_400.0


def guest_tick(time_ms: int, *uuids: str, host: str = "h") -> Batch:
    records = tuple(
        Record(
            kind=Kind.GUEST,
            host=host,
            collect="c",
            time_ms=time_ms,
            domain=Domain(uuid, uuid, 1),
            figures=Figures({"balloon.rss": 1024, "cpu.time": time_ms}),
        )
        for uuid in uuids
    )
    return Batch(host=host, collect="c", stamp=Stamp(time_ms, time_ms * 1_000_000, "boot", 0), records=records)


@pytest.fixture
def keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Write ticks an hour apart of given hours, and do all that is due; return the file."""
    monkeypatch.setattr(merging, "TIER_LEVELS", {1: {}, 2: {}})
    path = tmp_path / "history.db"
    writer = Writer(path, Bounds(days_s=DAY_S))

    def keep(hours: range, *uuids: str, host: str = "h") -> Path:
        for hour in hours:
            writer.write([guest_tick(TIME_MS + hour * HOUR_MS, *uuids, host=host)])
        while writer.settle():
            pass
        return path

    yield keep
    writer.close()


def test_a_guest_that_comes_back_after_it_was_forgotten_is_listed_again(keep: Callable[..., Path]) -> None:
    keep(range(20), "a", "b", "c")
    path = keep(range(20, 24 * 5), "b", "c")
    assert ask(path, "SELECT uuid FROM guests ORDER BY 1") == [("b",), ("c",)]
    keep(range(24 * 5, 24 * 8), "a", "b", "c")
    assert ask(path, "SELECT uuid FROM guests ORDER BY 1") == [("a",), ("b",), ("c",)]
    days = ask(path, "SELECT uuid, count(DISTINCT day) FROM daily WHERE field = 'balloon.rss' GROUP BY 1")
    assert [uuid for uuid, count in days if count > 0] == ["a", "b", "c"]


def test_no_guest_gets_the_number_of_one_that_was_forgotten(keep: Callable[..., Path]) -> None:
    keep(range(20), "a", "b", "c")
    path = keep(range(20, 24 * 5), "a")
    before = {number for (number,) in ask(path, "SELECT id FROM guest")}
    keep(range(24 * 5, 24 * 7), "a", "d")
    ((number,),) = ask(path, "SELECT id FROM guest WHERE uuid = 'd'")
    assert number > max(before)


def test_a_hosts_clock_that_is_ahead_takes_no_other_hosts_days(keep: Callable[..., Path]) -> None:
    keep(range(40), "a")
    path = keep(range(24 * 400, 24 * 402), "z", host="ahead")
    own = "SELECT count(DISTINCT day) FROM daily WHERE host = 'h'"
    ((before,),) = ask(path, own)
    assert before > 0
    keep(range(24 * 402, 24 * 405), "z", host="ahead")
    assert ask(path, own) == [(before,)]
    assert ask(path, "SELECT uuid FROM guests WHERE host = 'h'") == [("a",)]
    assert ask(path, "SELECT count(DISTINCT day) <= 2 FROM daily WHERE host = 'ahead'") == [(1,)]


# No room.


def test_what_is_too_much_goes_although_there_is_no_room_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "UPKEEP_AGAIN_S", 0.0)
    path, log = tmp_path / "history.db", Log()
    writer = Writer(path, Bounds(), log)

    def write(start: int, stop: int) -> int:
        for tick in range(start, stop):
            noise = {f"x.{i}.sum": int.from_bytes(os.urandom(7), "big") for i in range(200)}
            try:
                writer.write([tick_of(TIME_MS + tick * SECOND_MS, noise)])
            except sqlite3.OperationalError:
                return tick
        return stop

    write(0, 150)
    (pages,) = writer._connection.execute("PRAGMA page_count").fetchone()
    writer._connection.execute(f"PRAGMA max_page_count = {pages}")
    full = write(150, 1_000)
    assert full < 1_000, "it is full"
    writer._upkeep._bounds = Bounds(max_bytes=pages * 2048)
    at = full
    for _ in range(20):
        at = write(at, 600)
    writer.close()
    assert at == 600, "there is room again"
    ((first, last, count),) = ask(path, TICKS)
    assert (last, count) == (TIME_MS + 599 * SECOND_MS, (last - first) // SECOND_MS + 1)
    assert first > TIME_MS
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]
