"""Slices: head rows as segments have them, and where counters begin anew, as the stream's own function says."""

from __future__ import annotations

import gc
import random
import tracemalloc
import weakref
from collections.abc import Callable
from typing import cast

import pytest
from msgspec.structs import replace

from domstat.model import Batch, Partial, Record, Stamp, Value
from domstat_sinks.sqlite.heads.layout import Entry
from domstat_sinks.sqlite.heads.numbers import Numbers
from domstat_sinks.sqlite.heads.row import CODEC_SPARSE, Body, Words
from domstat_sinks.sqlite.heads.rows import LayoutRead, Rows
from domstat_sinks.sqlite.keeping import merging
from domstat_sinks.sqlite.keeping.sealing import Known
from domstat_sinks.sqlite.packed import slices
from domstat_sinks.sqlite.packed.directory import EVERYTHING
from domstat_sinks.sqlite.packed.segments import Segments
from domstat_sinks.sqlite.packed.slices import CHANGES_MAX, Columns, Group, Skeleton, Slice, Tick

from .conftest import History
from .sealings import (
    at_ms,
    exported,
    guest,
    levels,
    make_small,
    numbers,
    pool,
    query,
    said,
    same_sealed_or_not,
    sealed_and_plain,
    steady,
    tick,
    with_params,
    write_alone,
    write_each,
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


def counting(params: list[dict[str, Value]]) -> list[Batch]:
    """Make ticks in which one guest has these parameters in turn."""
    return [tick(number, with_params(guest(), its)) for number, its in enumerate(params)]


# Where counters begin anew.


def test_a_counter_that_falls_takes_its_device_with_it_and_no_other(make_history: Callable[[], History]) -> None:
    def params(number: int) -> dict[str, Value]:
        since = number % 7
        return {
            "block.rd.bytes[vda]": 100 * since,
            "block.wr.bytes[vda]": 1000 * number,
            "block.wr.bytes[vdb]": 500 * number,
            "cpu.time": 10 * number,
        }

    history = same_sealed_or_not(make_history, counting([params(number) for number in range(43)]))
    found = history.ask("SELECT count(*) FROM rates WHERE field = 'block.wr.bytes' AND device = 'vda'")
    assert found == [(42 - 6,)]


def test_cpu_time_that_falls_takes_everything_with_it(make_history: Callable[[], History]) -> None:
    every: list[dict[str, Value]] = [{"cpu.time": number % 9, "net.rx.bytes[m]": 7 * number} for number in range(43)]
    history = same_sealed_or_not(make_history, counting(every))
    assert history.ask("SELECT count(*) FROM rates WHERE field = 'net.rx.bytes'") == [(42 - 4,)]


def test_a_counter_that_is_gone_for_a_while_begins_anew(make_history: Callable[[], History]) -> None:
    every: list[dict[str, Value]] = [{"cpu.time": number, "net.rx.bytes[m]": 7 * number} for number in range(43)]
    for number in range(4, 43, 6):
        del every[number]["net.rx.bytes[m]"]
    same_sealed_or_not(make_history, counting(every))


def test_a_device_that_is_plugged_anew_begins_anew_though_nothing_fell(make_history: Callable[[], History]) -> None:
    batches = [
        tick(
            number,
            with_params(
                replace(guest(), anew=("vda",) if number % 5 == 2 else None),
                {"cpu.time": number, "block.rd.bytes[vda]": 3 * number},
            ),
        )
        for number in range(43)
    ]
    same_sealed_or_not(make_history, batches)


def test_another_incarnation_begins_anew_and_so_does_one_that_comes_back(make_history: Callable[[], History]) -> None:
    batches = [tick(number, guest(id=(1, 2, 1)[number // 3 % 3], cpu_time=100 * number)) for number in range(43)]
    history = same_sealed_or_not(make_history, batches)
    (segment,) = query(history, "SELECT id FROM segment ORDER BY first_id LIMIT 1")[0]
    breaks = Segments(history.reader()).directory(segment).breaks
    assert breaks[0, EVERYTHING] == [0, 6, 15], "3 and 12 are the other one's"


def test_what_an_incarnation_lacks_when_it_comes_back_is_not_taken_from_before(
    make_history: Callable[[], History],
) -> None:
    batches = []
    for number in range(43):
        its: dict[str, Value] = {"cpu.time": 10 * number, "block.rd.bytes[vda]": 30 * number}
        hangs = number % 5 == 2
        if hangs:
            del its["block.rd.bytes[vda]"]
        partial = Partial(("block",)) if hangs else None
        incarnation = 2 if number % 5 == 1 else 1
        batches.append(tick(number, with_params(replace(guest(id=incarnation), partial=partial), its)))
    same_sealed_or_not(make_history, batches)


def test_negative_counters_fall_too(make_history: Callable[[], History]) -> None:
    every: list[dict[str, Value]] = [
        {"cpu.time": number, "block.rd.bytes[vda]": 5 - number % 4 * 4, "block.wr.bytes[vda]": number}
        for number in range(43)
    ]
    same_sealed_or_not(make_history, counting(every))


@pytest.mark.parametrize("seed", range(3))
def test_what_changes_its_type_has_all_its_values_and_no_rate_that_is_wrong(
    make_history: Callable[[], History], seed: int
) -> None:
    chance = random.Random(seed)
    kinds: list[Value] = [5, 7, 2**63 + 5, 2**63 - 7, 0.5, 8.25, 2**64 - 1, -3, -9, 12, 2**60 + 1]
    every: list[dict[str, Value]] = [
        {"cpu.time": chance.choice(kinds), "odd": chance.choice([*kinds, "x", True])} for _ in range(43)
    ]
    sealed, plain = sealed_and_plain(make_history, counting(every))
    (samples, rates, _), (samples_before, rates_before, _) = said(sealed), said(plain)
    assert samples == samples_before
    assert set(rates) <= set(rates_before)
    assert [one.records[0].params for one in exported(sealed.reader())] == every
    assert max(levels(sealed)) == merging.LAST


def test_a_counter_that_is_a_text_holds_nothing_up(history: History) -> None:
    write_each(history, counting([{"cpu.time": "soon" if number % 3 else number} for number in range(43)]))
    assert max(levels(history)) == merging.LAST
    found = history.ask("SELECT value FROM samples ORDER BY time_ms")
    assert [value for (value,) in found[:4]] == [0, "soon", "soon", 3]
    assert history.ask("SELECT * FROM rates WHERE time_ms < ?", at_ms(40)) == []


# Who is where.


def test_a_guest_that_is_renamed_is_found_under_both_names_each_at_its_time(
    make_history: Callable[[], History],
) -> None:
    names = ["old"] * 8 + ["new"] * 9 + ["old"] * 4 + ["newest"] * 22
    batches = [tick(number, guest("a", name, cpu_time=number)) for number, name in enumerate(names)]
    history = same_sealed_or_not(make_history, batches)
    found = history.ask("SELECT domain FROM samples ORDER BY time_ms")
    assert [name for (name,) in found] == names


def test_what_is_in_a_tick_twice_is_there_twice(make_history: Callable[[], History]) -> None:
    batches = [tick(number, guest(cpu_time=number), guest(cpu_time=9 * number), pool("p")) for number in range(43)]
    sealed, plain = sealed_and_plain(make_history, batches)
    assert said(sealed)[0] == said(plain)[0]
    found = [[record.params for record in one.records] for one in exported(sealed.reader())]
    assert found == [[record.params for record in one.records] for one in batches]


def test_a_tick_with_nobody_in_it_is_a_tick(make_history: Callable[[], History]) -> None:
    batches = [steady(number) if number % 4 else tick(number) for number in range(43)]
    history = same_sealed_or_not(make_history, batches)
    assert [len(one.records) for one in exported(history.reader())] == [0 if n % 4 == 0 else 2 for n in range(43)]
    nobody = [tick(number) for number in range(43)]
    assert query(same_sealed_or_not(make_history, nobody), "SELECT sum(samples) FROM segment") == [(0,)]


def test_records_without_values_keep_their_places(make_history: Callable[[], History]) -> None:
    hung = replace(guest("b"), partial=Partial(("block",), 3.0))
    batches = [tick(number, guest(cpu_time=number), hung, guest("c")) for number in range(43)]
    history = same_sealed_or_not(make_history, batches)
    assert [record.partial for record in exported(history.reader())[0].records] == [
        None,
        Partial(("block",), 3.0),
        None,
    ]


def test_more_guests_than_a_group_has_are_sealed_and_merged(
    make_history: Callable[[], History], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch, slice_ticks=3, levels=(6, 9))
    everybody = [f"g{number}" for number in range(300)]

    def some(number: int) -> list[str]:
        return [uuid for place, uuid in enumerate(everybody) if (place + number) % 50]

    history = same_sealed_or_not(make_history, [steady(number, *some(number)) for number in range(13)])
    assert query(history, "SELECT count(DISTINCT id & 1023) FROM chunk") == [(5,)]


def test_a_large_hosts_tick_in_parts_is_as_many_ticks(make_history: Callable[[], History]) -> None:
    parts: list[Batch] = []
    for number in range(12):
        for part in range(4):
            guests = [guest(f"g{part}-{place}", cpu_time=100 * number + place) for place in range(3)]
            parts.append(tick(number, *guests, time_ms=at_ms(number) + 7 * part))
    history = same_sealed_or_not(make_history, parts)
    assert history.ask("SELECT count(*) FROM rates") == [(11 * 12,)]


def test_guests_change_places_and_nobody_is_taken_for_another(make_history: Callable[[], History]) -> None:
    chance = random.Random(4)

    def shuffled(number: int) -> list[Record]:
        records = [guest(uuid, cpu_time=1000 * ord(uuid) + number) for uuid in "abcdefgh"]
        chance.shuffle(records)
        return records

    same_sealed_or_not(make_history, [tick(number, *shuffled(number)) for number in range(43)])


# What is shared.


def test_slices_with_the_same_layouts_share_what_they_know_from_the_second_on(history: History) -> None:
    write_alone(history, *numbers(0, 3), steady(3, "a"))
    reader = history.reader()
    known, read = Known(reader, Numbers(reader)), Rows(reader)
    both, one = read.layout(1), read.layout(2)
    first, second = known.skeleton(1, [both]), known.skeleton(1, [both])
    assert second is not first
    assert known.skeleton(1, [both]) is second
    assert known.skeleton(2, [both]) is not second
    assert known.skeleton(1, [both]) is second
    assert known.skeleton(1, [both, one]) is not second


def test_of_slices_that_have_no_layouts_in_common_nothing_is_kept(history: History) -> None:
    write_alone(history, *numbers(0, 3), steady(3, "a"))
    reader = history.reader()
    known, read = Known(reader, Numbers(reader)), Rows(reader)
    both, one = read.layout(1), read.layout(2)
    made = [weakref.ref(known.skeleton(1, layouts)) for layouts in ([both], [both, one]) * 3]
    gc.collect()
    assert [each() for each in made] == [None] * len(made)


def slice_of(layouts: list[int], leads: int = 0, *, in_chunks: bool = False) -> Slice:
    """Make a slice whose ticks have these layouts, the first of them leads; each of the host, or of a guest."""
    read = {
        number: LayoutRead([Entry("guest", f"g-{number}" if in_chunks else "g", "", 1)], list)
        for number in set(layouts)
    }
    body, stamp = Body(CODEC_SPARSE, 0, [], {}), Stamp(0, 0, "b", 0)
    ticks = [Tick(place, stamp, layout, read[layout], body) for place, layout in enumerate(layouts)]
    return Slice(cast("Rows", None), ticks, leads)


@pytest.mark.parametrize(
    "few",
    [
        slice_of([1] * 20),
        slice_of([1, 1, 2, 1, 3, 1, 2, 3] * 4),
        slice_of([*range(30), *range(30)], leads=30),
        slice_of([*range(70)] * 3, in_chunks=True),
        slice_of([*range(CHANGES_MAX)]),
    ],
    ids=["nothing changes", "what was there comes back", "all was there before", "ticks in chunks", "a few changes"],
)
def test_a_slice_with_few_changes_is_not_restless(few: Slice) -> None:
    assert not few.is_restless


@pytest.mark.parametrize(
    "many",
    [
        slice_of([*range(CHANGES_MAX + 1)]),
        slice_of([number // 2 if number % 2 else 0 for number in range(2 * CHANGES_MAX + 4)]),
        slice_of([number // 2 if number % 2 else 0 for number in range(2 * CHANGES_MAX + 4)], in_chunks=True),
    ],
    ids=["every tick another", "every other tick another", "a chunk of every tick another"],
)
def test_a_slice_with_many_changes_is_restless(many: Slice) -> None:
    assert many.is_restless


def test_after_a_restless_slice_nothing_is_kept_of_its_stream(history: History) -> None:
    write_alone(history, *numbers(0, 3), steady(3, "a"))
    reader = history.reader()
    known = Known(reader, Numbers(reader))
    layout = known.rows.layout(1)
    restless, steadier = ([known.skeleton(stream, [layout]) for _ in range(2)][-1] for stream in (1, 2))
    known.forget(1)
    assert known.skeleton(1, [layout]) is not restless
    assert known.skeleton(2, [layout]) is steadier
    assert known.rows.layout(1) is not layout


def test_where_words_are_is_remembered_for_other_slices_alone(history: History) -> None:
    write_alone(history, steady(0, "a", "b"))
    reader = history.reader()
    layout = Rows(reader).layout(1)
    found = [Skeleton([layout], Columns(Numbers(reader)), is_kept=is_kept) for is_kept in (False, True)]
    passing, kept = ([one.words_of(0, layout, 0) for _ in range(2)] for one in found)
    assert passing[0] is not passing[1]
    assert kept[0] is kept[1]
    of = passing[0]
    assert [found[0].members_of(0).series[of.places].tolist(), of.words.tolist()] == [
        [[member, column] for member in range(2) for column in found[0].pattern.shapes[0].tolist()],
        list(range(len(of.words))),
    ]


def test_a_skeleton_has_each_member_column_and_name_once(history: History) -> None:
    write_alone(history, steady(0), steady(1, "b", "a"), tick(2, guest("a", "new", cpu_time=3), guest("a", cpu_time=4)))
    reader = history.reader()
    read = Rows(reader)
    skeleton = Skeleton([read.layout(number) for number in (1, 2, 3)], Columns(Numbers(reader)))
    assert [(member.uuid, member.occurrence) for member in skeleton.pattern.members] == [("a", 0), ("b", 0), ("a", 1)]
    assert skeleton.pattern.names == ["a", "b", "new"]
    assert [len(shape) for shape in skeleton.pattern.shapes] == [2, 1]
    assert [layout.tolist() for layout in skeleton.pattern.layouts] == [
        [[0, 0, 0], [1, 0, 1]],
        [[1, 0, 1], [0, 0, 0]],
        [[0, 1, 2], [2, 1, 0]],
    ]
    assert skeleton.is_counter.tolist() == [True, False]


def test_values_of_guests_that_pass_by_are_laid_out_once(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """The values of a group are as many as its series times the ticks, whoever was there: no second copy is made."""
    make_small(monkeypatch, slice_ticks=256)
    peaks: list[float] = []
    unpack_group = Slice.group

    def traced(self: Slice, number: int) -> Group:
        unpack_group(self, number)  # so that all that it is made of is unpacked already
        tracemalloc.start()
        group = unpack_group(self, number)
        peaks.append(tracemalloc.get_traced_memory()[1] / group.values.nbytes)
        tracemalloc.stop()
        return group

    monkeypatch.setattr(Slice, "group", traced)
    params: dict[str, Value] = {f"net.rx.bytes[m{number}]": number for number in range(40)}
    write_each(history, (tick(number, with_params(guest(id=number // 16), params)) for number in range(300)))
    assert peaks
    assert max(peaks) < 1.5


def test_unpacking_a_part_takes_no_second_copy_of_it_beside_what_is_kept(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch, slice_ticks=256)
    monkeypatch.setattr(slices, "MATRICES_BYTES", 0)
    peaks: list[float] = []
    unpack = Slice.matrix

    def traced(self: Slice, number: int, part: int) -> Words:
        is_kept = self.is_at_hand(number, part)
        tracemalloc.start()
        matrix = unpack(self, number, part)
        if not is_kept and matrix.nbytes > 100_000:
            peaks.append(tracemalloc.get_traced_memory()[1] / matrix.nbytes)
        tracemalloc.stop()
        assert list(self._matrices) == [(number, part)]
        return matrix

    monkeypatch.setattr(Slice, "matrix", traced)
    params: dict[str, Value] = {f"net.rx.bytes[m{number}]": number for number in range(20)}
    crowd = [with_params(guest(f"g{number}"), params) for number in range(130)]
    write_each(history, (tick(number, *crowd) for number in range(260)))
    assert peaks
    assert max(peaks) < 1.3


def test_a_counter_that_falls_is_found_among_more_series_than_are_looked_through_at_once(
    make_history: Callable[[], History], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "ROWS_AT_ONCE", 3)
    same_sealed_or_not(
        make_history,
        counting([{f"net.rx.bytes[m{i}]": 100 * i + (number % (i + 4)) for i in range(11)} for number in range(23)]),
    )
