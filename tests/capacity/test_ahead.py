"""One series ahead, and what the method is worth."""

from __future__ import annotations

import numpy as np
import pytest

from capacity.fleets import HOURS, T, asked, two_hosts
from capacity.made import DAY_MS, HOUR_MS, Made
from domstat.capacity import ahead as looking
from domstat.capacity.ahead import Ahead, Asked, ahead
from domstat.capacity.explained import Unit
from domstat.capacity.gather import Selection
from domstat.history import Aggregate


def series_of(made: Made, asked_for: Asked, **selection: object) -> tuple[Ahead, ...]:
    return ahead(asked(made, selection=Selection(**selection)), asked_for).series  # type: ignore[arg-type]


def test_a_steady_rise_goes_on() -> None:
    made = Made(count=HOURS)
    made.guest("web", {"cpu.cores": 1 + 0.01 * T / 24})
    (one,) = series_of(made, Asked("cpu.cores", ahead_ms=10 * DAY_MS))
    assert one.projection is not None
    assert (one.name, one.unit, len(one.projection.middle)) == ("web", Unit.CORES, 10)
    assert one.projection.middle[-1] == pytest.approx(1 + 0.01 * (HOURS / 24 + 9.5), rel=0.01)
    assert one.mase_last.value is not None
    assert one.mase_last.value < 0.5


def test_steps_may_be_hours_and_values_the_greatest() -> None:
    wanted = Asked("host.cpu.utilization", ahead_ms=DAY_MS, step_ms=HOUR_MS, how=Aggregate.MAX)
    (one,) = series_of(two_hosts(), wanted, hosts=("kvm2",))
    assert one.projection is not None
    assert (one.host, one.unit, len(one.projection.middle)) == ("kvm2", Unit.RATIO, 24)


def test_devices_are_series_of_their_own_and_can_be_chosen() -> None:
    made = Made(count=HOURS)
    made.guest("web", {"net.rx.bytes[a]": 5.0, "net.rx.bytes[b]": 7.0})
    found = series_of(made, Asked("net.rx.bytes", ahead_ms=DAY_MS))
    assert [(one.device, one.unit, one.values[0]) for one in found] == [
        ("a", Unit.BYTES_PER_SECOND, 5),
        ("b", Unit.BYTES_PER_SECOND, 7),
    ]
    assert len(series_of(made, Asked("net.rx.bytes", devices=("b*",)))) == 1


def test_pools_have_series_too() -> None:
    (one,) = series_of(two_hosts(), Asked("pool.allocation"))
    assert (one.host, one.name, one.unit) == ("kvm1", "images", Unit.BYTES)


def test_without_a_past_there_is_a_sentence() -> None:
    made = Made(count=48)
    made.guest("web", {"cpu.cores": 1.0})
    (one,) = series_of(made, Asked("cpu.cores"))
    assert one.projection is None
    assert one.note.startswith("not enough history")
    assert not one.mase_last.is_known


def test_where_nothing_ever_changes_no_error_is_told() -> None:
    made = Made(count=HOURS)
    made.guest("web", {"cpu.cores": np.ones(HOURS)})
    (one,) = series_of(made, Asked("cpu.cores"))
    assert one.inside.value == 1.0


def test_states_go_nowhere() -> None:
    with pytest.raises(ValueError, match="a counter, a gauge or a derived value"):
        series_of(two_hosts(), Asked("state.state"))


def test_what_is_too_much_is_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "SERIES_MAX", 2)
    answer = ahead(asked(two_hosts()), Asked("cpu.cores"))
    assert (len(answer.series), answer.left_out) == (2, 1)


@pytest.mark.parametrize(
    ("field", "unit"),
    [
        ("cpu.time", Unit.CORES),
        ("block.rd.reqs", Unit.PER_SECOND),
        ("balloon.rss", Unit.BYTES),
        ("vcpu.current", Unit.NONE),
        ("block.rd.latency", Unit.SECONDS),
        ("nobody.knows", Unit.NONE),
    ],
)
def test_units_are_those_of_the_catalogue(field: str, unit: Unit) -> None:
    assert looking.unit_of(field) is unit
