"""Tiers say what the samples come to, each counted once, whatever happened to the writer."""

from __future__ import annotations

import random
import sqlite3
import weakref
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domstat.model import Stamp
from domstat_sinks.sqlite import schema, writer
from domstat_sinks.sqlite.heads.rows import LayoutRead
from domstat_sinks.sqlite.keeping import merging, sealing, upkeep
from domstat_sinks.sqlite.packed import slices
from domstat_sinks.sqlite.packed.segments import Segments
from domstat_sinks.sqlite.rollups import roller
from domstat_sinks.sqlite.rollups.rollup import HOUR_MS
from domstat_sinks.sqlite.writer import Writer
from heard import Log

from .conftest import History
from .histories import Tick
from .oddities import changes_type, differences, odd_history
from .sealings import guest
from .tierdata import WIDTHS, assert_same, batches, expected, some_history, stored, tail

SLICE = 5
TIERS = (1, 2)
PROPERTY = settings(
    max_examples=12,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a seed cannot be made smaller
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of five ticks, segments merged by ten and twenty; buckets sealed every half an hour and every day."""
    monkeypatch.setattr(upkeep, "SLICE_TICKS", SLICE)
    monkeypatch.setattr(upkeep, "SLICE_MS", 1)
    monkeypatch.setattr(upkeep, "STEP_S", 60.0)
    monkeypatch.setattr(upkeep, "TIER_SLICES_MS", {1: 1_800_000, 2: sealing.DAY_MS})
    monkeypatch.setattr(writer, "UPKEEP_AGAIN_S", 0.0)
    monkeypatch.setattr(schema, "OPEN_PRAGMAS", schema.OPEN_PRAGMAS.replace("= FULL", "= OFF"))  # waits for no disk
    levels = {1: merging.Level(sealing.DAY_MS, 10), 2: merging.Level(sealing.DAY_MS, 20)}
    monkeypatch.setattr(merging, "LEVELS", levels)


@pytest.fixture(params=[slices.CHANGES_MAX, -1], ids=["few changes", "restless"])
def restless(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices after which all is remembered, or nothing but what is open, packed."""
    monkeypatch.setattr(slices, "CHANGES_MAX", request.param)


def is_in_order(ticks: Sequence[Tick]) -> bool:
    return all(one.stamp.time_ms <= other.stamp.time_ms for one, other in pairwise(ticks))


def write(to: Writer, ticks: Sequence[Tick]) -> Writer:
    for batch in batches(ticks):
        to.write([batch])
    return to


def last_ms(ticks: Sequence[Tick]) -> int:
    return max(tick.stamp.time_ms for tick in ticks)


def finish(to: Writer, ticks: Sequence[Tick]) -> None:
    write(to, tail(ticks, 2 * SLICE + 1))
    while to._upkeep._has_work():
        to._upkeep.run()


def finish_and_compare(to: Writer, path: Path, ticks: Sequence[Tick]) -> None:
    """Finish, hold all tiers to what the ticks come to, and close."""
    finish(to, ticks)
    for tier in TIERS:
        assert_same(stored(path, tier), expected(ticks, tier), with_last=is_in_order(ticks))
    to.close()


@PROPERTY
@given(seed=st.integers(0, 2**32), step_ms=st.sampled_from([40_000, 200_000]), is_restless=st.booleans())
def test_finished_buckets_are_what_the_ticks_come_to_one_by_one(
    make_history: Callable[[], History], seed: int, step_ms: int, is_restless: bool
) -> None:
    history = make_history()
    ticks = some_history(seed, length=40, step_ms=step_ms)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "CHANGES_MAX", -1 if is_restless else slices.CHANGES_MAX)
        to = write(Writer(history.path), ticks)
        finish(to, ticks)
    assert_same(stored(history.path, 1), expected(ticks, 1))
    assert_same(stored(history.path, 2), expected(ticks, 2), with_last=is_in_order(ticks))
    to.close()


