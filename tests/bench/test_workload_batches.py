"""The made-up guests as batches: what the agent would have made of them."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from domstat.collect.sample import Sampled
from domstat.model import Batch, Kind, Record
from domstat_bench.workload import Hour, Workload
from domstat_bench.workload_batches import Batches, keys_of, ticks_of, uuid_of
from domstat_bench.workload_drive import GAP_TICKS
from domstat_bench.workload_kinds import AT

GUESTS, HOURS = 20, 26


@pytest.fixture(scope="module")
def hours() -> list[Hour]:
    return list(Workload(GUESTS).hours(HOURS))


@pytest.fixture(scope="module")
def batches(hours: list[Hour]) -> list[Batch]:
    making = Batches(Workload(GUESTS).kinds)
    return [batch for hour in hours for batch in making.of(hour)]


def guests(batch: Batch) -> list[Record]:
    return [record for record in batch.records if record.kind is Kind.GUEST]


def test_a_batch_holds_every_guest_with_the_values_of_the_hour(hours: list[Hour], batches: list[Batch]) -> None:
    assert len(batches) == sum(len(hour.ticks.time_ms) for hour in hours)
    record = guests(batches[7])[3]
    assert list(record.params) == list(keys_of(3))
    assert list(record.params.values()) == hours[0].values[:, 3, 7].tolist()
    assert all(type(value) is int for value in record.params.values())
    assert record.time_ms == batches[7].stamp.time_ms == hours[0].ticks.time_ms[7]


def test_a_guests_keys_are_the_very_same_from_tick_to_tick_and_nobody_elses(batches: list[Batch]) -> None:
    first, second = guests(batches[5]), guests(batches[6])
    for one, other in zip(first, second, strict=True):
        assert one.figures.keys is other.figures.keys
    assert len({record.figures.keys for record in first}) == GUESTS
    assert {record.domain.uuid for record in first if record.domain} == {uuid_of(number) for number in range(GUESTS)}


def test_a_guest_that_is_as_it_was_has_its_rates_worked_out_when_asked_for(batches: list[Batch]) -> None:
    record = guests(batches[9])[0]
    assert isinstance(record.figures, Sampled)
    assert record.interval_s == pytest.approx(10, abs=1)
    before = guests(batches[8])[0].params["cpu.time"]
    assert record.rates["cpu.time"] == pytest.approx((record.params["cpu.time"] - before) / 1e9 / record.interval_s)  # type: ignore[operator]


def test_one_that_begins_anew_has_another_id_and_no_rates(hours: list[Hour], batches: list[Batch]) -> None:
    anew = [
        (one, other)
        for before, batch in itertools.pairwise(batches)
        for one, other in zip(guests(before), guests(batch), strict=True)
        if one.domain != other.domain
    ]
    assert anew
    for one, other in anew:
        assert one.domain is not None
        assert other.domain is not None
        assert (one.domain.uuid, one.domain.name) == (other.domain.uuid, other.domain.name)
        assert other.rates == {}
        assert other.interval_s is None
    assert hours[0].incarnations.max() <= GUESTS + 2


def test_a_guest_that_is_off_has_no_id(batches: list[Batch]) -> None:
    off = [record for record in guests(batches[0]) if record.params["state.state"] == 5]
    assert off
    assert all(record.domain is not None and record.domain.id is None for record in off)


def test_labels_travel_at_first_and_once_an_hour_and_not_of_all_at_once(batches: list[Batch]) -> None:
    told = [sum(record.labels is not None for record in guests(batch)) for batch in batches[:720]]
    assert told[0] == GUESTS
    assert max(told[1:]) == 1
    assert sum(told[1:361]) == GUESTS


def test_ticks_that_are_missing_are_told_as_a_gap(batches: list[Batch]) -> None:
    gaps = [record.gap for batch in batches for record in batch.records if record.gap]
    assert len(gaps) == 1
    assert gaps[0].end - gaps[0].start == pytest.approx(10_000 * (len(GAP_TICKS) + 1), abs=1000)


def test_making_batches_of_plain_ticks_loads_no_numpy() -> None:
    code = "import sys, domstat_bench.store_memory; print('numpy' in sys.modules)"
    said = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "False\n"


def test_a_tick_has_what_its_hour_has() -> None:
    (hour,) = Workload(2).hours(1)
    tick = list(ticks_of(hour))[11]
    assert tick.values[1][AT["cpu.time"]] == hour.values[AT["cpu.time"], 1, 11]
    assert tick.incarnations == hour.incarnations[:, 11].tolist()
