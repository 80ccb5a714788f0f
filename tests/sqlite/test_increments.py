"""What counters did between ticks; that it equals the stream's rates in all cases is tested with the roll-ups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domstat.model import Domain, Kind, Record, Stamp, Value, moment_within
from domstat.model import Figures as Made
from domstat_sinks.sqlite.rollups.increments import Run, Taken, moments, take
from domstat_sinks.sqlite.rollups.recipes import COUNTERS

from .histories import START_MS, Rows, Tick, history, stamps_of

SECOND_NS = 1_000_000_000


def ticks_of(*params: dict[str, Value], anew: dict[int, tuple[str, ...]] | None = None) -> list[Tick]:
    """Make a guest's ticks, a second apart."""
    made = []
    for i, its in enumerate(params):
        stamp = Stamp(START_MS + 1000 * i, (1 + i) * SECOND_NS, "1", 0)
        record = Record(
            kind=Kind.GUEST,
            host="h",
            collect="c",
            time_ms=stamp.time_ms,
            domain=Domain("u", "n", 1),
            figures=Made(its),
            anew=(anew or {}).get(i),
        )
        made.append(Tick(stamp, (record,)))
    return made


def taken(ticks: list[Tick]) -> tuple[Run, Taken]:
    (run,) = Rows().runs(ticks)
    return run, take(run, None)


def deltas_of(ticks: list[Tick]) -> dict[str, list[float | None]]:
    """Say what each counter did at the second tick and later; None for what was not taken."""
    run, found = taken(ticks)
    names = [name for sort in COUNTERS for name in run.plan.scope.series[sort].names]
    both = np.hstack([found.deltas.astype(np.float64), found.real_deltas])
    there = np.where(found.spans_ns > 0, both, np.nan)[1:].T.tolist()
    assert (np.isnan(found.rates) == (found.spans_ns == 0)).all()
    return {f"{name[0]}[{name[1]}]" if name[1] else name[0]: none(row) for name, row in zip(names, there, strict=True)}


def none(row: list[float]) -> list[float | None]:
    return [None if np.isnan(value) else value for value in row]


def test_what_a_counter_did_is_taken_between_neighbours() -> None:
    assert deltas_of(ticks_of({"cpu.time": 5}, {"cpu.time": 5}, {"cpu.time": 9})) == {"cpu.time": [0.0, 4.0]}


def test_nothing_is_taken_of_the_first_tick_that_nothing_is_known_before() -> None:
    _, found = taken(ticks_of({"cpu.time": 5}, {"cpu.time": 6}))
    assert found.spans_ns.tolist() == [[0], [SECOND_NS]]
    assert found.deltas[0].tolist() == [0]


def test_a_fall_takes_all_that_the_device_has_in_its_group_with_it() -> None:
    before: dict[str, Value] = {"block.rd.reqs[vda]": 5, "block.wr.reqs[vda]": 5, "block.rd.reqs[vda/1]": 5}
    others: dict[str, Value] = {"block.rd.reqs[vdb]": 5, "net.rx.bytes[vda]": 5}
    after: dict[str, Value] = {"block.rd.reqs[vda]": 4, "block.wr.reqs[vda]": 7, "block.rd.reqs[vda/1]": 7}
    found = deltas_of(ticks_of({**before, **others}, {**after, **others}))
    assert found == {key: [None] for key in before} | {key: [0.0] for key in others}


def test_a_fall_of_the_guests_own_time_takes_everything_with_it() -> None:
    first: dict[str, Value] = {"cpu.time": 5, "net.rx.bytes[a]": 5}
    assert deltas_of(ticks_of(first, {"cpu.time": 4, "net.rx.bytes[a]": 9})) == {key: [None] for key in first}


def test_a_device_that_was_plugged_anew_has_nothing_taken_at_that_tick() -> None:
    params: list[dict[str, Value]] = [{"block.rd.reqs[vda]": i, "cpu.time": i} for i in range(3)]
    found = deltas_of(ticks_of(*params, anew={1: ("vda",)}))
    assert found == {"block.rd.reqs[vda]": [None, 1.0], "cpu.time": [1.0, 1.0]}


def test_counters_beyond_2_to_the_63_and_below_zero_are_exact() -> None:
    large = (1 << 64) - 3
    found = deltas_of(ticks_of({"cpu.time": large, "odd.sum": -5}, {"cpu.time": large + 2, "odd.sum": 3}))
    assert found == {"cpu.time": [2.0], "odd.sum": [8.0]}


def test_a_counter_below_zero_can_fall() -> None:
    assert deltas_of(ticks_of({"odd.sum": 3}, {"odd.sum": -5})) == {"odd.sum": [None]}


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_a_counter_that_is_no_number_adds_nothing(odd: float) -> None:
    key = "cpu.energy.monitor.pkg.core_energy[0/0]"
    assert deltas_of(ticks_of({key: 1.5}, {key: odd}, {key: 2.5})) == {key: [None, None]}


@given(st.integers(0, 2**32))
def test_a_record_was_read_when_the_stream_says_it_was(seed: int) -> None:
    for run in Rows().runs(history(seed, length=3)):
        by_boot, by_wall = moments(run.plan, run.stamps)
        for tick, stamp in enumerate(history(seed, length=3)):
            if stamp.stamp.time_ms not in run.stamps.times_ms.tolist():
                continue
            row = run.stamps.times_ms.tolist().index(stamp.stamp.time_ms)
            places = run.plan.places.tolist()
            expected = [moment_within(stamp.stamp, place, run.plan.guests) for place in places]
            assert by_boot[row].tolist() == [moment.boot_ns for moment in expected], tick
            assert by_wall[row].tolist() == [moment.time_ms for moment in expected], tick


def test_time_between_boots_is_by_the_wall_clock() -> None:
    first, second = ticks_of({"cpu.time": 1}, {"cpu.time": 2})
    (run,) = Rows().runs([first, second])
    other = stamps_of([first.stamp, Stamp(START_MS + 1500, 7, "2", 0)])
    assert take(Run(run.plan, other, run.words), None).spans_ns.tolist() == [[0], [1_500_000_000]]