@settings(PROPERTY, max_examples=settings().max_examples // 10)
@given(seed=st.integers(0, 2**32))
def test_odd_values_at_odd_times_come_to_what_they_should_and_stop_nothing(
    make_history: Callable[[], History], seed: int
) -> None:
    history, ticks, log = make_history(), odd_history(seed), Log()
    to = write(Writer(history.path, log=log), ticks)
    finish(to, ticks)
    write(to, tail(ticks, 2 * SLICE + 1, later_ms=40 * sealing.DAY_MS))
    while to.settle():
        pass
    to.close()
    assert log.events("warning") == []
    assert history.ask("SELECT count(*) FROM damaged") == [(0,)]
    for tier, width_ms in [] if changes_type(ticks) else WIDTHS.items():
        found = {at: its for at, its in stored(history.path, tier).items() if at[0] <= last_ms(ticks)}
        assert differences(found, ticks, width_ms, with_last=is_in_order(ticks)) == []


def test_a_bucket_of_very_many_ticks_is_one_bucket(tmp_path: Path) -> None:
    path, (first,) = tmp_path / "history.db", some_history(5, length=1, step_ms=20)
    start_ms, count = first.stamp.time_ms // HOUR_MS * HOUR_MS, 30_000
    ticks = [
        Tick(
            replace(first.stamp, time_ms=start_ms + 10 * i, boot_ns=10**9 + 10**7 * i),
            (guest(cpu_time=1_000 * i, balloon_rss=i % 977),),
        )
        for i in range(count)
    ]
    to = Writer(path)
    to.write(batches(ticks))
    finish(to, ticks)
    for tier in TIERS:
        ((_, its),) = [of for of in stored(path, tier).items() if of[0][0] == start_ms]
        assert its["balloon.rss"]["count"] == count
        assert (its["cpu.time"]["increment"], its["cpu.time"]["covered"]) == (1_000 * (count - 1), 10**7 * (count - 1))
        assert (its["balloon.rss"]["min"], its["balloon.rss"]["max"]) == (0, 976)
    to.close()


@pytest.mark.parametrize("start_ms", [0, 10**17, -(10**15), 253_402_300_790_000])
def test_ticks_of_a_time_that_no_calendar_has_are_sealed_and_rolled_up(tmp_path: Path, start_ms: int) -> None:
    path, log = tmp_path / "history.db", Log()
    ticks = [
        Tick(Stamp(start_ms + 900_000 * i, 10**9 * (i + 1), "1", 0), (guest(cpu_time=1_000 * i),)) for i in range(40)
    ]
    to = write(Writer(path, log=log), ticks)
    while to.settle():
        pass
    to.close()
    assert log.events("warning") == []
    connection = sqlite3.connect(path)
    found = connection.execute(
        "SELECT s.tier, count(*) FROM stream s JOIN head h ON h.stream = s.id AND h.id > s.sealed GROUP BY s.tier"
        " UNION ALL SELECT s.tier, sum(ticks) FROM stream s JOIN segment g ON g.stream = s.id GROUP BY s.tier"
    ).fetchall()
    connection.close()
    counts = [sum(count for its, count in found if its == tier) for tier in (0, *TIERS)]
    assert counts[0] == len(ticks)
    assert counts[1:] >= [34, 7]


@pytest.mark.parametrize("crash", range(3, 40, 3))
@pytest.mark.parametrize("step_s", [0.0, 60.0])
def test_a_writer_that_died_counts_nothing_twice_and_misses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash: int, step_s: float
) -> None:
    monkeypatch.setattr(upkeep, "STEP_S", step_s)
    path, ticks = tmp_path / "history.db", some_history(crash, length=40, step_ms=100_000)
    write(Writer(path), ticks[:crash])  # and is never heard of again
    to = write(Writer(path), ticks[crash:])
    finish(to, ticks)
    assert_same(stored(path, 1), expected(ticks, 1))
    assert_same(stored(path, 2), expected(ticks, 2), with_last=is_in_order(ticks))
    to.close()


