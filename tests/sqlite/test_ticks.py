"""Ticks as columns: the time between them, for how much of it they stand, and how they are strung together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from domstat.model import Stamp, moment_within
from domstat_sinks.sqlite.answers import ticks as module
from domstat_sinks.sqlite.answers.ticks import Boots, Joiner, Ticks, covered_ms

MS = 1_000_000
CALL_NS = 10 * MS


def ticks(
    times_ms: Sequence[int], *, boots: Sequence[int] | None = None, outside: int = 0, calls_ns: int = CALL_NS
) -> Ticks:
    """Make ticks at some times, numbered by them, the first *outside* not of the span."""
    times = np.array(times_ms, dtype=np.int64)
    return Ticks(
        times.copy(),
        times,
        np.array(boots or [1] * len(times), dtype=np.int64),
        times * MS,
        np.full(len(times), calls_ns, dtype=np.int64),
        inside=np.arange(len(times)) >= outside,
    )


def test_boots_have_numbers_and_one_that_is_not_known_has_none() -> None:
    boots = Boots()
    assert [boots.number(boot_id) for boot_id in ("a", "", "b", "a")] == [1, 0, 2, 1]


@pytest.mark.parametrize("boots", [[1, 1, 1], [1, 1, 2], [0, 1, 1], [0, 0, 0]])
def test_the_time_between_records_is_that_between_their_moments(boots: list[int]) -> None:
    made = ticks([0, 1000, 2500], boots=boots)
    made.call_ns[:] = [7 * MS, 90 * MS, 1]
    moments = [moment_within(Stamp(t, b, "", c), 3, 8) for t, b, c in zip(*(column.tolist() for column in (
        made.time_ms, made.boot_ns, made.call_ns)), strict=True)]  # fmt: skip
    expected = [
        after.boot_ns - before.boot_ns if boot == earlier != 0 else (after.time_ms - before.time_ms) * MS
        for before, after, earlier, boot in zip(moments, moments[1:], boots, boots[1:], strict=False)
    ]
    assert made.elapsed_ns((7, 16)).tolist() == expected
    assert made.elapsed_ns(made.call_ns * 7 // 16).tolist() == expected


def test_each_place_in_a_call_has_its_own_time() -> None:
    made = ticks([0, 1000])
    made.call_ns[1] += 8 * MS
    assert [made.elapsed_ns(place).tolist() for place in ((1, 2), (1, 4), (1, 2))] == [
        [1004 * MS], [1002 * MS], [1004 * MS],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("times_ms", "boots", "is_steady"),
    [
        ([5], [1], True),
        ([0, 1000, 2000], [1, 1, 1], True),
        ([0, 15, 2000], [1, 1, 1], False),
        ([0, 1000, 900], [1, 1, 1], False),
        ([0, 1000, 2000], [1, 1, 2], True),
        ([0, 1000, 900], [1, 1, 2], False),
        ([0, 1000, 2000], [0, 0, 0], True),
    ],
)
def test_ticks_are_steady_where_time_passes_for_whoever_is_read_when(
    times_ms: list[int], boots: list[int], is_steady: bool
) -> None:
    assert ticks(times_ms, boots=boots).is_steady is is_steady


@pytest.mark.parametrize(
    ("boots", "is_one"), [([1, 1], True), ([1, 2], False), ([0, 0], False), ([0], False), ([1], True)]
)
def test_ticks_are_of_one_boot_if_it_is_known(boots: list[int], is_one: bool) -> None:
    assert ticks(range(len(boots)), boots=boots).is_one_boot is is_one


def test_what_is_shown_is_inside() -> None:
    made = ticks([0, 10, 20], outside=1)
    assert (made.shown_ms.tolist(), made.all_inside, made.all_after_inside) == ([10, 20], False, True)
    assert made.ends.time_ms.tolist() == [0, 20]
    assert ticks([5]).ends.time_ms.tolist() == [5]


def test_strung_together_each_tick_is_there_once_as_the_first_that_had_it() -> None:
    both, starts = Joiner().join([ticks([0, 10, 20]), ticks([10, 20, 30], outside=2), ticks([20], outside=1)])
    assert (both.time_ms.tolist(), starts) == ([0, 10, 20, 30], [0, 2, 1])
    assert both.inside.tolist() == [True] * 4


def test_the_same_ticks_are_strung_together_once_and_few_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JOINED_KEPT", 2)
    joiner = Joiner()
    parts = [ticks([0]), ticks([10])]
    first = joiner.join(parts)[0]
    assert joiner.join(parts)[0] is first
    for part in parts:
        joiner.join([part])
    assert joiner.join(parts)[0] is not first


@pytest.mark.parametrize(
    ("times_ms", "expected_ms"),
    [
        ([], 0),
        ([5], 0),
        ([0, 10, 20, 30], 40),
        ([0, 10, 22, 30], 40),
        ([0, 10, 20, 30, 80, 90, 100], 70),
        ([0, 10, 20, 40, 50], 60),
        ([30, 0, 10, 20], 40),
        ([0, 10, 30], 45),
    ],
)
def test_samples_stand_for_the_time_before_them_but_not_for_a_pause(times_ms: list[int], expected_ms: int) -> None:
    assert covered_ms(np.array(times_ms, dtype=np.int64)) == expected_ms
