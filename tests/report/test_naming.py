"""What things are called, and what comes first."""

from __future__ import annotations

from domstat.capacity.runway import Status
from domstat.report.naming import NAMES_MAX, some, soonest, thing, tone
from report.asked import full, growing, hostile, lost


def test_things_are_named_by_host_and_resource_and_disks_by_their_guest() -> None:
    assert {thing(one) for one in growing().runways} == {
        "all hosts CPU", "all hosts memory", "kvm1 CPU", "kvm1 memory", "kvm1 storage images", "kvm2 CPU",
        "kvm2 memory",
    }  # fmt: skip
    assert "var(--ink) vda" in {thing(one) for one in hostile().runways}


def test_what_is_full_first_comes_first_and_what_has_no_end_comes_last() -> None:
    names = [thing(one) for one in sorted(growing().runways, key=soonest)]
    assert names[:3] == ["kvm1 CPU", "kvm1 storage images", "all hosts CPU"]


def test_each_status_has_a_colour_and_what_is_not_known_its_own() -> None:
    found = [one for made in (growing, full, lost) for one in made().runways]
    tones = {one.status: tone(one) for one in found}
    assert tones[Status.FULL] == "full"
    assert tones[Status.SHORT] == "short"
    assert tones[Status.BEYOND] == "ample"
    assert tones[Status.STALE] == "unknown"
    assert tone(None) == "unknown"


def test_a_list_of_names_reads_as_a_list_and_ends_somewhere() -> None:
    assert some([]) == ""
    assert some(["a"]) == "a"
    assert some(["a", "b", "c"]) == "a, b and c"
    assert some([str(number) for number in range(NAMES_MAX + 2)]).endswith("and 2 more")