def test_of_the_segments_that_an_open_hour_is_made_again_of_one_is_held_beside_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, ticks = tmp_path / "history.db", some_history(3, length=46, step_ms=40_000)
    write(Writer(path), ticks)  # and is never heard of again
    held: list[weakref.ref[Segments]] = []
    at_most = 0

    class Noted(Segments):
        def __init__(self, connection: sqlite3.Connection) -> None:
            nonlocal at_most
            super().__init__(connection)
            held.append(weakref.ref(self))
            at_most = max(at_most, sum(each() is not None for each in held))

    monkeypatch.setattr(roller, "Segments", Noted)
    to = Writer(path)
    finish(to, ticks)
    to.close()
    assert len(held) > 2
    assert at_most == 2


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("step_s", [0.0, 60.0])
@pytest.mark.parametrize("seed", range(6))
def test_a_writer_that_was_closed_goes_on_where_it_was_and_reads_no_tick_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, step_s: float
) -> None:
    monkeypatch.setattr(upkeep, "STEP_S", step_s)
    monkeypatch.setattr(roller.Rolling, "_restore_from", never)
    path, ticks = tmp_path / "history.db", some_history(seed, length=60, step_ms=100_000)
    chance = random.Random(seed)
    at = 0
    while at < len(ticks):
        upto = at + chance.randrange(1, 3 * SLICE)
        write(Writer(path), ticks[at:upto]).close()  # in the midst of a slice where steps are short
        at = upto
    to = Writer(path)
    finish_and_compare(to, path, ticks)


def never(*_given: object) -> None:
    raise AssertionError("the open hour was made again")


@pytest.mark.usefixtures("restless")
def test_writers_that_died_or_were_closed_in_turn_count_right(tmp_path: Path) -> None:
    path, ticks = tmp_path / "history.db", some_history(9, length=120, step_ms=100_000)
    chance = random.Random(9)
    at = 0
    while at < len(ticks):
        upto = at + chance.randrange(1, 2 * SLICE)
        to = write(Writer(path), ticks[at:upto])
        if chance.random() < 0.5:
            to.close()
        at = upto
    to = Writer(path)
    finish_and_compare(to, path, ticks)


@pytest.mark.usefixtures("restless")
def test_a_writer_that_was_closed_in_the_midst_of_a_slice_goes_on_from_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, ticks = tmp_path / "history.db", some_history(4, length=60, step_ms=100_000)
    to = write(Writer(path), ticks[: 6 * SLICE + 1])
    monkeypatch.setattr(upkeep, "STEP_S", 0.0)
    write(to, ticks[6 * SLICE + 1 : 7 * SLICE + 4])
    assert isinstance(to._upkeep._work, sealing.Sealing)
    to.close()
    monkeypatch.setattr(upkeep, "STEP_S", 60.0)
    monkeypatch.setattr(roller.Rolling, "_restore_from", never)
    to = write(Writer(path), ticks[7 * SLICE + 4 :])
    finish_and_compare(to, path, ticks)


def test_what_was_stored_after_another_tick_is_not_gone_on_with(tmp_path: Path) -> None:
    path, ticks = tmp_path / "history.db", some_history(4, length=60, step_ms=100_000)
    write(Writer(path), ticks[:22]).close()
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT * FROM unfinished").fetchall()
    write(Writer(path), ticks[22:33]).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert rows != connection.execute("SELECT * FROM unfinished").fetchall()
        connection.executemany("INSERT OR REPLACE INTO unfinished VALUES (?, ?, ?)", rows)
    to = write(Writer(path), ticks[33:])
    finish_and_compare(to, path, ticks)


@pytest.mark.parametrize("change", ["blob = zeroblob(9)", "blob = substr(blob, 2)"])
def test_what_was_stored_and_is_damaged_is_made_again(tmp_path: Path, change: str) -> None:
    path, ticks = tmp_path / "history.db", some_history(4, length=60, step_ms=100_000)
    write(Writer(path), ticks[:33]).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(f"UPDATE unfinished SET {change}").rowcount > 0
    to = write(Writer(path), ticks[33:])
    finish_and_compare(to, path, ticks)


