"""Sealed or not, a history says the same, to the last bit; and what is damaged holds nothing else up."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domstat.model import Partial
from domstat_sinks.sqlite.keeping import merging, sealing, upkeep
from domstat_sinks.sqlite.keeping.sealing import followed

from .conftest import History
from .sealings import (
    again,
    at_ms,
    count,
    exported,
    guest,
    levels,
    lives,
    make_small,
    numbers,
    pool,
    query,
    readable,
    rest,
    said,
    same_sealed_or_not,
    spoil,
    steady,
    step,
    step_until,
    steps,
    tick,
    times,
    with_params,
    write_alone,
    write_each,
    write_plain,
)

PROPERTY = settings(
    max_examples=8,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a seed cannot be made smaller
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


@PROPERTY
@given(seed=st.integers(0, 2**32), chunks=st.integers(1, 4))
def test_batches_come_out_of_segments_as_they_went_in(
    make_history: Callable[[], History], seed: int, chunks: int
) -> None:
    batches = lives(seed, chunks, 45)
    history = make_history()
    write_each(history, batches)
    for one, other in zip(exported(history.reader()), batches, strict=True):
        assert one.stamp == other.stamp
        for record, original in zip(one.records, other.records, strict=True):
            assert (record.params, record.rates) == (original.params, original.rates)
            assert replace(record, figures=original.figures, interval_s=None) == original
    history.close()


@PROPERTY
@given(seed=st.integers(0, 2**32), chunks=st.integers(1, 4), step_s=st.sampled_from([0.0, 10.0]))
def test_what_is_sealed_reads_as_it_did_before(
    make_history: Callable[[], History], monkeypatch: pytest.MonkeyPatch, seed: int, chunks: int, step_s: float
) -> None:
    monkeypatch.setattr(upkeep, "STEP_S", step_s)
    batches = lives(seed, chunks, 45)
    sealed, plain = make_history(), make_history()
    for one in batches:
        sealed.write(one)
    write_plain(plain, batches)
    assert said(sealed) == said(plain)
    rest(sealed)
    assert said(sealed) == said(plain)
    assert max(levels(sealed)) > 0, "merged"
    assert levels(plain) == []
    sealed.close()
    plain.close()


# What the first ticks of a segment follow on.


def test_the_first_ticks_of_a_segment_have_their_rates(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch, levels=(100, 200))
    write_each(history, numbers(0, 12))
    assert levels(history) == [0, 0]
    found = history.ask("SELECT time_ms FROM rates WHERE uuid = 'a' ORDER BY 1")
    assert found == [(at_ms(number),) for number in range(1, 12)]


def test_somebody_away_for_several_slices_has_a_rate_when_he_is_back(make_history: Callable[[], History]) -> None:
    uuids = [("a", "b") if number in {0, 1, 38, 39} else ("a",) for number in range(42)]
    same_sealed_or_not(make_history, [steady(number, *there) for number, there in enumerate(uuids)])


@pytest.mark.parametrize("lasts", [3, 30, 90])
def test_a_guest_that_hung_for_long_has_rates_from_before_it_hung(
    make_history: Callable[[], History], lasts: int
) -> None:
    def hanging(number: int) -> dict[str, int]:
        counted = {"cpu.time": 1000 * number, "block.rd.bytes[vda]": 50 * number}
        return {"cpu.time": counted["cpu.time"]} if 3 <= number < 3 + lasts else counted

    batches = []
    for number in range(lasts + 22):
        params = hanging(number)
        partial = Partial(("block",)) if len(params) == 1 else None
        batches.append(tick(number, with_params(replace(guest(), partial=partial), dict(params))))
    history = same_sealed_or_not(make_history, batches)
    found = history.ask("SELECT time_ms, value FROM rates WHERE field = 'block.rd.bytes' ORDER BY 1")
    assert (at_ms(3 + lasts), 5.0) in found


def test_what_hanging_guests_are_followed_by_is_few_rows(history: History) -> None:
    hung = replace(guest(), partial=Partial(("block",)))
    batches = [tick(number, with_params(hung, {"cpu.time": number})) for number in range(60)]
    write_each(history, [steady(-1, "a"), *batches])
    assert count(history, "SELECT count(*) FROM head WHERE stream = 1 AND id <= (SELECT sealed FROM stream)") <= 4


def test_partial_ticks_that_have_what_the_later_ones_lack_are_followed_too(
    make_history: Callable[[], History],
) -> None:
    def params(number: int) -> dict[str, int]:
        every = {"cpu.time": 10 * number, "net.rx.bytes[m]": 30 * number, "block.rd.bytes[vda]": 50 * number}
        lost = {3: ("block",), 4: ("net", "block"), 5: ("net", "block"), 6: ("net",)}.get(number % 9, ())
        return {key: value for key, value in every.items() if not key.startswith(lost or "-")}

    batches = []
    for number in range(48):
        its = params(number)
        partial = Partial(("net", "block")) if len(its) < 3 else None
        batches.append(tick(number, with_params(replace(guest(), partial=partial), dict(its))))
    same_sealed_or_not(make_history, batches)


def test_nothing_is_followed_where_nothing_is() -> None:
    assert followed([]) == set()


# Damage.


@pytest.mark.parametrize(
    ("victims", "with_them"),
    [
        ({1}, {3, 5}),
        ({3}, set()),
        ({5}, set()),
        ({4, 5}, set()),
        ({1, 2, 3, 4, 5}, set()),
        ({6}, {8, 10}),
        ({8}, set()),
    ],
    ids=str,
)
def test_head_rows_that_are_damaged_are_set_aside_and_sealing_goes_on(
    history: History, victims: set[int], with_them: set[int]
) -> None:
    batches = [tick(number, guest("a", cpu_time=number), *([guest("b")] * (number % 2))) for number in range(33)]
    write_alone(history, *batches[:9])
    for victim in victims:
        spoil(history, "head", "blob", victim, -1)
    blobs = query(history, "SELECT id, blob FROM head WHERE id IN (SELECT value FROM json_each(?))", str([*victims]))
    rest(history)
    write_each(history, batches[9:])
    lost = {number for (number,) in query(history, "SELECT id FROM damaged")}
    assert lost == victims | with_them, "those that are differences to a damaged one too"
    assert set(query(history, "SELECT id, blob FROM damaged")) >= set(blobs)
    found, damaged = readable(history)
    assert times(found) == [at_ms(number) for number in range(33) if number + 1 not in lost]
    assert damaged == []
    assert merging.LAST in levels(history)
    assert count(history, "SELECT count(*) FROM head") <= 10


def test_a_damaged_base_takes_the_rows_with_it_that_were_differences_to_it(history: History) -> None:
    write_alone(history, *numbers(0, 6))
    spoil(history, "head", "blob", 1, 10)
    rest(history)
    found = query(history, "SELECT id, stream, time_ms, reason FROM damaged ORDER BY id")
    assert found[0] == (1, 1, at_ms(0), "its checksum is wrong")
    assert found[1:] == [
        (number, 1, at_ms(number - 1), "head row 1 is damaged: its checksum is wrong") for number in range(2, 6)
    ]
    write_each(history, numbers(6, 12))
    assert times(readable(history)[0]) == [at_ms(number) for number in range(5, 12)]


def test_a_row_that_is_sealed_already_is_not_missed_when_what_is_left_of_it_is_damaged(history: History) -> None:
    write_each(history, numbers(0, 8))
    kept = count(history, "SELECT max(id) FROM head WHERE id <= (SELECT sealed FROM stream)")
    spoil(history, "head", "blob", kept, -1)
    write_each(history, numbers(8, 40))
    assert count(history, "SELECT count(*) FROM damaged") == 0
    assert times(exported(history.reader())) == [at_ms(number) for number in range(40)]


@pytest.mark.parametrize("place", [0, 4, 5, 20, -1])
def test_a_flipped_byte_of_a_chunk_is_named_and_takes_nothing_else_with_it(history: History, place: int) -> None:
    write_each(history, (steady(number, *(f"g{i}" for i in range(70))) for number in range(12)))
    (chunk,) = query(history, "SELECT min(id) FROM chunk")[0]
    spoil(history, "chunk", "blob", chunk, place)
    found, damaged = readable(history)
    assert len(damaged) == 1
    assert f"chunk {chunk} (segment {chunk >> 26}, " in damaged[0]
    (last_id,) = query(history, "SELECT last_id FROM segment WHERE id = ?", chunk >> 26)[0]
    assert times(found) == [at_ms(number) for number in range(last_id, 12)]
    field = "cpu.time" if "state.state" in damaged[0] else "state.state"
    assert history.ask("SELECT count(*) FROM samples WHERE field = ?", field) == [(12 * 70,)]


def test_a_missing_chunk_is_named(history: History) -> None:
    write_each(history, numbers(0, 8))
    (chunk,) = query(history, "SELECT min(id) FROM chunk")[0]
    history.sink.close()
    plain = sqlite3.connect(history.path)
    plain.execute("DELETE FROM chunk WHERE id = ?", (chunk,))
    plain.commit()
    plain.close()
    assert f"chunk {chunk} " in readable(history)[1][0]


@pytest.mark.parametrize("place", [0, 4, 5, 40, -1])
def test_a_flipped_byte_of_a_directory_is_named_and_the_other_segments_are_read(history: History, place: int) -> None:
    write_each(history, numbers(0, 33))
    (segment, first_id, last_id) = query(history, "SELECT id, first_id, last_id FROM segment ORDER BY first_id")[1]
    spoil(history, "segment", "directory", segment, place)
    found, damaged = readable(history)
    assert len(damaged) == 1
    assert damaged[0].startswith(f"the directory of segment {segment} is damaged: ")
    assert times(found) == [at_ms(number) for number in range(33) if not first_id <= number + 1 <= last_id]


# What is written while and after sealing.


def test_a_slice_is_sealed_64_members_after_64_and_published_at_once(history: History) -> None:
    write_alone(history, *(steady(number, *(f"g{i}" for i in range(130))) for number in range(6)))
    groups = []
    while step(history) and not count(history, "SELECT count(*) FROM segment"):
        groups.append(count(history, "SELECT count(DISTINCT id & 1023) FROM chunk"))
        assert count(history, "SELECT max(sealed) FROM stream") == 0
    assert list(dict.fromkeys(groups)) == [0, 1, 2, 3]
    assert (count(history, "SELECT count(*) FROM segment"), count(history, "SELECT max(sealed) FROM stream")) == (1, 5)
    assert query(history, "SELECT ticks, samples, start_ms, end_ms FROM segment") == [(5, 1300, at_ms(0), at_ms(4))]


def test_more_ticks_than_a_slice_may_have_become_several(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "TICKS_MAX", 7)
    monkeypatch.setattr(upkeep, "SLICE_TICKS", 20)
    write_each(history, numbers(0, 21))
    assert sum(ticks for (ticks,) in query(history, "SELECT ticks FROM segment")) == 20
    assert times(exported(history.reader())) == [at_ms(number) for number in range(21)]


def test_bases_that_rows_after_the_slice_need_stay(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "TICKS_MAX", 7)
    monkeypatch.setattr(upkeep, "SLICE_TICKS", 20)
    write_alone(history, *numbers(0, 21))
    step_until(history, lambda: bool(levels(history)))
    assert {number for (number,) in query(history, "SELECT id FROM head")} >= {1, 7, 8}
    assert times(exported(history.reader())) == [at_ms(number) for number in range(21)]
    rest(history)
    write_each(history, numbers(21, 60))
    assert count(history, "SELECT min(id) FROM head") > 1


def test_no_number_of_a_tick_or_a_segment_is_given_twice(history: History) -> None:
    write_each(history, numbers(0, 23))
    newest = count(history, "SELECT max(id) FROM head")
    segment = count(history, "SELECT seq FROM sqlite_sequence")
    plain = sqlite3.connect(history.path)
    plain.executescript(
        "UPDATE stream SET sealed = (SELECT max(id) FROM head); DELETE FROM head;"
        "INSERT INTO doomed SELECT id FROM segment; DELETE FROM segment"
    )
    plain.close()
    again(history)
    write_each(history, numbers(23, 30))
    assert count(history, "SELECT min(id) FROM (SELECT id FROM head UNION SELECT first_id FROM segment)") == newest + 1
    assert count(history, "SELECT min(id) FROM segment") > segment
    assert count(history, "SELECT count(*) FROM doomed") == 0
    assert times(exported(history.reader())) == [at_ms(number) for number in range(23, 30)]


def test_what_is_doomed_is_swept_away_a_few_chunks_at_a_time_and_all_of_it(history: History) -> None:
    many = {f"odd.{place}": place for place in range(70)}
    write_each(history, (tick(number, with_params(guest(), many)) for number in range(10)))
    write_alone(history, tick(10, with_params(guest(), many)))
    chunks = [count(history, "SELECT count(*) FROM chunk") for _ in steps(history)]
    assert levels(history) == [1]
    fewer = [before - after for before, after in itertools.pairwise(chunks) if after < before]
    assert sorted(fewer) == [6, 6, 64, 64]
    assert chunks[-1] == 70


def test_more_series_than_one_would_think_of_are_sealed(history: History) -> None:
    wide = [with_params(guest(f"g{i}"), {f"vcpu.time[{vcpu}]": vcpu for vcpu in range(70)}) for i in range(64)]
    write_each(history, (tick(number, *wide) for number in range(6)))
    assert levels(history) == [0]
    assert query(history, "SELECT samples FROM segment") == [(5 * 64 * 70,)]
    assert count(history, "SELECT count(*) FROM damaged") == 0


def test_pools_host_and_guests_are_sealed_together(make_history: Callable[[], History]) -> None:
    batches = [tick(number, guest(), pool("p", pool_available=number), pool("q"), guest("b")) for number in range(33)]
    same_sealed_or_not(make_history, batches)
