"""The summary of hosts: who presses hardest, and who is there."""

from __future__ import annotations

import numpy as np

from capacity.fleets import asked, two_hosts
from capacity.made import Made
from domstat.capacity.demand import ALL, Resource
from domstat.capacity.summary import Summary, summary


def by_host(made: Made) -> dict[str, Summary]:
    return {one.host: one for one in summary(asked(made))}


def test_what_is_full_first_constrains_a_host() -> None:
    found = by_host(two_hosts())
    kvm1 = {one.resource: one.time_remaining.value for one in found["kvm1"].standings}
    assert found["kvm1"].constrained is min(Resource.CPU, Resource.STORAGE, key=lambda of: kvm1[of] or 0)


def test_where_nothing_runs_out_what_is_used_most_constrains_it() -> None:
    assert by_host(two_hosts())["kvm2"].constrained is Resource.MEMORY  # 40 of 51.2 GiB


def test_guests_are_counted_by_how_they_are() -> None:
    found = by_host(two_hosts())
    assert [(found[host].running, found[host].off) for host in (ALL, "kvm1", "kvm2")] == [(3, 1), (2, 1), (1, 0)]


def test_of_one_host_there_is_no_line_for_all() -> None:
    made = Made(count=48)
    made.host("kvm1", {"host.cpus": 4, "host.cpu.utilization": 0.5})
    assert list(by_host(made)) == ["kvm1"]


def test_a_host_that_vanished_says_since_when() -> None:
    made = two_hosts()
    made.host("kvm0", {"host.cpus": np.full(24, 99.0)})
    found = by_host(made)["kvm0"]
    assert found.note == "stale figures: not seen for 99.0 days"
    assert found.constrained is None


def test_nothing_has_no_summary() -> None:
    assert summary(asked(Made(count=1))) == ()