def test_what_cannot_be_stored_at_the_end_keeps_no_file_from_being_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, ticks = tmp_path / "history.db", some_history(4, length=60, step_ms=100_000)
    log = Log()
    to = write(Writer(path, log=log), ticks[:33])
    monkeypatch.setattr(roller, "encode_held", never)
    to.close()
    assert log.events("warning") == ["history_open_hour_not_stored"]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM unfinished").fetchone() == (0,)
    assert not path.with_name("history.db-wal").exists() or not path.with_name("history.db-wal").stat().st_size
    to = write(Writer(path), ticks[33:])
    finish_and_compare(to, path, ticks)


def test_a_file_of_before_there_was_a_place_for_it_gets_one(tmp_path: Path) -> None:
    path, ticks = tmp_path / "history.db", some_history(4, length=60, step_ms=100_000)
    write(Writer(path), ticks[:33]).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DROP TABLE unfinished")
    to = write(Writer(path), ticks[33:])
    finish_and_compare(to, path, ticks)


def test_between_restless_slices_what_is_open_is_stored_and_nothing_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, ticks = tmp_path / "history.db", some_history(4, length=60, step_ms=100_000)
    monkeypatch.setattr(slices, "CHANGES_MAX", -1)
    to = write(Writer(path), ticks[:33])
    own = to._upkeep._roller
    assert own._streams == {}
    assert own._forms == {}
    assert own.rows._layouts == {}
    assert not own._is_busy
    assert own._held == {}
    with closing(sqlite3.connect(path)) as connection:
        ((sealed,),) = connection.execute("SELECT sealed FROM stream WHERE tier = 0").fetchall()
        stored = connection.execute("SELECT * FROM unfinished").fetchall()
    assert [row[1] for row in stored] == [sealed]
    monkeypatch.setattr(roller, "encode_held", never)
    to.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM unfinished").fetchall() == stored


def test_a_writer_that_dies_after_a_restless_slice_need_not_make_the_open_hour_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, ticks = tmp_path / "history.db", some_history(4, length=60, step_ms=100_000)
    monkeypatch.setattr(slices, "CHANGES_MAX", -1)
    write(Writer(path), ticks[:33])  # and is never heard of again
    monkeypatch.setattr(roller.Rolling, "_restore_from", never)
    to = write(Writer(path), ticks[33:])
    finish_and_compare(to, path, ticks)


def test_what_is_stored_is_not_held_as_well_while_a_slice_goes_on_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "CHANGES_MAX", -1)
    step, held = roller.Rolling.step, []

    def watched(self: roller.Rolling) -> None:
        step(self)
        held.append((self._sealed, len(self._roller._held)))

    monkeypatch.setattr(roller.Rolling, "step", watched)
    write(Writer(tmp_path / "history.db"), some_history(4, length=60, step_ms=100_000)).close()
    first = held[0][0]
    assert {count for sealed, count in held if sealed == first} == {1}
    assert {count for sealed, count in held if sealed != first} == {0}


def test_of_a_restless_slice_no_more_layouts_are_prepared_than_are_still_to_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "CHANGES_MAX", -1)
    step, beyond = roller.Rolling.step, []

    def watched(self: roller.Rolling) -> None:
        at_hand = self._slice.layout_reads[self._todo[-1].layout]
        step(self)
        to_come = {self._slice.layout_reads[stretch.layout] for stretch in self._todo}
        prepared = {key[0] for key in self._known._parts if isinstance(key[0], LayoutRead)}
        beyond.append(len(prepared - to_come - {at_hand}))

    monkeypatch.setattr(roller.Rolling, "step", watched)
    write(Writer(tmp_path / "history.db"), some_history(4, length=60, step_ms=100_000)).close()
    assert len(beyond) > 10
    assert set(beyond) == {0}


