"""What is compared is what the plans ask for."""

from __future__ import annotations

import math

import pytest

from domstat.catalog import GROUPS
from domstat_bench import plans
from domstat_bench.plans import YARDSTICK, Asked, Spent

FAST = Asked(stats=1, flags=0)
SLOW = Asked(stats=2, flags=0)
ALL = Asked(stats=3, flags=0)
ASKED = {"full": {ALL: 1.0}, YARDSTICK: {ALL: 1.0}, "default": {ALL: 1.0}, "light": {FAST: 1.0, SLOW: 0.5}}


def groups_of(asked: Asked) -> set[str]:
    return {name for name, bit in GROUPS.items() if asked.stats & bit}


def test_the_plans_are_those_of_the_configuration() -> None:
    asked = plans.plans()
    assert [groups_of(call) for call in asked["full"]] == [set(GROUPS)]
    assert [groups_of(call) for call in asked[YARDSTICK]] == [set(GROUPS) - {"vm"}]
    (default,) = map(groups_of, asked["default"])
    assert {"state", "cpu-total", "block"} <= default
    assert not default & {"vm", "iothread", "dirtyrate"}


def test_the_slow_half_of_light_is_spread_over_the_ticks_of_a_minute() -> None:
    (fast, every), (slow, seldom) = plans.plans()["light"].items()
    assert "block" in groups_of(slow)
    assert "block" not in groups_of(fast)
    assert every == 1
    assert seldom == pytest.approx(1 / 6)


def test_a_tick_costs_what_its_calls_cost_as_often_as_they_are_made() -> None:
    spent = {FAST: Spent(own=1, libvirtd=10, qemu=100, params=7), SLOW: Spent(own=2, libvirtd=20, qemu=200, params=8)}
    tick = plans.spread(spent, {FAST: 1.0, SLOW: 0.5})
    assert tick == Spent(own=2, libvirtd=20, qemu=200, params=11)
    assert tick.total == 222


def test_ratios_are_those_within_a_round() -> None:
    def in_a_round(load: float) -> dict[Asked, Spent]:
        return {
            FAST: Spent(libvirtd=30 * load, qemu=10 * load),
            SLOW: Spent(qemu=20 * load),
            ALL: Spent(own=10 * load, qemu=90 * load, metered=81 * load),
        }

    figures = plans.evaluate(50, [in_a_round(load) for load in (1, 3, 1)], ASKED)
    assert figures.costs["light"].ratio.values == pytest.approx([0.5, 0.5, 0.5])
    assert figures.costs["light"].total.median == pytest.approx(50)
    assert figures.costs[YARDSTICK].ratio.median == 1
    assert figures.metered is not None
    assert figures.metered.median == pytest.approx(0.9)


def test_a_meter_that_could_not_tell_does_not_count_as_nothing_spent() -> None:
    spent = {FAST: Spent(qemu=50), SLOW: Spent(qemu=10), ALL: Spent(qemu=100, metered=math.nan)}
    figures = plans.evaluate(50, [spent], ASKED)
    assert figures.metered is None
    assert "meter sees nothing" in str(plans.table([figures]))


def test_the_table_names_every_plan_and_says_what_was_expected() -> None:
    spent = {FAST: Spent(qemu=50), SLOW: Spent(qemu=10), ALL: Spent(qemu=100)}
    text = str(plans.table([plans.evaluate(50, [spent], ASKED)]))
    assert all(f"50 guests, {name} " in text for name in ASKED)
    assert "50 guests: default 0.75 to 0.9; it is 1.00" in text
    assert "50 guests: light near 0.45; it is 0.55" in text
