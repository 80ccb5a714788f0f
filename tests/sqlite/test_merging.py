"""Merging: which segments are due, and that what is merged is what it was made of."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest
from msgspec.structs import replace

from domstat.model import Partial, Record, Value
from domstat_sinks.sqlite import schema
from domstat_sinks.sqlite.heads.row import DamagedError, Words
from domstat_sinks.sqlite.keeping import merging, sealing
from domstat_sinks.sqlite.keeping.merging import Level, Merging, due
from domstat_sinks.sqlite.keeping.sealing import DAY_MS
from domstat_sinks.sqlite.packed.directory import Directory
from domstat_sinks.sqlite.packed.prediction import predict
from domstat_sinks.sqlite.packed.segments import Segments

from .conftest import History
from .sealings import (
    at_ms,
    count,
    exported,
    guest,
    levels,
    make_small,
    numbers,
    query,
    readable,
    rest,
    said,
    same_sealed_or_not,
    sealed_and_plain,
    spoil,
    steady,
    step_until,
    steps,
    tick,
    times,
    with_params,
    write_alone,
    write_each,
    write_plain,
    writer_of,
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


# Which are due.


@pytest.fixture
def table() -> Iterator[sqlite3.Connection]:
    """A table of segments, without what is in them."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(
            "CREATE TABLE segment (id INTEGER PRIMARY KEY, stream, level, first_id, last_id, start_ms, ticks)"
        )
        yield connection


def fill(table: sqlite3.Connection, *rows: tuple[int, int, int], stream: int = 1) -> None:
    """Add segments, one after the other: (level, start_ms, ticks) of each."""
    for level, start_ms, ticks in rows:
        (last,) = table.execute("SELECT ifnull(max(last_id), 0) FROM segment").fetchone()
        row = (stream, level, last + 1, last + ticks, start_ms, ticks)
        table.execute("INSERT INTO segment VALUES (NULL, ?, ?, ?, ?, ?, ?)", row)


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([], None),
        ([(0, 0, 60)], None),
        ([(0, 0, 60), (0, 500, 60)], None),
        ([(0, 0, 60), (0, 500, 60), (0, 1000, 60)], (1, [1, 2])),
        ([(0, 0, 60), (0, 1000, 60), (0, 1500, 60), (0, 2000, 60)], (1, [2, 3])),
        ([(0, 0, 200), (0, 100, 200), (0, 200, 9)], (1, [1, 2])),
        ([(0, 0, 200), (0, 100, 200)], (1, [1, 2])),
        ([(0, 0, 500), (0, 100, 500)], (2, [1, 2])),
        ([(1, 0, 120), (0, 1000, 60), (0, 1500, 60)], None),
        ([(1, 0, 120), (0, 1000, 60), (0, 2000, 60)], None),
        ([(1, 0, 120), (0, 1000, 60), (0, 10_000, 60)], (2, [1, 2])),
        ([(2, 0, 120), (1, 10_000, 60), (1, 11_000, 60), (0, 20_000, 60)], (2, [2, 3])),
        ([(1, 0, 500), (1, 100, 500)], (2, [1, 2])),
        ([(0, 5000, 60), (0, 0, 60), (0, 5100, 60)], None),
    ],
    ids=str,
)
def test_a_run_of_one_period_is_due_when_no_more_belong_to_it(
    table: sqlite3.Connection,
    monkeypatch: pytest.MonkeyPatch,
    rows: list[tuple[int, int, int]],
    found: tuple[int, list[int]] | None,
) -> None:
    monkeypatch.setattr(merging, "LEVELS", {1: Level(1000, 300), 2: Level(10_000, 900)})
    fill(table, *rows)
    assert due(table, 1) == found
    assert due(table, 2) is None


