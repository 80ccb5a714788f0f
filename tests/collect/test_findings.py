"""What a survey found, as records."""

from __future__ import annotations

from typing import Any

import pytest

from answers import UUID, disk_xml, domain_xml, stamp
from domstat.collect import wire
from domstat.collect.findings import COLLECT, DETAILS_EVERY_NS, Ages, Findings
from domstat.collect.labels import LabelRules
from domstat.model import Domain, Figures, Kind, Moment, Pool, Record

GIB = 1 << 30
HOUR_S = DETAILS_EVERY_NS / 1e9
SIZES = "<vcpu current='1'>4</vcpu><memory unit='MiB'>8</memory>"
XML = domain_xml(disk_xml("vda"), id=None, title="Web").replace("</name>", f"</name>{SIZES}")


def moment(seconds: float, boot: str = "boot") -> Moment:
    return Moment(round(seconds * 1000), round(seconds * 1e9), boot)


def pool(
    allocation: int = 600, *, fresh: bool = False, name: str = "images", path: str = "/images"
) -> wire.PoolFigures:
    return wire.PoolFigures(name, "dir", 2, 1000, allocation, 1000 - allocation, fresh, path)


def sleeper(xml: str | None = XML, **volumes: tuple[int | None, int | None]) -> wire.Sleeper:
    return wire.Sleeper(UUID, "web-1", (5, 1), xml, volumes)


def surveyed(seconds: float, *found: wire.PoolFigures | wire.Sleeper, notes: tuple[str, ...] = ()) -> wire.Surveyed:
    pools = [item for item in found if isinstance(item, wire.PoolFigures)]
    sleepers = [item for item in found if isinstance(item, wire.Sleeper)]
    return wire.Surveyed(stamp(seconds), pools, sleepers, list(notes))


def records(findings: Findings, seconds: float, *found: wire.PoolFigures | wire.Sleeper) -> tuple[Record, ...]:
    return findings.batch(surveyed(seconds, *found))[0].records


# --- ages of pools


def ages(*looks: wire.PoolFigures | None) -> list[float | None]:
    """Return a pool's age at each of some looks, ten seconds apart; None is a look that did not see it."""
    known = Ages()
    seen = (known.take([look] if look else [], moment(10.0 * n)) for n, look in enumerate(looks))
    return [age.get("images") for age in seen]


def test_fresh_figures_have_no_age() -> None:
    assert ages(pool(fresh=True), pool(fresh=True), pool(700, fresh=True)) == [0.0, 0.0, 0.0]


def test_nobody_can_tell_the_age_of_figures_that_have_never_changed() -> None:
    assert ages(pool(), pool(), pool()) == [None, None, None]


def test_figures_that_changed_are_not_older_than_the_look_before() -> None:
    assert ages(pool(), pool(), pool(700), pool(700), pool(700), pool(800)) == [None, None, 10.0, 20.0, 30.0, 10.0]


def test_figures_that_were_fresh_and_have_not_changed_are_as_old_as_that() -> None:
    assert ages(pool(fresh=True), pool(), pool()) == [0.0, 10.0, 20.0]


def test_that_libvirts_figures_are_not_the_fresh_ones_tells_nothing_of_their_age() -> None:
    assert ages(pool(fresh=True), pool(700), pool(700), pool(800)) == [0.0, None, None, 10.0]


def test_a_pool_that_was_away_begins_anew() -> None:
    assert ages(pool(), pool(700), None, pool(700)) == [None, 10.0, None, None]


def test_pools_that_are_gone_are_forgotten() -> None:
    known = Ages()
    for number in range(100):
        known.take([pool(name=str(number))], moment(number))
    assert len(known._pools) == 1


def test_the_age_goes_on_by_wall_time_across_a_boot() -> None:
    known = Ages()
    known.take([pool()], moment(1000.0))
    known.take([pool(700)], moment(2000.0))
    assert known.take([pool(700)], Moment(3_000_000, 5, "next boot")) == {"images": 2000.0}


# --- records


def test_a_pools_record_has_its_figures_and_its_age() -> None:
    (record,) = records(Findings("kvm1"), 10, pool(fresh=True))
    assert record == Record(
        kind=Kind.POOL,
        host="kvm1",
        collect=COLLECT,
        time_ms=stamp(10).time_ms,
        labels={"type": "dir", "path": "/images"},
        figures=Figures(
            {"pool.state": 2, "pool.capacity": 1000, "pool.allocation": 600, "pool.available": 400},
            derived={"pool.age": 0.0},
        ),
        pool=Pool("images"),
    )


def test_the_age_of_a_pool_is_absent_while_nobody_can_tell_it() -> None:
    findings = Findings("kvm1")
    assert records(findings, 10, pool())[0].derived == {}
    assert records(findings, 20, pool(700))[0].derived == {"pool.age": pytest.approx(10)}


