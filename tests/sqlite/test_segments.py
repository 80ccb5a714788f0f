"""Segments, read: the very values and rates, by whatever they are asked for, within bounds."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable

import numpy as np
import pytest

from domstat.model import Batch, Value
from domstat_sinks.sqlite.heads.row import DamagedError
from domstat_sinks.sqlite.keeping import merging
from domstat_sinks.sqlite.packed import segments
from domstat_sinks.sqlite.packed.directory import Directory
from domstat_sinks.sqlite.packed.segments import Segments

from .conftest import History
from .sealings import (
    at_ms,
    exported,
    guest,
    levels,
    make_small,
    numbers,
    query,
    rest,
    same_sealed_or_not,
    spoil,
    steady,
    tick,
    with_params,
    write_each,
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


AT = "SELECT field, value FROM samples WHERE time_ms = ?"


def bits(value: object) -> object:
    """Tell a value from every other: a double by its bits, anything else by itself and its type."""
    return struct.pack("<d", value) if isinstance(value, float) else (type(value), value)


ODD: list[Value] = [
    0, 1, -1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 0.0, -0.0, 0.1, 5e-324, 1.7976931348623157e308, math.inf,
    -math.inf, math.nan, 2.0**53 + 2, True, False, "", "text", 'with "quotes", \\ and %s', "ünïcode\n\x01",
]  # fmt: skip


def test_whatever_a_value_is_it_comes_out_as_it_went_in_to_the_last_bit(history: History) -> None:
    chance = random.Random(1)
    every = [{f"odd.{place}": chance.choice(ODD) for place in range(40)} for _ in range(43)]
    write_each(history, (tick(number, with_params(guest(), dict(its))) for number, its in enumerate(every)))
    assert max(levels(history)) == merging.LAST
    for one, its in zip(exported(history.reader()), every, strict=True):
        assert {key: bits(value) for key, value in one.records[0].params.items()} == {
            key: bits(value) for key, value in its.items()
        }


def test_sql_sees_odd_values_as_it_does_in_head_rows(make_history: Callable[[], History]) -> None:
    every = [{f"odd.{place}": value for place, value in enumerate(ODD)} for _ in range(22)]
    history = same_sealed_or_not(
        make_history, [tick(number, with_params(guest(), dict(its))) for number, its in enumerate(every)]
    )
    found = {str(field): value for field, value in history.ask(AT, at_ms(3))}
    assert [found[f"odd.{place}"] for place in (5, 6)] == [str(2**63), str(2**64 - 1)]
    assert found[f"odd.{ODD.index(-math.inf)}"] == -math.inf
    assert found[f"odd.{[*map(str, ODD)].index('nan')}"] is None


def test_every_double_is_read_by_sql_as_it_was_written(history: History) -> None:
    chance = random.Random(3)
    any_bits = (struct.unpack("<d", chance.randbytes(8))[0] for _ in range(3000))
    reals = [*(value for value in any_bits if not math.isnan(value)), *(chance.uniform(-1e6, 1e6) for _ in range(3000))]
    params: dict[str, Value] = {f"odd.{place}": value for place, value in enumerate(reals)}
    write_each(history, (tick(number, with_params(guest(), params)) for number in range(6)))
    assert levels(history) == [0]
    found = {str(field): value for field, value in history.ask(AT, at_ms(2))}
    assert [field for field, value in params.items() if bits(found[field]) != bits(value)] == []


def test_ticks_of_20_ms_are_kept_to_the_millisecond(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch, slice_ticks=60, levels=(500, 1500))
    chance = random.Random(2)
    batches: list[Batch] = []
    time_ms = at_ms(0)
    for number in range(2000):
        time_ms += 20 + chance.choice((0, 0, 0, 1, -1))
        batches.append(tick(number, guest(cpu_time=number * 20_000_000, state_state=1), time_ms=time_ms))
    for start in range(0, len(batches), 100):
        history.write(*batches[start : start + 100])
    rest(history)
    assert merging.LAST in levels(history)
    found = exported(history.reader())
    assert [one.stamp for one in found] == [one.stamp for one in batches]
    assert [one.records[0].params for one in found] == [one.records[0].params for one in batches]


@pytest.mark.parametrize(
    "times_ms",
    [
        [*range(0, 400_000, 10_000), *range(100_000, 500_000, 10_000)],
        [*range(400_000, 600_000, 10_000), *range(0, 200_000, 10_000), *range(600_000, 700_000, 10_000)],
        [value for pair in zip(range(0, 300_000, 10_000), range(900_000, 0, -30_000), strict=True) for value in pair],
    ],
    ids=["set back", "older ticks after newer ones", "to and fro"],
)
@pytest.mark.parametrize("boot", ["boot", ""], ids=["known boot", "unknown boot"])
def test_whatever_the_clock_does_nothing_is_overwritten(
    make_history: Callable[[], History], times_ms: list[int], boot: str
) -> None:
    if not boot:
        times_ms = list(dict.fromkeys(times_ms))  # what has no boot and comes twice is the same tick
    batches = [
        tick(number, guest(cpu_time=number * 10**9), time_ms=at_ms(0) + time_ms, boot=boot)
        for number, time_ms in enumerate(times_ms)
    ]
    history = same_sealed_or_not(make_history, batches)
    assert len(exported(history.reader())) == len(batches)
    found = history.ask("SELECT value FROM samples ORDER BY value")
    assert [value for (value,) in found] == [number * 10**9 for number in range(len(batches))]


def test_days_that_are_imported_after_newer_ones_are_segments_of_their_own_days(
    make_history: Callable[[], History],
) -> None:
    day_ms = 86_400_000

    def day(number: int) -> list[Batch]:
        return [tick(i, guest(cpu_time=i), time_ms=at_ms(i) + number * day_ms, boot="") for i in range(23)]

    history = same_sealed_or_not(make_history, [*day(9), *day(2), *day(5), *day(10)[:12]])
    found = query(history, "SELECT DISTINCT start_ms / ?, end_ms / ? FROM segment", day_ms, day_ms)
    assert all(start == end for start, end in found)
    assert {level for (level,) in query(history, "SELECT level FROM segment WHERE start_ms < ?", at_ms(day_ms // 1000))}


def test_rates_are_those_that_the_stream_gave_whatever_was_predicted(make_history: Callable[[], History]) -> None:
    batches = []
    for number in range(43):
        user, system = 300_000 * number**2, 700_000 * number**2 + number % 7 * 13_000
        counted = guest(cpu_time=user + system + 5, cpu_user=user, cpu_system=system)
        batches.append(tick(number, counted, guest("b", cpu_time=number, cpu_system=number)))
    history = same_sealed_or_not(make_history, batches)
    read = Segments(history.reader())
    (segment,) = query(history, "SELECT id FROM segment WHERE level = ? LIMIT 1", merging.LAST)[0]
    (field,) = query(history, "SELECT id FROM field WHERE name = 'cpu.system'")[0]
    assert [read.chunk(segment, field, 0).predicted(place) for place in range(2)] == [True, False]


# Bounds and damage.


def test_directories_and_chunks_are_kept_within_bounds(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "DIRECTORIES_KEPT", 2)
    monkeypatch.setattr(segments, "DIRECTORIES_KEPT_BYTES", 0)
    make_small(monkeypatch, levels=(1000, 2000))
    write_each(history, numbers(0, 41))
    read = Segments(history.reader(), 300)
    (field,) = query(history, "SELECT id FROM field WHERE name = 'cpu.time'")[0]
    all_of_them = [segment for (segment,) in query(history, "SELECT id FROM segment")]
    assert len(all_of_them) == 8
    for segment in all_of_them:
        assert len(read.words(segment, 0, 0)) >= 5
        assert len(read._directories) <= 2
        kept = sum(size for _, size in read._chunks.values())
        assert kept == read._chunk_bytes
        assert kept <= 300 or len(read._chunks) == 1
    last = read.chunk(all_of_them[-1], field, 0)
    assert read.chunk(all_of_them[-1], field, 0) is last


def test_of_small_directories_more_are_kept_than_of_large_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "DIRECTORIES_KEPT", 2)
    monkeypatch.setattr(segments, "DIRECTORIES_KEPT_BYTES", 10_000)

    def kept(ticks: int) -> list[int]:
        directory = Directory()
        directory.ids = np.arange(ticks)
        found: segments.Kept[int] = segments.Kept()
        assert [found.put(number, number, directory) for number in range(6)] == [*range(6)]
        assert len(found) == sum(found.get(number) is not None for number in range(6))
        return [number for number in range(6) if found.get(number) is not None]

    assert kept(ticks=10) == [0, 1, 2, 3, 4, 5]
    assert kept(ticks=50) == [3, 4, 5], "the newest three of 2,800 bytes each"
    assert kept(ticks=1_000) == [4, 5], "two of any size"


def test_what_is_damaged_or_missing_is_named_by_its_number(history: History) -> None:
    write_each(history, numbers(0, 8))
    (segment,) = query(history, "SELECT id FROM segment")[0]
    (chunk, field, name) = query(
        history, "SELECT c.id, f.id, f.name FROM chunk c JOIN field f ON f.id = c.id >> 10 & 65535 LIMIT 1"
    )[0]
    with pytest.raises(DamagedError, match="segment 999 is missing"):
        Segments(history.reader()).directory(999)
    with pytest.raises(DamagedError, match=rf"chunk {chunk + 1} \(segment {segment}, {name}\) is missing"):
        Segments(history.reader()).chunk(segment, field, 1)
    spoil(history, "chunk", "blob", chunk, -1)
    with pytest.raises(DamagedError, match=rf"chunk {chunk} \(segment {segment}, {name}\) is damaged: its checksum"):
        Segments(history.reader()).chunk(segment, field, 0)
    spoil(history, "segment", "directory", segment, 9)
    with pytest.raises(DamagedError, match=rf"the directory of segment {segment} is damaged: its checksum"):
        Segments(history.reader()).directory(segment)


def test_leads_are_no_ticks_of_a_segments_own(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch, levels=(1000, 2000))
    write_each(history, (steady(number, "a") for number in range(12)))
    read = Segments(history.reader())
    second = query(history, "SELECT id FROM segment ORDER BY first_id")[1][0]
    directory = read.directory(second)
    assert directory.lead.tolist() == [1, 0, 0, 0, 0, 0]
    series = read.series(second, 0, query(history, "SELECT id FROM field WHERE name = 'cpu.time'")[0][0])
    times, rates = read.rates(second, series[0])
    assert times.tolist() == [at_ms(number) for number in range(5, 10)]
    assert rates.tolist() == [pytest.approx(1e-7)] * 5
