"""Rates: examples, and a naive model of every field on its own that the real thing must equal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from domstat.catalog import FieldKind, look_up
from domstat.model import Moment, Value, split_key, whole_device
from domstat.rates import NO_BREAKS, Baseline, Breaks, Shape, _in_common, advance, elapsed_ns

S = 1_000_000_000


def at(seconds: float, boot: str = "boot", wall_s: float | None = None) -> Moment:
    return Moment(round((seconds if wall_s is None else wall_s) * 1000), round(seconds * S), boot)


@cache
def shape_of(keys: tuple[str, ...]) -> Shape:
    """Share shapes as the stream does: only samples of one and the same shape take the short way."""
    return Shape(keys)


def feed(
    baseline: Baseline | None,
    params: Mapping[str, Value],
    moment: Moment,
    incarnation: int | None = 3,
    breaks: Breaks = NO_BREAKS,
) -> tuple[dict[str, float], Baseline]:
    return advance(baseline, shape_of(tuple(params)), params, moment, incarnation, breaks)


def rates_of(*samples: tuple[Mapping[str, Value], Moment] | tuple[Mapping[str, Value], Moment, Breaks]) -> list[Any]:
    """Feed samples of one incarnation; return the rates of each."""
    baseline = None
    found = []
    for params, moment, *breaks in samples:
        rates, baseline = feed(baseline, params, moment, 3, *breaks)
        found.append(rates)
    return found


# --- examples


def test_the_first_sample_has_no_rates() -> None:
    assert rates_of(({"cpu.time": 5}, at(0))) == [{}]


def test_a_rate_is_per_second_in_base_units() -> None:
    params = {"cpu.time": 0, "block.wr.bytes[vda]": 0, "balloon.swap_in": 0, "block.rd.reqs[vda]": 7}
    later = {"cpu.time": 5 * S, "block.wr.bytes[vda]": 10_485_760, "balloon.swap_in": 20, "block.rd.reqs[vda]": 7}
    assert rates_of((params, at(0)), (later, at(10)))[1] == {
        "cpu.time": 0.5,
        "block.wr.bytes[vda]": 1_048_576.0,
        "balloon.swap_in": 2048.0,
        "block.rd.reqs[vda]": 0.0,
    }


def test_gauges_states_and_texts_have_no_rates() -> None:
    params: dict[str, Value] = {"balloon.rss": 1, "state.state": 1, "dirtyrate.calc_mode": "dirty-ring", "new.thing": 1}
    later: dict[str, Value] = {"balloon.rss": 9, "state.state": 3, "dirtyrate.calc_mode": "dirty-ring", "new.thing": 9}
    assert rates_of((params, at(0)), (later, at(10))) == [{}, {}]


def test_elapsed_time_is_measured_and_not_the_nominal_interval() -> None:
    assert rates_of(({"cpu.time": 0}, at(0)), ({"cpu.time": 5 * S}, at(12.5)))[1] == {"cpu.time": 0.4}


def test_a_clock_that_was_set_changes_no_rate() -> None:
    back, forth = at(10, wall_s=-50_000), at(20, wall_s=90_000)
    samples = ({"cpu.time": 0}, at(0)), ({"cpu.time": 5 * S}, back), ({"cpu.time": 10 * S}, forth)
    assert rates_of(*samples)[1:] == [{"cpu.time": 0.5}, {"cpu.time": 0.5}]


def test_across_a_boot_of_the_host_elapsed_time_is_wall_time() -> None:
    before, after = at(9_000, "first", wall_s=100), at(30, "second", wall_s=300)
    assert elapsed_ns(before, after) == 200 * S
    assert rates_of(({"cpu.time": 0}, before), ({"cpu.time": 100 * S}, after))[1] == {"cpu.time": 0.5}


def test_no_time_no_rate() -> None:
    samples = ({"cpu.time": 0}, at(5)), ({"cpu.time": 9}, at(5)), ({"cpu.time": 9 + S}, at(6))
    assert rates_of(*samples) == [{}, {}, {"cpu.time": 1.0}]


def test_where_no_boot_is_known_elapsed_time_is_wall_time() -> None:
    assert elapsed_ns(Moment(1000, 0, ""), Moment(3500, 0, "")) == 2_500_000_000


def test_a_boot_with_a_clock_in_the_past_gives_no_rate_but_a_new_beginning() -> None:
    before, after = at(9, "first", wall_s=500), at(3, "second", wall_s=300)
    samples = ({"cpu.time": 0}, before), ({"cpu.time": 5}, after), ({"cpu.time": 5 + S}, at(4, "second", wall_s=301))
    assert rates_of(*samples) == [{}, {}, {"cpu.time": 1.0}]


def test_a_new_incarnation_begins_all_fields_anew_even_those_that_rose() -> None:
    _, baseline = feed(None, {"cpu.time": 100, "net.rx.bytes[m]": 100}, at(0), incarnation=3)
    rates, baseline = feed(baseline, {"cpu.time": 5, "net.rx.bytes[m]": 9_999}, at(10), incarnation=4)
    assert rates == {}
    rates, _ = feed(baseline, {"cpu.time": 5, "net.rx.bytes[m]": 10_009}, at(20), incarnation=4)
    assert rates == {"cpu.time": 0.0, "net.rx.bytes[m]": 1.0}


def test_a_guest_whose_own_time_fell_is_another_and_begins_anew_with_everything() -> None:
    """Domain ids begin anew with a boot of the host: the number may be that of another incarnation."""
    before = {"cpu.time": 9 * S, "cpu.user": 5, "block.rd.bytes[vda]": 50, "net.rx.bytes[m]": 50, "vcpu.time[0]": 0}
    after = {"cpu.time": 8 * S, "cpu.user": 9, "block.rd.bytes[vda]": 90, "net.rx.bytes[m]": 51, "vcpu.time[0]": S}
    later = {key: value + 10 for key, value in after.items()}
    found = rates_of((before, at(0)), (after, at(10)), (later, at(20)))
    assert found[1] == {}
    assert found[2]["block.rd.bytes[vda]"] == 1.0


def test_nothing_of_a_guest_before_its_own_time_fell_is_taken_up_again() -> None:
    missing = Breaks(missing=frozenset({"block"}))
    samples = (
        ({"cpu.time": 9 * S, "block.rd.bytes[vda]": 5}, at(0)),
        ({"cpu.time": 8 * S}, at(10), missing),
        ({"cpu.time": 9 * S, "block.rd.bytes[vda]": 500}, at(20)),
    )
    assert rates_of(*samples) == [{}, {}, {"cpu.time": 0.1}]


def test_a_device_that_fell_is_no_reason_to_begin_the_whole_guest_anew() -> None:
    before, after = {"cpu.time": 0, "vcpu.time[0]": 9, "cpu.user": 0}, {"cpu.time": S, "vcpu.time[0]": 8, "cpu.user": S}
    assert rates_of((before, at(0)), (after, at(10)))[1] == {"cpu.time": 0.1, "cpu.user": 0.1}


def test_a_fall_begins_its_device_anew_and_no_other() -> None:
    before = {"block.rd.bytes[vda]": 50, "block.wr.bytes[vda]": 10, "block.rd.bytes[vdb]": 0, "cpu.time": 0}
    after = {"block.rd.bytes[vda]": 40, "block.wr.bytes[vda]": 90, "block.rd.bytes[vdb]": 10, "cpu.time": S}
    assert rates_of((before, at(0)), (after, at(10)))[1] == {"block.rd.bytes[vdb]": 1.0, "cpu.time": 0.1}


def test_one_number_for_two_kinds_of_device_does_not_make_them_one() -> None:
    before = {"vcpu.time[1]": 50, "dirtyrate.x.sum[1]": 0}
    after = {"vcpu.time[1]": 40, "dirtyrate.x.sum[1]": 10}
    assert rates_of((before, at(0)), (after, at(1)))[1] == {"dirtyrate.x.sum[1]": 10.0}


def test_a_device_begins_anew_with_all_its_parts() -> None:
    bins = "block.latency_histogram.read.bin.value"
    before = {"block.rd.bytes[vda]": 50, f"{bins}[vda/0]": 1, f"{bins}[vdb/0]": 1}
    after = {"block.rd.bytes[vda]": 40, f"{bins}[vda/0]": 9, f"{bins}[vdb/0]": 2}
    assert rates_of((before, at(0)), (after, at(1)))[1] == {f"{bins}[vdb/0]": 1.0}
    after["block.rd.bytes[vda]"] = 60
    plugged = Breaks(devices=frozenset({"vda"}))
    assert rates_of((before, at(0)), (after, at(1), plugged))[1] == {f"{bins}[vdb/0]": 1.0}


def test_a_device_plugged_anew_has_no_rate_though_nothing_fell() -> None:
    before, after = {"block.rd.bytes[vda]": 1, "cpu.time": 0}, {"block.rd.bytes[vda]": 9, "cpu.time": S}
    breaks = Breaks(devices=frozenset({"vda"}))
    assert rates_of((before, at(0)), (after, at(10), breaks))[1] == {"cpu.time": 0.1}


def test_what_is_missing_neither_advances_nor_clears() -> None:
    missing = Breaks(missing=frozenset({"block"}))
    samples = (
        ({"cpu.time": 0, "block.rd.bytes[vda]": 0}, at(0)),
        ({"cpu.time": S}, at(10), missing),
        ({"cpu.time": 2 * S}, at(20), missing),
        ({"cpu.time": 3 * S, "block.rd.bytes[vda]": 300}, at(30)),
        ({"cpu.time": 4 * S, "block.rd.bytes[vda]": 400}, at(40)),
    )
    assert rates_of(*samples) == [
        {},
        {"cpu.time": 0.1},
        {"cpu.time": 0.1},
        {"cpu.time": 0.1, "block.rd.bytes[vda]": 10.0},
        {"cpu.time": 0.1, "block.rd.bytes[vda]": 10.0},
    ]


def test_what_is_gone_with_its_device_begins_anew_when_it_comes_back() -> None:
    with_disk, without = {"cpu.time": 0, "block.rd.bytes[vdb]": 5}, {"cpu.time": 0}
    back = {"cpu.time": 0, "block.rd.bytes[vdb]": 50}
    assert rates_of((with_disk, at(0)), (without, at(10)), (back, at(20)))[2] == {"cpu.time": 0.0}


def test_a_missing_counter_whose_device_began_anew_meanwhile_is_not_taken_up_again() -> None:
    missing = Breaks(missing=frozenset({"block"}))
    samples = (
        ({"block.rd.bytes[vda]": 50, "block.errors[vda]": 50}, at(0)),
        ({"block.errors[vda]": 40}, at(10), missing),
        ({"block.rd.bytes[vda]": 60, "block.errors[vda]": 41}, at(20)),
    )
    assert rates_of(*samples)[2] == {"block.errors[vda]": 0.1}


@pytest.mark.parametrize("end", [2**64 - 1, 2**63])
def test_counters_of_64_bits_are_subtracted_exactly(end: int) -> None:
    assert rates_of(({"cpu.time": end - 3}, at(0)), ({"cpu.time": end}, at(1)))[1] == {"cpu.time": 3e-9}


# --- the naive model: each field on its own, exact arithmetic, no shapes and no shortcuts


class Sample(Struct, frozen=True):
    params: dict[str, int]
    moment: Moment
    incarnation: int
    missing: frozenset[str]
    plugged: frozenset[str]


class NaiveModel:
    def __init__(self) -> None:
        self.incarnation: int | None = None
        self.last: dict[str, tuple[int, Moment]] = {}

    def feed(self, sample: Sample) -> dict[str, Fraction]:
        if sample.incarnation != self.incarnation:
            self.last = {}
        self.incarnation = sample.incarnation
        counters = {key: v for key, v in sample.params.items() if look_up(split_key(key)[0]).kind is FieldKind.COUNTER}
        if "cpu.time" in self.last and counters.get("cpu.time", 2**64) < self.last["cpu.time"][0]:
            self.last = {}
        fallen = {self.epoch(key) for key, value in counters.items() if key in self.last and value < self.last[key][0]}
        broken = fallen | {(group, d) for group in ("block", "interface", "vcpu") for d in sample.plugged}
        rates = {}
        for key, value in counters.items():
            if key in self.last and self.epoch(key) not in broken:
                before, moment = self.last[key]
                elapsed = elapsed_ns(moment, sample.moment)
                if elapsed > 0:
                    scale = Fraction(look_up(split_key(key)[0]).unit.scale).limit_denominator(10**9)
                    rates[key] = (value - before) * scale * S / elapsed
        kept = {
            key: known
            for key, known in self.last.items()
            if self.epoch(key)[0] in sample.missing and self.epoch(key) not in broken
        }
        self.last = kept | {key: (value, sample.moment) for key, value in counters.items()}
        return rates

    @staticmethod
    def epoch(key: str) -> tuple[str, str | None]:
        name, device = split_key(key)
        return look_up(name).group, whole_device(device)


KEYS = (
    "state.state",
    "cpu.time",
    "cpu.user",
    "balloon.swap_in",
    "balloon.rss",
    "vcpu.time[0]",
    "vcpu.delay[0]",
    "vcpu.time[1]",
    "net.rx.bytes[52:54:00:aa:bb:cc]",
    "net.tx.bytes[52:54:00:aa:bb:cc]",
    "block.rd.bytes[vda]",
    "block.rd.times[vda]",
    "block.latency_histogram.read.bin.value[vda/0]",
    "block.rd.bytes[vdb]",
    "block.capacity[vdb]",
)
GROUPS_WITH_KEYS = ("cpu-total", "balloon", "vcpu", "interface", "block")
DEVICES = ("52:54:00:aa:bb:cc", "vda", "vdb", "0")


@st.composite
def lives(draw: st.DrawFn, quiet: bool = False) -> list[Sample]:
    """Draw a guest's life: it runs and now and then restarts, falls, loses groups and devices, and clocks jump.

    *quiet* is one epoch: nothing restarts, falls or is plugged; groups may be missing.
    """
    values = {key: draw(st.integers(0, 2**62)) for key in KEYS}
    incarnation, boot_ns, wall_ms, boot = 1, S, 10**12, 0
    samples = []
    for _ in range(draw(st.integers(2, 12))):
        what = "run" if quiet else draw(st.sampled_from(["run", "run", "run", "restart", "fall", "boot", "plug"]))
        boot_ns += draw(st.integers(1 if quiet else 0, 30 * S))
        wall_ms += boot_ns // 1_000_000 if draw(st.booleans()) else draw(st.integers(-(10**9), 10**9))
        if what == "restart":
            incarnation += 1
            values = {key: draw(st.integers(0, 2**62)) for key in KEYS}
        elif what == "boot":
            boot, boot_ns = boot + 1, draw(st.integers(0, S))
        for key in KEYS:
            values[key] += draw(st.integers(0, 10**12))
        if what == "fall":
            key = draw(st.sampled_from(KEYS))
            values[key] = draw(st.integers(0, values[key]))
        plugged = draw(st.frozensets(st.sampled_from(DEVICES), max_size=2)) if what == "plug" else frozenset()
        missing = draw(st.frozensets(st.sampled_from(GROUPS_WITH_KEYS), max_size=3))
        gone = frozenset() if quiet else draw(st.frozensets(st.sampled_from(KEYS), max_size=2))
        lost = draw(st.frozensets(st.sampled_from(KEYS)))
        present = {
            key: values[key]
            for key in (KEYS if draw(st.booleans()) else reversed(KEYS))
            if key not in gone and not (look_up(split_key(key)[0]).group in missing and key in lost)
        }
        samples.append(Sample(present, Moment(wall_ms, boot_ns, f"boot-{boot}"), incarnation, missing, plugged))
    return samples


def run(samples: Iterable[Sample], share_shapes: bool = True) -> list[dict[str, float]]:
    shapes: dict[tuple[str, ...], Shape] = {}
    baseline: Baseline | None = None
    found = []
    for sample in samples:
        keys = tuple(sample.params)
        shape = shapes.setdefault(keys, Shape(keys)) if share_shapes else Shape(keys)
        breaks = Breaks(sample.missing, sample.plugged)
        rates, baseline = advance(baseline, shape, sample.params, sample.moment, sample.incarnation, breaks)
        found.append(rates)
    return found


@given(lives())
def test_no_rate_is_ever_negative(samples: list[Sample]) -> None:
    assert all(rate >= 0 for rates in run(samples) for rate in rates.values())


@given(lives())
def test_rates_equal_a_naive_model_of_every_field_on_its_own(samples: list[Sample]) -> None:
    model = NaiveModel()
    for sample, rates in zip(samples, run(samples), strict=True):
        expected = model.feed(sample)
        assert rates.keys() == expected.keys()
        for key, rate in rates.items():
            assert rate == pytest.approx(float(expected[key]), rel=1e-12)


@given(lives())
def test_preparing_a_shape_once_or_every_time_is_the_same(samples: list[Sample]) -> None:
    assert run(samples, share_shapes=True) == run(samples, share_shapes=False)


@given(lives(quiet=True))
def test_within_an_epoch_rates_add_up_to_what_the_counter_counted(samples: list[Sample]) -> None:
    first: dict[str, int] = {}
    seen: dict[str, Moment] = {}
    summed: dict[str, float] = {}
    for sample, rates in zip(samples, run(samples), strict=True):
        for key, value in sample.params.items():
            if look_up(split_key(key)[0]).kind is not FieldKind.COUNTER:
                continue
            if key in first:
                assert key in rates, "a field that was only missing has a rate over its own time"
                summed[key] = summed.get(key, 0.0) + rates[key] * elapsed_ns(seen[key], sample.moment) / S
                counted = (value - first[key]) * look_up(split_key(key)[0]).unit.scale
                assert summed[key] == pytest.approx(counted, rel=1e-9, abs=1e-9)
            else:
                first[key] = value
            seen[key] = sample.moment


@given(lives(quiet=True), st.sampled_from(GROUPS_WITH_KEYS))
def test_a_sample_that_lacks_a_group_changes_nothing_about_that_group(samples: list[Sample], group: str) -> None:
    """Rates after a partial sample are those there would have been had that sample not been at all."""
    *before, partial, after = samples

    def of_group(params: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in params.items() if look_up(split_key(key)[0]).group == group}

    emptied = Sample(
        {key: value for key, value in partial.params.items() if key not in of_group(partial.params)},
        partial.moment,
        partial.incarnation,
        partial.missing | {group},
        partial.plugged,
    )
    assert of_group(run([*before, emptied, after])[-1]) == of_group(run([*before, after])[-1])


def test_what_begins_anew_together_is_shared_among_guests_but_for_their_nics() -> None:
    """Those are one guest's each, and would be remembered of guests that have gone."""
    keys = [
        (f"block.rd.reqs[{disk}]", f"block.rd.bytes[{disk}]", f"net.rx.bytes[{mac}]", f"net.rx.pkts[{mac}]")
        for disk, mac in (("vda", "52:54:00:00:00:01"), ("vda", "52:54:00:00:00:02"))
    ]
    one, other = (Shape(of).epochs for of in keys)
    assert one == [("block", "vda")] * 2 + [("interface", "52:54:00:00:00:01")] * 2
    assert one[0] is one[1] is other[0]
    assert one[2] is one[3]
    remembered = _in_common.cache_info().currsize
    Shape(tuple(f"net.rx.bytes[52:54:00:00:01:{number:02x}]" for number in range(100)))
    assert _in_common.cache_info().currsize == remembered