def test_what_is_packed_and_cannot_be_opened_is_made_again_of_its_ticks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, ticks = tmp_path / "history.db", some_history(4, length=60, step_ms=100_000)
    monkeypatch.setattr(slices, "CHANGES_MAX", -1)
    monkeypatch.setattr(roller, "encode_held", lambda _held: b"more than a blob may come to")
    to = write(Writer(path), ticks)
    finish_and_compare(to, path, ticks)


def test_a_writer_that_died_over_and_over_counts_right(tmp_path: Path) -> None:
    path, ticks = tmp_path / "history.db", some_history(8, length=60, step_ms=100_000)
    chance = random.Random(8)
    at = 0
    while at < len(ticks):
        upto = at + chance.randrange(1, 2 * SLICE)
        to = write(Writer(path), ticks[at:upto])
        at = upto
    finish_and_compare(to, path, ticks)


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("where", ["publish", "finish", "step"])
def test_a_step_that_fails_leaves_nothing_behind_and_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    path, ticks = tmp_path / "history.db", some_history(3, length=40, step_ms=100_000)
    to = Writer(path)
    done = getattr(roller.Rolling, where)
    calls = 0

    def fail_now_and_then(self: roller.Rolling, *given: object) -> object:
        nonlocal calls
        calls += 1
        found = done(self, *given)
        if calls % 3 == 2:
            raise sqlite3.OperationalError("the disk is full")
        return found

    monkeypatch.setattr(roller.Rolling, where, fail_now_and_then)
    write(to, ticks)
    monkeypatch.setattr(roller.Rolling, where, done)
    finish_and_compare(to, path, ticks)


def test_older_ticks_are_added_to_buckets_that_were_finished(tmp_path: Path) -> None:
    path, ticks = tmp_path / "history.db", some_history(1, length=60, step_ms=100_000)
    hour_ms = 3_600_000
    older = [
        replace(tick, stamp=replace(tick.stamp, time_ms=tick.stamp.time_ms - hour_ms - 1_234, boot_id="9"))
        for tick in ticks
    ]
    to = write(write(Writer(path), ticks), older)
    finish(to, ticks)
    for tier in TIERS:
        assert_same(stored(path, tier), expected([*ticks, *older], tier), with_last=False)
    to.close()


def test_ticks_of_20_ms_end_slices_within_buckets(tmp_path: Path) -> None:
    path, ticks = tmp_path / "history.db", some_history(5, length=120, step_ms=20)
    start_ms = ticks[0].stamp.time_ms // 300_000 * 300_000 + 299_000
    moved = [replace(tick, stamp=replace(tick.stamp, time_ms=start_ms + 20 * i)) for i, tick in enumerate(ticks)]
    to = write(Writer(path), moved)
    finish(to, moved)
    for tier in TIERS:
        assert_same(stored(path, tier), expected(moved, tier))
    to.close()


def test_buckets_are_sealed_and_merged_like_ticks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "TIER_LEVELS", {1: {1: merging.Level(2 * 3_600_000, 512)}})
    path, ticks = tmp_path / "history.db", some_history(3, length=200, step_ms=100_000)
    to = write(Writer(path), ticks)
    finish(to, ticks)
    assert_same(stored(path, 1), expected(ticks, 1))
    found = sqlite3.connect(path).execute(
        "SELECT DISTINCT g.level FROM segment g JOIN stream s ON s.id = g.stream WHERE s.tier = 1 ORDER BY 1"
    )
    assert (1,) in found.fetchall()
    known, own = to._upkeep._known, to._upkeep._numbers.stream(("h", "c"))
    assert {*known._columns, *known._skeletons} <= {own}, "what was made to seal buckets is kept for hours"
    to.close()


def test_samples_and_rates_say_nothing_of_buckets(history: History) -> None:
    ticks = some_history(3, length=40, step_ms=100_000)
    history.write(*batches(ticks))
    history.settle()
    assert history.ask("SELECT count(DISTINCT time_ms) FROM samples") == [(len({t.stamp.time_ms for t in ticks}),)]
    assert history.ask("SELECT count(*) FROM samples WHERE field LIKE '%:%'") == [(0,)]
