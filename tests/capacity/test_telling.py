"""What the summary comes to as records: by the catalogue's names, in its units, and nothing that is unknown."""

from __future__ import annotations

import pytest

from capacity.fleets import asked, two_hosts
from capacity.made import GIB, Made
from domstat.capacity.demand import Resource
from domstat.capacity.runway import runway
from domstat.capacity.summary import summary
from domstat.capacity.telling import tell
from domstat.catalog import FIELDS
from domstat.model import split_key


def told(made: Made) -> dict[str, dict[str, float]]:
    figures = asked(made)
    return tell(summary(figures), runway(figures))


def test_each_host_is_told_of_and_all_together_are_none() -> None:
    assert set(told(two_hosts())) == {"kvm1", "kvm2"}


def test_values_are_those_of_the_summary() -> None:
    figures = asked(two_hosts())
    values = tell(summary(figures), runway(figures))["kvm1"]
    (kvm1,) = (one for one in summary(figures) if one.host == "kvm1")
    cpu = next(one for one in kvm1.standings if one.resource is Resource.CPU)
    assert values["capacity.cpu.total"] == 16
    assert values["capacity.cpu.allocated"] == 12
    assert values["capacity.cpu.peak"] == cpu.peak.value
    assert values["capacity.memory.usable"] == pytest.approx(0.8 * 64 * GIB)
    assert values["capacity.cpu.coverage"] == cpu.coverage.value


def test_time_remaining_is_in_seconds_and_pools_have_their_own() -> None:
    figures = asked(two_hosts())
    values = tell(summary(figures), runway(figures))["kvm1"]
    (images,) = (one for one in runway(figures) if one.name == "images")
    assert images.expected.value is not None
    assert values["capacity.pool.runway.expected[images]"] == images.expected.value * 86_400
    assert values["capacity.pool.risk.days180[images]"] == images.chances[2].value
    assert values["capacity.storage.runway.expected"] == values["capacity.pool.runway.expected[images]"]


def test_what_does_not_run_out_within_the_horizon_is_absent() -> None:
    values = told(two_hosts())["kvm2"]
    assert "capacity.memory.runway.conservative" not in values
    assert values["capacity.memory.risk.days180"] == 0


def test_every_key_is_in_the_catalogue() -> None:
    keys = {split_key(key)[0] for values in told(two_hosts()).values() for key in values}
    assert keys
    assert keys <= FIELDS.keys()


def test_of_nothing_nothing_is_told() -> None:
    assert tell((), ()) == {}
