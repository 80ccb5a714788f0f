"""What would be: hour by hour, a guest's demand goes in and out of its host's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from capacity import arithmetic
from capacity.fleets import HOURS, WAVES, T, asked, guest, two_hosts
from capacity.made import GIB, GIB_KIB, Made
from domstat.capacity.changes import Add, Change, Lose, Move, Remove, Resize
from domstat.capacity.demand import ALL, Resource
from domstat.capacity.grid import FloatArray
from domstat.capacity.standing import Standing
from domstat.capacity.whatif import Answer, ChangeError, whatif

KVM1 = 16 * (0.3 + 0.2 * T / HOURS + WAVES)
KVM2 = 8 * (0.25 + WAVES)
WEB1 = 2 + 10 * WAVES
WEB2 = 1 + 5 * WAVES


def changed(*changes: Change, made: Made | None = None) -> Answer:
    return whatif(asked(made or two_hosts()), changes)


def then(answer: Answer, host: str, resource: Resource) -> Standing:
    (found,) = (
        one for summary in answer.after for one in summary.standings if (one.host, one.resource) == (host, resource)
    )
    return found


def p95(values: FloatArray) -> float:
    window = values[-720:]
    return float(sorted(window)[math.ceil(0.95 * len(window)) - 1])


def test_a_guest_that_is_removed_takes_its_demand_its_size_and_its_disks_along() -> None:
    answer = changed(Remove("web-1"))
    cpu, memory, storage = (then(answer, "kvm1", of) for of in (Resource.CPU, Resource.MEMORY, Resource.STORAGE))
    assert cpu.peak.value == pytest.approx(p95(KVM1 - WEB1))
    assert cpu.allocated.value == 8
    assert memory.now.value == 37 * GIB
    assert storage.allocated.value == 150 * GIB
    assert storage.now.value == pytest.approx(490 * GIB, rel=0.001)


def test_guests_that_are_added_ask_for_what_the_one_like_them_does() -> None:
    answer = changed(Add(3, "web-2", "kvm2"))
    cpu, memory = (then(answer, "kvm2", of) for of in (Resource.CPU, Resource.MEMORY))
    assert cpu.peak.value == pytest.approx(p95(KVM2 + 3 * WEB2))
    assert (cpu.allocated.value, memory.allocated.value) == (8, 8 * GIB)
    assert memory.now.value == 46 * GIB
    assert answer.placed == (("web-2 +1", "kvm2"), ("web-2 +2", "kvm2"), ("web-2 +3", "kvm2"))


def test_guests_that_are_added_nowhere_in_particular_go_where_most_room_is_left() -> None:
    answer = changed(Add(1, "web-2"))
    assert answer.placed == (("web-2 +1", "kvm2"),)  # of memory both have as much left, and kvm1 less CPU than that
    assert changed(Add(50, "db-1")).unplaced != ()


def test_a_guest_that_is_moved_asks_there_for_what_it_asked_here() -> None:
    answer = changed(Move("web-1", "kvm2"))
    assert then(answer, "kvm1", Resource.CPU).peak.value == pytest.approx(p95(KVM1 - WEB1))
    assert then(answer, "kvm2", Resource.CPU).peak.value == pytest.approx(p95(KVM2 + WEB1))
    assert then(answer, ALL, Resource.CPU).peak.value == pytest.approx(p95(KVM1 + KVM2))
    assert then(answer, "kvm2", Resource.CPU).allocated.value == 6


def test_there_and_back_again_is_as_it_was() -> None:
    answer = changed(Move("web-1", "kvm2"), Move("web-1", "kvm1"))
    for host in ("kvm1", "kvm2"):
        before = next(one for one in answer.before if one.host == host).standings[0]
        assert then(answer, host, Resource.CPU).peak.value == pytest.approx(before.peak.value)


def test_a_guest_with_fewer_vcpus_asks_for_no_more_than_these() -> None:
    cpu = then(changed(Resize("web-1", vcpus=2)), "kvm1", Resource.CPU)
    assert cpu.peak.value == pytest.approx(p95(KVM1 - WEB1 + np.minimum(WEB1, 2)))
    assert cpu.allocated.value == 10


def test_a_guest_with_more_memory_fills_it_and_one_with_less_has_no_more() -> None:
    more, less = (then(changed(Resize("db-1", memory=gib * GIB)), "kvm1", Resource.MEMORY) for gib in (12, 2))
    assert (more.allocated.value, more.now.value) == (15 * GIB, 44 * GIB)
    assert (less.allocated.value, less.now.value) == (5 * GIB, 34 * GIB)


def test_a_guest_that_was_resized_and_is_removed_leaves_nothing() -> None:
    answer = changed(Resize("db-1", memory=12 * GIB), Remove("db-1"))
    assert then(answer, "kvm1", Resource.MEMORY).now.value == 32 * GIB


def test_a_lost_host_s_guests_start_on_the_others() -> None:
    answer = changed(Lose("kvm2"))
    assert answer.placed == (("web-2", "kvm1"),)
    assert [one.host for one in answer.after] == [ALL, "kvm1"]
    assert then(answer, "kvm1", Resource.CPU).peak.value == pytest.approx(p95(KVM1 + WEB2))
    assert then(answer, ALL, Resource.CPU).total.value == 16


def test_what_has_no_room_left_is_said() -> None:
    made = two_hosts()
    made.guest("huge", guest(0.1, 2, 60, 1), host="kvm2")
    assert changed(Lose("kvm2"), made=made).unplaced == ("huge",)


def test_a_guest_that_is_off_takes_only_its_disks_along() -> None:
    answer = changed(Remove("old"))
    assert then(answer, "kvm1", Resource.CPU).peak.value == pytest.approx(p95(KVM1))
    assert then(answer, "kvm1", Resource.STORAGE).now.value == pytest.approx(470 * GIB, rel=0.001)


def test_a_young_guest_is_taken_to_have_asked_for_its_mean_before() -> None:
    made = two_hosts()
    made.guest("new", guest(np.full(240, 3.0), 4, 1, 1), host="kvm2", first=HOURS - 240)
    answer = changed(Move("new", "kvm1"), made=made)
    assert then(answer, "kvm1", Resource.CPU).peak.value == pytest.approx(p95(KVM1 + 3))


def test_before_is_what_is() -> None:
    answer = changed(Remove("web-1"))
    before = next(one for one in answer.before if one.host == "kvm1").standings[0]
    assert before.peak.value == pytest.approx(p95(KVM1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Remove("nobody"), "there is no guest nobody"),
        (Add(1, "nobody"), "there is no guest nobody"),
        (Move("web-1", "kvm9"), "there is no host kvm9"),
        (Add(1, "web-1", "kvm9"), "there is no host kvm9"),
        (Lose("kvm9"), "there is no host kvm9"),
        (Remove("gone"), "gone is gone already"),
    ],
)
def test_what_cannot_be_is_refused(change: Change, said: str) -> None:
    made = two_hosts()
    made.guest("gone", {"vcpu.current": 1, "balloon.current": GIB_KIB, "cpu.cores": np.ones(24)})
    with pytest.raises(ChangeError, match=said):
        changed(change, made=made)


def test_the_last_host_cannot_be_lost() -> None:
    with pytest.raises(ChangeError, match="the only host"):
        changed(Lose("kvm1"), Lose("kvm2"))


def test_every_explanation_is_right_by_its_own_inputs() -> None:
    answer = changed(Add(2, "web-1"), Resize("db-1", vcpus=4))
    figures = [
        figure
        for summary in answer.after
        for one in summary.standings
        for figure in (one.usable, one.ratio, one.remaining, one.room)
    ]
    assert arithmetic.check(figures) > 20