def test_another_streams_segments_are_another_run(table: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "LEVELS", {1: Level(1000, 300)})
    fill(table, (0, 0, 60))
    fill(table, (0, 0, 60), stream=2)
    fill(table, (0, 500, 60))
    fill(table, (0, 1000, 60), stream=2)
    assert due(table, 1) is None
    fill(table, (0, 1000, 60))
    assert due(table, 1) == (1, [1, 3])
    assert due(table, 2) is None


def test_months_of_hours_become_a_third_of_a_year(table: sqlite3.Connection) -> None:
    fill(table, *[(2, i * 30 * DAY_MS, 720) for i in range(9)])
    assert due(table, 1, tier=2) == (3, [1, 2, 3, 4])


def test_segments_of_minutes_become_those_of_hours_and_of_a_day(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "LEVELS", {1: Level(3_600_000, 1024), 2: Level(DAY_MS, 8640)})
    minute = 60_000
    start = at_ms(0) // DAY_MS * DAY_MS + DAY_MS - 180 * minute
    write_each(history, (tick(i, guest(cpu_time=i), time_ms=start + 3 * minute * i) for i in range(66)))
    found = query(history, "SELECT level, ticks FROM segment WHERE stream = 1 ORDER BY first_id")
    assert found == [(2, 60), (0, 5)]
    assert times(exported(history.reader())) == [start + 3 * minute * i for i in range(66)]


# What comes of it.


