"""How many more guests fit, by demand and by allocation."""

from __future__ import annotations

import math

import pytest

from capacity import arithmetic
from capacity.fleets import WAVES, asked, two_hosts
from capacity.made import GIB, Made
from domstat.capacity.demand import ALL, Resource
from domstat.capacity.explained import Unit, given, missing
from domstat.capacity.profile import Size
from domstat.capacity.remaining import Answer, Like, NobodyError, Remaining, fit, remaining


def by_host(answer: Answer) -> dict[str, Remaining]:
    return {one.host: one for one in answer.hosts}


def test_as_many_fit_as_the_scarcest_resource_has_room_for() -> None:
    answer = remaining(asked(two_hosts()), Like("web-2"))
    kvm2 = by_host(answer)["kvm2"]
    left = {one.resource: one.remaining.value or 0 for one in kvm2.standings}
    assert answer.each.cores.value == pytest.approx(sorted(1 + 5 * WAVES[-720:])[math.ceil(0.95 * 720) - 1])
    by_cpu = left[Resource.CPU] // (answer.each.cores.value or 1)
    by_memory = left[Resource.MEMORY] // (2 * GIB)
    assert kvm2.guests.value == min(by_cpu, by_memory)
    assert kvm2.limited_by is (Resource.CPU if by_cpu < by_memory else Resource.MEMORY)


def test_by_allocation_sizes_count() -> None:
    kvm2 = by_host(remaining(asked(two_hosts()), Like("web-2")))["kvm2"]
    assert kvm2.guests_by_allocation.value == min((8 * 4 - 2) // 2, (64 - 2) // 2)


def test_all_hosts_together_have_room_for_what_fits_on_each() -> None:
    found = by_host(remaining(asked(two_hosts()), Like("web-1")))
    assert found[ALL].guests.value == (found["kvm1"].guests.value or 0) + (found["kvm2"].guests.value or 0)


def test_the_average_guest_is_the_mean_of_those_that_run() -> None:
    each = remaining(asked(two_hosts())).each
    assert each.name == "the average of 3 guests"
    assert each.vcpus.value == pytest.approx((4 + 2 + 8) / 3)
    assert each.resident.value == pytest.approx((3 + 2 + 8) / 3 * GIB)
    assert each.held.value == pytest.approx((10 + 5 + 50) / 3 * GIB)


def test_a_size_is_used_as_the_average_guest_uses_its_own() -> None:
    usual = remaining(asked(two_hosts())).each
    each = remaining(asked(two_hosts()), Size(vcpus=7, disk=40 * GIB)).each
    assert each.vcpus.value == 7
    assert each.cores.value == pytest.approx(7 * (usual.cores.value or 0) / (usual.vcpus.value or 1))
    assert each.held.value == pytest.approx(20 * GIB)
    assert each.memory == usual.memory


def test_where_there_is_no_guest_to_go_by_a_size_is_used_wholly() -> None:
    made = Made(count=48)
    made.host("kvm1", {"host.cpus": 10, "host.memory.total": 16 << 20, "host.cpu.utilization": 0.2,
                       "host.memory.used": 4.0 * GIB})  # fmt: skip
    answer = remaining(asked(made), Size(vcpus=2, memory=GIB))
    assert answer.each.cores.value == 2
    assert by_host(answer)["kvm1"].guests.value == 3


def test_a_disk_must_fit_into_one_pool() -> None:
    made = two_hosts()
    made.pool("small", {"pool.capacity": 100.0 * GIB, "pool.allocation": 60.0 * GIB, "pool.age": 0.0})
    pools = {"kvm1/images": given(250.0, Unit.BYTES, ""), "kvm1/small": given(20.0, Unit.BYTES, "")}
    assert sum(fit(room, given(30.0, Unit.BYTES, "")).value or 0 for room in pools.values()) == 8
    found = by_host(remaining(asked(made), Size(vcpus=0.01, memory=1, disk=1000 * GIB)))["kvm1"]
    assert (found.guests.value, found.limited_by) == (0, Resource.STORAGE)


def test_what_is_not_known_is_not_guessed() -> None:
    made = Made(count=48)
    made.guest("web", {"cpu.cores": 1.0, "vcpu.current": 2})
    found = by_host(remaining(asked(made)))["kvm1"]
    assert (found.guests.value, found.guests_by_allocation.value) == (None, None)
    assert "nothing is known of" in found.guests.note


def test_a_guest_that_takes_nothing_has_no_limit() -> None:
    assert fit(given(1.0, Unit.CORES, ""), given(0.0, Unit.CORES, "")).note == "takes nothing of it"
    assert not fit(missing(Unit.CORES, "stale"), given(1.0, Unit.CORES, "")).is_known


def test_a_guest_that_is_not_there_cannot_be_like_anything() -> None:
    with pytest.raises(NobodyError, match="nobody"):
        remaining(asked(two_hosts()), Like("nobody"))


def test_every_explanation_is_right_by_its_own_inputs() -> None:
    answer = remaining(asked(two_hosts()), Size(vcpus=7))
    figures = [figure for one in answer.hosts for figure in (one.guests, one.guests_by_allocation)]
    assert arithmetic.check([*figures, answer.each.cores]) > 20
