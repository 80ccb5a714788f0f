"""Segments taken apart into ticks, a window at a time."""

from __future__ import annotations

import pytest

from domstat.model import Figures
from domstat_sinks.sqlite.heads.row import DamagedError
from domstat_sinks.sqlite.keeping.sealing import DAY_MS
from domstat_sinks.sqlite.packed import sealed
from domstat_sinks.sqlite.packed.sealed import SealedTick, SealedTicks

from .conftest import History
from .sealings import EVER_MS, at_ms, lives, make_small, query, steady, write_each


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


def ticks(history: History, after_id: int = 0, since_ms: int = 0, until_ms: int = EVER_MS) -> list[SealedTick]:
    read = SealedTicks(history.reader())
    segments = [segment for (segment,) in query(history, "SELECT id FROM segment ORDER BY first_id")]
    return [tick for segment in segments for tick in read.ticks(segment, after_id, since_ms, until_ms)]


@pytest.mark.parametrize("values", [1, 60, 1_000_000])
def test_ticks_are_the_same_however_small_the_window(
    history: History, monkeypatch: pytest.MonkeyPatch, values: int
) -> None:
    batches = lives(3, 1, 21)
    write_each(history, batches)
    monkeypatch.setattr(sealed, "WINDOW_VALUES", values)
    found = ticks(history)
    assert [tick.stamp for tick in found] == [one.stamp for one in batches[:20]]
    for tick, one in zip(found, batches, strict=False):
        for record, original in zip(tick.records, one.records, strict=True):
            assert record.figures == Figures(original.params, original.rates)


def test_only_own_ticks_of_a_span_after_a_number_are_given(history: History) -> None:
    write_each(history, (steady(number) for number in range(12)))
    assert [tick.id for tick in ticks(history)] == [*range(1, 11)]
    assert [tick.id for tick in ticks(history, after_id=4)] == [*range(5, 11)]
    assert [tick.id for tick in ticks(history, since_ms=at_ms(3), until_ms=at_ms(5))] == [4, 5]
    assert ticks(history, since_ms=at_ms(0) + DAY_MS) == []


def test_each_record_has_its_moment_and_how_long_after_the_one_before(history: History) -> None:
    write_each(history, (steady(number, *("ab" if number != 2 else "b")) for number in range(6)))
    found = ticks(history)
    assert [tick.spans_ns for tick in found] == [
        (None, None),
        (10**10, 10**10),
        (10**10 - 3_000_000,),  # alone, it was read in the middle of the call
        (2 * 10**10, 10**10 + 3_000_000),
        (10**10, 10**10),
    ]
    assert [moment.boot_ns - found[0].stamp.boot_ns for moment in found[0].moments] == [3_000_000, 9_000_000]
    assert found[0].moments[1].time_ms == at_ms(0) + 9


def test_a_segment_that_is_gone_is_missing(history: History) -> None:
    write_each(history, (steady(number) for number in range(6)))
    reader = history.reader()
    read = SealedTicks(reader)
    assert len(list(read.ticks(1, 0, 0, EVER_MS))) == 5
    history.sink._writer._connection.execute("DELETE FROM segment")  # type: ignore[union-attr]
    with pytest.raises(DamagedError, match="segment 1 is missing"):
        list(read.ticks(1, 0, 0, EVER_MS))
    with pytest.raises(DamagedError, match="segment 1 is missing"):
        list(SealedTicks(reader).ticks(1, 0, 0, EVER_MS))
