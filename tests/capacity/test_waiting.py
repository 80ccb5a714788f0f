"""Which guests wait for what, and when: against a naive look at every step."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity.made import DAY_MS, HOUR_MS, MINUTE_MS, START_MS, Made
from domstat.capacity.gather import Figures as Asked
from domstat.capacity.gather import Selection
from domstat.capacity.settings import Capacity
from domstat.capacity.waiting import mean, spans, waiting
from domstat.settings import Duration

STEP_MS = 5 * MINUTE_MS


def asked(days: float, *, since_ms: int | None = None, **changed: object) -> Asked:
    history = Made(START_MS, STEP_MS, round(days * DAY_MS / STEP_MS))
    history.host("kvm1", {"host.cpus": 4})
    return Asked(history, history.until_ms, Capacity(**changed), Selection(since_ms=since_ms))  # type: ignore[arg-type]


@pytest.mark.parametrize(("days", "span", "past"), [(90, 7, 30), (20, 7, 13), (6, 3, 3), (1, 0.5, 0.5)])
def test_a_week_is_looked_at_and_the_month_before_is_what_is_usual(days: float, span: float, past: float) -> None:
    over = spans(asked(days))
    assert over.span.count * STEP_MS == span * DAY_MS
    assert over.past.count * HOUR_MS == past * DAY_MS
    assert over.past.until_ms == over.span.since_ms, "nothing is compared with itself"


def test_the_caller_says_what_is_looked_at() -> None:
    over = spans(asked(90, since_ms=START_MS + 88 * DAY_MS))
    assert over.span.since_ms == START_MS + 88 * DAY_MS
    assert over.past.count == 30 * 24
    assert spans(asked(5, since_ms=0)).past.count == 0


def test_a_mean_is_over_what_is_known() -> None:
    rows = np.array([[1.0, np.nan, np.nan], [3.0, 4.0, np.nan]])
    np.testing.assert_array_equal(mean(rows), [2.0, 4.0, np.nan])


@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.2), st.sampled_from([5, 20, 30]))
def test_it_is_what_a_look_at_every_step_finds(seed: int, holes: float, minutes: int) -> None:
    draw = np.random.default_rng(seed)
    days, per_day = 6, DAY_MS // STEP_MS
    history = Made(START_MS, STEP_MS, days * per_day)
    history.host("kvm1", {"host.cpus": 4})
    level = np.repeat(draw.choice([0.01, 0.06, 0.12, 0.3], history.count // 6, p=[0.6, 0.2, 0.1, 0.1]), 6)
    steal = [level * draw.lognormal(0, 0.2, history.count) for _ in range(2)]
    gone = draw.random(history.count) < holes
    for row in steal:
        row[gone] = np.nan
    history.guest("one", {"vcpu.current": 2, "vcpu.steal[0]": steal[0], "vcpu.steal[1]": steal[1]})
    figures = Asked(history, history.until_ms, Capacity(wait_after=Duration(minutes * 60)))
    over = spans(figures)
    begin = history.count - over.span.count
    both = [(a + b) / 2 for a, b in zip(steal[0].tolist(), steal[1].tolist(), strict=True)]

    def usually(step: int) -> float:
        """Return the median of the hourly means at that hour of the days before."""
        hour = step // 12 % 24
        means = []
        for day in range(days // 2):
            known = [both[place] for place in range((day * 24 + hour) * 12, (day * 24 + hour) * 12 + 12)]
            known = [value for value in known if value == value]  # noqa: PLR0124 - not NaN
            if known:
                means.append(statistics.fmean(known))
        return sorted(means)[(len(means) + 1) // 2 - 1] if len(means) >= 3 else float("nan")

    def long_enough(flags: list[bool]) -> list[bool]:
        kept = [False] * len(flags)
        for place in range(len(flags) - minutes // 5 + 1):
            if all(flags[place : place + minutes // 5]):
                kept[place : place + minutes // 5] = [True] * (minutes // 5)
        return kept

    steps = range(begin, history.count)
    expected = long_enough([both[step] >= 0.10 for step in steps])
    more = long_enough([w and both[s] >= 2 * usually(s) for w, s in zip(expected, steps, strict=True)])
    found = waiting(figures, over).waits
    assert [one.waits.tolist() for one in found] == ([expected] if any(expected) else [])
    hours_known = all(usually(step) == usually(step) for step in steps)
    if found and hours_known:
        assert found[0].more.tolist() == more