def test_a_merged_segment_has_the_ticks_breaks_and_samples_of_those_it_was_made_of(history: History) -> None:
    falling = [tick(number, guest(cpu_time=number % 7, id=1 + number // 8)) for number in range(11)]
    write_each(history, falling[:10])
    write_alone(history, falling[10])
    step_until(history, lambda: len(levels(history)) == 2)
    read = Segments(history.reader())
    before = [read.directory(segment) for (segment,) in query(history, "SELECT id FROM segment ORDER BY first_id")]
    samples = count(history, "SELECT sum(samples) FROM segment")
    rest(history)
    assert query(history, "SELECT level, first_id, last_id, start_ms, end_ms, ticks, samples FROM segment") == [
        (1, 1, 10, at_ms(0), at_ms(9), 10, samples)
    ]
    merged = Segments(history.reader()).directory(query(history, "SELECT id FROM segment")[0][0])
    assert merged.ids.tolist() == [*range(1, 11)]
    assert not merged.lead.any()
    for directory in before:
        own = directory.own
        places = [merged.ids.tolist().index(head_id) for head_id in directory.ids[own].tolist()]
        assert merged.time_ms[places].tolist() == directory.time_ms[own].tolist()
    fallen = {key: [merged.ids[tick] for tick in ticks] for key, ticks in merged.breaks.items()}
    assert fallen == {(0, -1): [1], (1, -1): [9], (0, 0): [8]}


def test_the_first_ones_leads_stay_and_no_others(history: History) -> None:
    write_each(history, (steady(number, "a") for number in range(23)))
    write_each(history, (steady(number, "a") for number in range(23, 43)))
    second = query(history, "SELECT id FROM segment ORDER BY first_id")[1][0]
    directory = Segments(history.reader()).directory(second)
    assert directory.lead.tolist() == [1] + [0] * 20
    assert directory.time_ms.tolist() == [at_ms(number) for number in range(19, 40)]


def test_guests_fields_and_shapes_that_only_some_have_are_merged(make_history: Callable[[], History]) -> None:
    def params(number: int) -> dict[str, Value]:
        its: dict[str, Value] = {"cpu.time": number, f"net.rx.bytes[m{number // 6}]": number}
        return its | ({"odd": number} if number // 10 % 2 else {})

    batches = []
    for number in range(43):
        others = [guest(f"g{number // 4}", cpu_time=number), guest("z", state_state=number)]
        partial = Partial(("net",)) if number % 11 == 3 else None
        batches.append(tick(number, *others, with_params(replace(guest(), partial=partial), params(number))))
    same_sealed_or_not(make_history, batches)


def test_a_day_of_hours_whose_cpu_times_were_predicted_is_merged(
    make_history: Callable[[], History], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch, slice_ticks=15, levels=(60, 120))
    monkeypatch.setattr(merging, "LAST", 1)  # so that hours have predictions in them
    noise = random.Random(1)
    user = system = 0
    batches = []
    for number in range(140):
        user, system = user + noise.randrange(1 << 20), system + noise.randrange(1 << 20)
        batches.append(tick(number, guest(cpu_time=user + system, cpu_user=user, cpu_system=system)))
    sealed, plain = sealed_and_plain(make_history, batches[:100])
    (field,) = query(sealed, "SELECT id FROM field WHERE name = 'cpu.system'")[0]
    (hour,) = query(sealed, "SELECT id FROM segment WHERE level = 1")[0]
    assert Segments(sealed.reader()).chunk(hour, field, 0).predicted(0)
    write_each(sealed, batches[100:])
    write_plain(plain, batches[100:])
    assert said(sealed) == said(plain)
    assert query(sealed, "SELECT ticks FROM segment WHERE level = 2") == [(120,)]


def test_what_others_are_predicted_from_is_held_for_the_ticks_that_it_has(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch, slice_ticks=15, levels=(60, 120))
    held: list[tuple[int, int]] = []

    def spy(parts: Sequence[Words]) -> Words:
        held.extend((part.nbytes if part.base is None else part.base.nbytes, 8 * len(part)) for part in parts)
        return predict(parts)

    monkeypatch.setattr(merging, "predict", spy)

    def passing(number: int) -> Record:  # a guest that comes anew every four ticks
        return guest("b", id=number // 4, cpu_time=3 * number, cpu_user=2 * number, cpu_system=number)

    write_each(history, (tick(number, guest(cpu_time=number), passing(number)) for number in range(140)))
    assert {size for _, size in held} >= {8 * 4}
    assert all(its == size for its, size in held)


def test_of_what_is_merged_nothing_is_remembered_that_is_not_needed_twice(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies beside a day's chunks as small objects, thousands of them, keeps memory from being given back."""
    directories: list[Directory] = []

    class Noted(merging._Input):
        def __init__(self, segment: int, directory: Directory) -> None:
            super().__init__(segment, directory)
            directories.append(directory)

    def publish(*into: Any) -> None:
        breaks = into[-1].breaks
        assert len({id(ticks) for ticks in breaks.values()}) < len(breaks)
        sealing.publish(*into)

    monkeypatch.setattr(merging, "_Input", Noted)
    monkeypatch.setattr(merging, "publish", publish)

    def passing(number: int) -> Record:  # a guest that comes anew every four ticks, at times with more of it
        more: dict[str, Value] = {"odd": number} if number // 4 % 2 else {}
        return with_params(guest("b", id=number // 4), {"cpu.time": 9 - number % 4, "cpu.user": 9 - number % 4} | more)

    write_each(history, (tick(number, guest(cpu_time=number), passing(number)) for number in range(60)))
    assert directories
    known = ("_series", "_places", "extras", "breaks")
    assert [name for of in directories for name in known if vars(of).get(name)] == []


def test_what_a_counter_counted_leaves_out_what_was_another_incarnations(history: History) -> None:
    batches = [tick(number, guest(id=(1, 2, 1)[number // 3 % 3], cpu_time=100 * number)) for number in range(21)]
    write_each(history, batches)
    (segment, *_) = query(history, "SELECT id FROM segment")[0]
    read = Segments(history.reader())
    assert levels(history) == [merging.LAST]
    (field,) = query(history, "SELECT id FROM field WHERE name = 'cpu.time'")[0]
    # Of twenty ticks, runs of each: 0-2, 6-11, 15-19 and 3-5, 12-14.
    assert [read.chunk(segment, field, 0).header(place).increment for place in range(2)] == [1100, 400]


def test_inputs_are_doomed_when_the_merged_one_is_published_and_not_before(history: History) -> None:
    write_each(history, numbers(0, 10))
    write_alone(history, steady(10))
    seen = set()
    for _ in steps(history):
        seen.add((tuple(levels(history)), count(history, "SELECT count(*) FROM doomed")))
    assert ((0, 0), 1) in seen, "on its way"
    assert ((1,), 2) in seen, "published, and its inputs not swept away yet"
    assert levels(history) == [1]
    assert count(history, "SELECT count(*) FROM doomed") == 0


def test_while_a_field_is_merged_no_chunks_of_others_are_kept_open(history: History) -> None:
    fields = ("cpu.time", "cpu.user", "cpu.system", "balloon.rss", "vcpu.current")
    write_each(history, (tick(number, with_params(guest(), dict.fromkeys(fields, number))) for number in range(10)))
    write_alone(history, steady(10))
    open_at_once = set()
    for _ in steps(history):
        work = writer_of(history)._upkeep._work
        if isinstance(work, Merging):
            open_at_once.add(frozenset(number >> schema._GROUP_BITS & 0xFFFF for number in work._read._chunks))
    assert max(map(len, open_at_once)) == 3, "cpu.system, and the two fields that it is predicted from"


def test_which_ticks_layouts_are_in_is_remembered_for_a_field_and_no_longer(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch, slice_ticks=15, levels=(60, 120))
    forgot: list[tuple[Directory, int]] = []
    forget = Directory.forget_ticks

    def noted(directory: Directory) -> None:
        forgot.append((directory, len(directory._ticks_in)))
        forget(directory)
        assert not directory._ticks_in

    monkeypatch.setattr(Directory, "forget_ticks", noted)

    def passing(number: int) -> Record:
        return guest("b", id=number // 4, cpu_time=number, cpu_user=number)

    write_each(history, (tick(number, guest(cpu_time=number), passing(number)) for number in range(70)))
    assert set(Counter(id(directory) for directory, _ in forgot).values()) == {2}, "as often as there are fields"
    assert any(remembered for _, remembered in forgot)


def test_what_is_merged_holds_columns_once_and_stamps_not_beside_the_merged_ones(history: History) -> None:
    write_each(history, numbers(0, 10))
    write_alone(history, steady(10))
    looked = 0
    for _ in steps(history):
        work = writer_of(history)._upkeep._work
        if isinstance(work, Merging) and hasattr(work, "_directory"):
            looked += 1
            directories = [item.directory for item in work._inputs]
            for all_ in (
                [column for of in directories for column in of.columns],
                [m for of in directories for m in of.members],
            ):
                assert len({id(one) for one in all_}) == len(set(all_)) < len(all_)
            left = [
                (len(of.time_ms), len(of.boot_ns), len(of.call_ns), len(of.lead), len(of.boot)) for of in directories
            ]
            assert set(left) == {(0,) * 5}
    assert looked


# Damage.


@pytest.mark.parametrize(("table_", "column"), [("chunk", "blob"), ("segment", "directory")])
def test_with_a_damaged_input_all_stay_as_they_are_and_the_next_are_merged(
    history: History, table_: str, column: str
) -> None:
    write_each(history, numbers(0, 10))
    spoil(history, table_, column, query(history, f"SELECT min(id) FROM {table_}")[0][0], -1)
    write_each(history, numbers(10, 32))
    assert levels(history) == [2, 2, 2, 1], "neither its hour nor its day; the next are"
    found, damaged = readable(history)
    assert len(damaged) == 1
    assert times(found) == [at_ms(number) for number in range(5, 32)]
    assert count(history, "SELECT count(*) FROM doomed") == 0


def test_an_input_that_is_gone_meanwhile_is_no_ones_loss(history: History) -> None:
    write_each(history, numbers(0, 10))
    write_alone(history, steady(10))
    step_until(history, lambda: len(levels(history)) == 2)
    with closing(sqlite3.connect(history.path)) as plain:
        work = Merging(plain, 1, 1, [1, 999])
        with pytest.raises(DamagedError, match="segment 999 is missing"):
            work.step()
