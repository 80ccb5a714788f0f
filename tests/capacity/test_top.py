"""Who has most of something, against sorting by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capacity import arithmetic
from capacity.made import DAY_MS, GIB, GIB_KIB, HOUR_MS, MINUTE_MS, START_MS, Made
from domstat.capacity.explained import Unit
from domstat.capacity.gather import Figures as Asked
from domstat.capacity.gather import Selection
from domstat.capacity.top import How, Of, Top, Unranked, top

STEP_MS = 5 * MINUTE_MS
DAYS = 4
STEPS = DAYS * DAY_MS // STEP_MS


@pytest.fixture
def history() -> Made:
    one = Made(START_MS, STEP_MS, STEPS)
    for host, busy in (("kvm1", 0.4), ("kvm2", 0.7)):
        one.host(host, {"host.cpus": 8, "host.cpu.utilization": busy, "host.memory.total": 64 * GIB_KIB})
        one.pool("images", {"pool.capacity": 900 * GIB, "pool.allocation": busy * 900 * GIB}, host=host)
    one.guest("steady-1", {"cpu.cores": 2.0, "block.wr.bytes[vda]": 1000.0, "block.wr.bytes[vdb]": 3000.0})
    bursts = np.where(np.arange(STEPS) % 24 == 0, 8.0, 0.5)
    one.guest("bursts-1", {"cpu.cores": bursts, "block.wr.bytes[vda]": 2500.0}, host="kvm2")
    one.guest("waits-1", {"cpu.cores": 0.1, "vcpu.steal[0]": 0.1, "vcpu.steal[1]": 0.3})
    one.guest("slow-1", {"block.rd.latency[vda]": 0.001, "block.rd.latency[vdb]": 0.02})
    return one


def ask(history: Made, field: str, how: How = How.MEAN, count: int = 10, **options: bool) -> Top:
    return top(Asked(history, history.until_ms), field, how, count, **options)


def order(found: Top) -> list[tuple[str, str, Any]]:
    return [(one.name or one.host, one.device, one.value.value) for one in found.ranked]


def test_guests_are_ranked_by_their_mean(history: Made) -> None:
    found = ask(history, "cpu.cores")
    assert [name for name, _, _ in order(found)] == ["steady-1", "bursts-1", "waits-1"]
    assert (found.of, found.count, found.grid.step_ms) == (Of.GUESTS, 3, HOUR_MS)
    assert found.ranked[0].value.unit is Unit.CORES
    assert found.ranked[1].value.value == pytest.approx((8 + 23 * 0.5) / 24)


def test_and_by_their_greatest_five_minutes(history: Made) -> None:
    found = ask(history, "cpu.cores", How.MAX)
    assert order(found)[0] == ("bursts-1", "", 8.0)
    assert found.grid.step_ms == STEP_MS


@pytest.mark.parametrize(("how", "value"), [(How.MIN, 0.5), (How.P95, 0.5), (How.LAST, 0.5)])
def test_or_by_the_least_a_quantile_or_the_last(history: Made, how: How, value: float) -> None:
    found = {name: got for name, _, got in order(ask(history, "cpu.cores", how))}
    assert found["bursts-1"] == pytest.approx(value)


def test_counters_count_by_their_rate_and_devices_add_up(history: Made) -> None:
    found = ask(history, "block.wr.bytes")
    assert order(found) == [("steady-1", "", pytest.approx(4000)), ("bursts-1", "", pytest.approx(2500))]
    assert found.ranked[0].value.unit is Unit.BYTES_PER_SECOND


def test_or_by_what_they_came_to_in_all(history: Made) -> None:
    found = ask(history, "block.wr.bytes", How.INCREASE)
    assert found.ranked[0].value.value == pytest.approx(4000 * DAYS * 86_400)
    assert found.ranked[0].value.unit is Unit.BYTES
    assert arithmetic.check([found.ranked[0].value]) == 1


def test_devices_are_ranked_by_themselves(history: Made) -> None:
    assert order(ask(history, "block.wr.bytes", devices=True)) == [
        ("steady-1", "vdb", pytest.approx(3000)),
        ("bursts-1", "vda", pytest.approx(2500)),
        ("steady-1", "vda", pytest.approx(1000)),
    ]


def test_of_several_devices_steal_is_the_mean_and_latency_the_greatest(history: Made) -> None:
    assert order(ask(history, "vcpu.steal")) == [("waits-1", "", pytest.approx(0.2))]
    assert order(ask(history, "block.rd.latency")) == [("slow-1", "", pytest.approx(0.02))]


def test_hosts_and_pools_are_ranked_by_fields_of_theirs(history: Made) -> None:
    hosts = ask(history, "host.cpu.utilization")
    assert (order(hosts)[0], hosts.of) == (("kvm2", "", pytest.approx(0.7)), Of.HOSTS)
    pools = ask(history, "pool.allocation")
    assert [(one.host, one.name) for one in pools.ranked] == [("kvm2", "images"), ("kvm1", "images")]
    assert pools.of is Of.POOLS


def test_a_pool_that_two_hosts_share_is_ranked_once(history: Made) -> None:
    for host in ("kvm1", "kvm2"):
        history.pool("shared", {"pool.capacity": GIB, "pool.allocation": 1.0}, host=host)
    assert [one.name for one in ask(history, "pool.allocation").ranked] == ["images", "images", "shared"]


def test_only_so_many_are_told_of_how_many(history: Made) -> None:
    found = ask(history, "cpu.cores", count=1)
    assert (len(found.ranked), found.count) == (1, 3)


def test_those_that_have_least_come_first_where_that_is_wanted(history: Made) -> None:
    assert order(ask(history, "cpu.cores", least_first=True))[0][0] == "waits-1"


def test_only_the_span_that_is_meant_counts(history: Made) -> None:
    history.guest("late-1", {"cpu.cores": np.where(np.arange(STEPS) < STEPS - 36, 0.0, 9.0)})
    figures = Asked(history, history.until_ms, selection=Selection(since_ms=history.until_ms - 3 * HOUR_MS))
    assert order(top(figures, "cpu.cores"))[0] == ("late-1", "", pytest.approx(9.0))


def test_how_much_of_the_span_was_seen_is_said(history: Made) -> None:
    history.guest("new-1", {"cpu.cores": 5.0}, first=STEPS // 2)
    (newest, *_) = ask(history, "cpu.cores").ranked
    assert (newest.name, newest.coverage.value) == ("new-1", 0.5)


@pytest.mark.parametrize(
    ("field", "how", "options", "said"),
    [
        ("cpu.cores", How.INCREASE, {}, "no counter"),
        ("host.cpu.utilization", How.MEAN, {"devices": True}, "no devices"),
        ("net.name", How.MEAN, {}, "a text"),
    ],
)
def test_what_cannot_be_ranked_is_refused(
    history: Made, field: str, how: How, options: dict[str, bool], said: str
) -> None:
    with pytest.raises(Unranked, match=said):
        ask(history, field, how, **options)


def test_a_field_of_which_nothing_is_known_is_a_sentence(history: Made) -> None:
    found = ask(history, "no.such.thing")
    assert (found.ranked, found.note) == ((), "nothing is known of it in this span")


def test_a_span_before_anything_was_seen_is_a_sentence_too(history: Made) -> None:
    figures = Asked(history, history.since_ms + 1)
    assert top(figures, "cpu.cores").note


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from(list(How)[:5]), st.floats(0, 0.6))
def test_the_order_is_that_of_sorting_by_hand(seed: int, how: How, holes: float) -> None:
    draw = np.random.default_rng(seed)
    history = Made(START_MS, STEP_MS, 288)
    history.host("kvm1", {"host.cpus": 8})
    rows = {f"g{number}": draw.lognormal(0, 1, history.count) for number in range(5)}
    for name, row in rows.items():
        row[draw.random(len(row)) < holes] = np.nan
        history.guest(name, {"cpu.cores": row})
    known = {name: [value for value in row.tolist() if not math.isnan(value)] for name, row in rows.items()}
    takes: dict[How, Callable[[list[float]], float]] = {
        How.MEAN: lambda values: sum(values) / len(values),
        How.MAX: max,
        How.MIN: min,
        How.LAST: lambda values: values[-1],
        How.P95: lambda values: sorted(values)[math.ceil(0.95 * len(values)) - 1],
    }
    expected = sorted(((takes[how](values), name) for name, values in known.items()), reverse=True)
    found = order(ask(history, "cpu.cores", how))
    assert [(name, value) for name, _, value in found] == [(name, pytest.approx(value)) for value, name in expected]