def test_a_guest_that_is_off_has_what_is_configured_and_the_sizes_of_its_disks() -> None:
    (record,) = records(Findings("kvm1"), 10, sleeper(vda=(20 * GIB, 5 * GIB), vdb=(None, GIB)))
    assert record == Record(
        kind=Kind.GUEST,
        host="kvm1",
        collect=COLLECT,
        time_ms=stamp(10).time_ms,
        domain=Domain(UUID, "web-1", None),
        labels={"title": "Web"},
        devices={"vda": {"bus": "virtio", "format": "qcow2", "alias": "virtio-vda", "type": "file"}},
        figures=Figures(
            {
                "state.state": 5,
                "state.reason": 1,
                "vcpu.maximum": 4,
                "balloon.maximum": 8192,
                "volume.capacity[vda]": 20 * GIB,
                "volume.allocation[vda]": 5 * GIB,
                "volume.allocation[vdb]": GIB,
            }
        ),
    )


def test_what_is_not_known_of_a_guest_is_absent() -> None:
    (record,) = records(Findings("kvm1"), 10, sleeper(None))
    assert record.params == {"state.state": 5, "state.reason": 1}
    assert (record.labels, record.devices) == (None, None)


def test_a_guest_whose_xml_cannot_be_read_has_a_state_and_is_noted() -> None:
    batch, notes = Findings("kvm1").batch(surveyed(10, sleeper("<domain", vda=(1, 1)), notes=("a pool fails",)))
    assert batch.records[0].params == {
        "state.state": 5,
        "state.reason": 1,
        "volume.capacity[vda]": 1,
        "volume.allocation[vda]": 1,
    }
    assert notes[0] == "a pool fails"
    assert notes[1].startswith("the guest web-1: its XML cannot be parsed")


def test_a_batch_has_pools_first_and_its_own_stream() -> None:
    batch, _ = Findings("kvm1").batch(surveyed(10, sleeper(), pool()))
    assert [record.kind for record in batch.records] == [Kind.POOL, Kind.GUEST]
    assert batch.stream == ("kvm1", "survey")
    assert batch.stamp == stamp(10)


def test_an_empty_host_is_an_empty_batch() -> None:
    assert records(Findings("kvm1"), 10) == ()


def test_the_users_labels_are_read() -> None:
    rules = LabelRules({"owner": "description"})
    xml = XML.replace("<devices>", "<description>me</description><devices>")
    (record,) = records(Findings("kvm1", rules=rules), 10, sleeper(xml))
    assert record.labels == {"owner": "me", "title": "Web"}


def test_only_the_chosen_fields_are_kept() -> None:
    findings = Findings("kvm1", wire.Globs(("volume.*", "pool.*"), ("*.capacity",)))
    of_pool, of_guest = records(findings, 10, pool(), sleeper(vda=(1, 2)))
    assert of_pool.params.keys() == {"pool.state", "pool.allocation", "pool.available"}
    assert of_guest.params == {"volume.allocation[vda]": 2}


# --- from one survey to the next


def test_a_record_says_how_long_ago_the_one_before_was() -> None:
    findings = Findings("kvm1")
    first, second = records(findings, 10, pool(), sleeper()), records(findings, 310, pool(), sleeper())
    assert [record.interval_s for record in first] == [None, None]
    assert [record.interval_s for record in second] == [300.0, 300.0]


def test_details_travel_when_they_are_new_when_they_change_and_once_an_hour() -> None:
    findings = Findings("kvm1")
    changed = sleeper(XML.replace("Web", "Shop"))
    looks: list[tuple[float, Any, bool]] = [
        (0, sleeper(), True),
        (300, sleeper(), False),
        (600, changed, True),
        (900, changed, False),
        (600 + HOUR_S - 1, changed, False),
        (600 + HOUR_S, changed, True),
    ]
    for seconds, look, travels in looks:
        of_pool, of_guest = records(findings, seconds, pool(), look)
        assert (of_guest.labels is not None, of_guest.devices is not None) == (travels, travels), seconds
        assert (of_pool.labels is not None) == (seconds in {0, HOUR_S + 599}), seconds


def test_a_guest_that_was_started_in_between_is_new_when_it_is_off_again() -> None:
    findings = Findings("kvm1")
    records(findings, 0, sleeper())
    assert records(findings, 300) == ()
    (record,) = records(findings, 600, sleeper())
    assert record.interval_s is None
    assert record.labels == {"title": "Web"}


def test_two_surveys_never_have_the_same_time() -> None:
    findings = Findings("kvm1")
    times = [records(findings, 10, pool())[0].time_ms for _ in range(3)]
    assert len(set(times)) == 3
