"""Whole columns at once: rates over what was covered, one value a step, quantiles, coverage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.history import Aggregate, Span
from domstat_sinks.sqlite.answers import steps
from domstat_sinks.sqlite.answers.choosing import Key, Who
from domstat_sinks.sqlite.answers.source import Column
from domstat_sinks.sqlite.answers.steps import Increases, Samples, Stepper

from .test_ticks import ticks

SECOND_NS = 10**9
SPAN = Span(0, 100_000)


def column(
    values: Sequence[int | float],
    times_ms: Sequence[int],
    *,
    anew: Sequence[int] = (0,),
    boots: Sequence[int] | None = None,
    outside: int = 0,
    type_: type[np.generic] = np.uint64,
) -> Column:
    """Make a column of cpu.time; *anew* are the places where it begins anew, the first *outside* not of the span."""
    made = ticks(times_ms, boots=boots, outside=outside)
    return Column(
        key=Key(Who(1, "guest", "u", None), "cpu.time", None),
        ticks=made,
        covered=made,
        place=(1, 2),
        values=np.array(values, dtype=type_),
        anew=np.array(anew, dtype=np.int64),
    )


def samples(values: Sequence[float], times_ms: Sequence[int]) -> Samples:
    return Samples(np.array(times_ms, dtype=np.int64), np.array(values))


def shown(found: Samples) -> dict[int, object]:
    return dict(zip(found.time_ms.tolist(), found.values.tolist(), strict=True))


def test_an_increase_is_taken_from_the_sample_before_also_if_that_is_outside_the_span() -> None:
    found = steps.increases_of(column([100, 150, 175], [0, 1000, 2000], outside=1))
    assert (found.deltas.tolist(), found.elapsed_ns.tolist()) == ([50, 25], [SECOND_NS, SECOND_NS])
    assert found.time_ms.tolist() == [1000, 2000]


def test_where_a_counter_begins_anew_there_is_no_increase_and_none_is_negative() -> None:
    found = steps.increases_of(column([100, 5, 7], [0, 1000, 2000], anew=[0, 1]))
    assert (found.time_ms.tolist(), found.deltas.tolist()) == ([2000], [2])


def test_between_boots_time_is_wall_time_and_without_a_boot_too() -> None:
    in_one = column([0, 1, 2], [0, 1000, 2000])
    for boots in ([1, 2, 2], [0, 0, 2]):
        other = column([0, 1, 2], [0, 1000, 2000], boots=boots)
        other.ticks.boot_ns[0] += 77
        assert steps.increases_of(other).elapsed_ns.tolist() == steps.increases_of(in_one).elapsed_ns.tolist()


def test_no_rate_is_taken_over_no_time() -> None:
    assert len(steps.increases_of(column([0, 1], [1000, 1000])).time_ms) == 0


def test_a_rate_over_a_gap_is_over_all_of_it() -> None:
    found = steps.increases_of(column([0, SECOND_NS, 31 * SECOND_NS], [0, 10_000, 70_000]))
    assert shown(found.rates("cpu.time")) == {10_000: 0.1, 70_000: 0.5}
    assert shown(steps.rates_by_steps(found, "cpu.time", Stepper(100_000, SPAN))) == {0: 31 / 70}


def test_a_steps_rate_is_over_the_time_that_is_covered_and_no_other() -> None:
    """A restart in the middle: of ten seconds nothing is known, and they count neither as work nor as rest."""
    found = steps.increases_of(
        column([0, 5 * SECOND_NS, 1, 1 + 5 * SECOND_NS], [0, 10_000, 20_000, 30_000], anew=[0, 2])
    )
    assert shown(steps.rates_by_steps(found, "cpu.time", Stepper(60_000, SPAN))) == {0: 0.5}
    assert shown(steps.increases_by_steps(found, Stepper(60_000, SPAN))) == {0: 10 * SECOND_NS}


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [
        (Aggregate.MEAN, {0: 2.0, 10: 7.5}),
        (Aggregate.MIN, {0: 1.0, 10: 7.0}),
        (Aggregate.MAX, {0: 4.0, 10: 8.0}),
        (Aggregate.LAST, {0: 4.0, 10: 7.0}),
        (Aggregate.COUNT, {0: 3, 10: 2}),
    ],
)
def test_a_step_has_what_its_samples_come_to(aggregate: Aggregate, expected: dict[int, object]) -> None:
    found = samples([1.0, 1.0, 4.0, 8.0, 7.0], [0, 3, 9, 10, 19])
    assert shown(steps.by_steps(found, aggregate, Stepper(10, SPAN))) == expected


def test_steps_are_aligned_to_their_multiples_and_empty_ones_are_absent() -> None:
    found = samples([1.0, 2.0], [1_234, 9_876])
    assert shown(steps.by_steps(found, Aggregate.MEAN, Stepper(1000, SPAN))) == {1000: 1.0, 9000: 2.0}


def test_without_a_step_the_span_is_one() -> None:
    found = samples([1.0, 2.0], [1_234, 9_876])
    assert shown(steps.by_steps(found, Aggregate.MEAN, Stepper(None, Span(1000, 50_000)))) == {1000: 1.5}
    assert shown(steps.by_steps(found, Aggregate.MEAN, Stepper(None, Span(0, 50_000)))) == {1234: 1.5}


def test_where_a_clock_went_back_a_step_has_the_samples_of_both_times() -> None:
    found = samples([1.0, 2.0, 3.0, 4.0], [5, 15, 6, 16])
    assert shown(steps.by_steps(found, Aggregate.LAST, Stepper(10, SPAN))) == {0: 3.0, 10: 4.0}
    assert shown(steps.by_steps(found, Aggregate.COUNT, Stepper(10, SPAN))) == {0: 2, 10: 2}


def test_least_and_greatest_of_large_integers_are_exact() -> None:
    large = Samples(np.array([0, 1]), np.array([2**63 + 1, 2**63 + 3], dtype=np.uint64))
    assert shown(steps.by_steps(large, Aggregate.MIN, Stepper(10, SPAN))) == {0: 2**63 + 1}
    assert shown(steps.by_steps(large, Aggregate.MAX, Stepper(10, SPAN))) == {0: 2**63 + 3}


@given(
    st.lists(st.tuples(st.integers(0, 10**12), st.integers(1, 10**5)), min_size=2, max_size=50), st.integers(1, 10**6)
)
def test_increases_of_steps_add_up_to_what_was_gained(ticks: list[tuple[int, int]], step_ms: int) -> None:
    values, times = np.cumsum([gain for gain, _ in ticks]), np.cumsum([passed for _, passed in ticks])
    found = steps.increases_of(column(values.tolist(), times.tolist()))
    by_step = steps.increases_by_steps(found, Stepper(step_ms, SPAN))
    assert sum(by_step.values.tolist()) == values[-1] - values[0]
    assert all(time_ms % step_ms == 0 for time_ms in by_step.time_ms.tolist())


def test_nothing_comes_to_nothing() -> None:
    nothing = Increases(*(np.zeros(0, dtype=np.int64) for _ in range(3)))
    assert shown(steps.rates_by_steps(nothing, "cpu.time", Stepper(10, SPAN))) == {}
    assert shown(steps.increases_by_steps(nothing, Stepper(10, SPAN))) == {}
    assert shown(steps.by_steps(samples([], []), Aggregate.MEAN, Stepper(10, SPAN))) == {}


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=60), st.floats(0, 1))
def test_a_quantile_is_the_least_value_that_so_many_do_not_exceed(values: list[int], share: float) -> None:
    (quantile,) = steps.quantiles(np.array(values), (share,))
    need = max(1, share * len(values))
    assert quantile == min(value for value in values if sum(other <= value for other in values) >= need)


def test_quantiles_come_in_the_order_they_are_asked_for_and_the_values_stay_as_they_were() -> None:
    values = np.array([5, 1, 4, 2, 3])
    assert steps.quantiles(values, (0.95, 0.5, 0.0, 0.5)) == (5, 3, 1, 3)
    assert values.tolist() == [5, 1, 4, 2, 3]


def test_coverage_is_a_share_of_the_span_and_never_more_than_all() -> None:
    covered_ms = column(list(range(50)), list(range(0, 500, 10))).covered.covered_ms
    assert steps.share_covered(covered_ms, Span(0, 1000)) == 0.5
    assert steps.share_covered(covered_ms, Span(0, 400)) == 1.0
    assert steps.share_covered(covered_ms, Span(7, 7)) == 0.0


def test_what_samples_are_in_which_steps_is_found_out_once_for_all_at_the_same_times() -> None:
    stepper = Stepper(10, SPAN)
    times_ms = np.array([1, 11])
    assert stepper.steps(times_ms) is stepper.steps(times_ms)
    assert stepper.steps(np.array([21])).starts.tolist() == [20]


def test_samples_one_after_the_other_are_in_the_steps_of_all_and_found_once_too() -> None:
    stepper = Stepper(10, SPAN)
    first, second = np.array([1, 11]), np.array([12, 25])
    both = stepper.steps_of([first, second])
    assert (both.starts.tolist(), both.counts.tolist()) == ([0, 10, 20], [1, 2, 1])
    assert stepper.steps_of([first, second]) is both
    assert stepper.steps_of([first]) is stepper.steps(first)


@pytest.mark.parametrize("aggregate", [each for each in Aggregate if each is not Aggregate.INCREASE])
def test_where_every_step_has_one_sample_it_is_what_several_would_come_to(aggregate: Aggregate) -> None:
    alone = samples([5.0, 2.0, 7.0], [0, 10, 20])
    twice = Samples(np.repeat(alone.time_ms, 2), np.repeat(alone.values, 2))
    found = shown(steps.by_steps(alone, aggregate, Stepper(10, SPAN)))
    expected = shown(steps.by_steps(twice, aggregate, Stepper(10, SPAN)))
    assert found == (dict.fromkeys(expected, 1) if aggregate is Aggregate.COUNT else expected)
    sums = Stepper(10, SPAN).steps(alone.time_ms).sums(alone.values)
    assert sums.tolist() == [5.0, 2.0, 7.0]


def test_quantiles_at_the_ends_are_the_least_and_the_greatest_and_no_number_comes_last() -> None:
    assert steps.quantiles(np.array([3.0, np.nan, 1.0]), (0.0, 0.5)) == (1.0, 3.0)
    assert np.isnan(steps.quantiles(np.array([3.0, np.nan, 1.0]), (1.0,)))
