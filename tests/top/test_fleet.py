"""What is known of hosts and guests: who is there, who has gone, and their last hour."""

from __future__ import annotations

from domstat.top.fleet import Fleet
from domstat.top.measures import CPU
from domstat.top.ring import BIN_MS
from records import (
    GIB_IN_KIB,
    HOST,
    TIME_MS,
    agent_record,
    batch,
    event_record,
    guest_record,
    host_record,
    pool_record,
    sleeper_record,
)
from top.fleets import INTERVAL_MS, fleet, guest, stuck, tick, uuid_of


def names(known: Fleet) -> list[str]:
    return sorted(row.name for row in known.picture().guests)


def test_a_tick_gives_its_host_and_its_guests() -> None:
    picture = fleet(guest(1), stuck(2)).picture()
    (host,) = picture.hosts
    assert (host.name, host.time_ms, host.interval_s, host.call_s) == (HOST, TIME_MS, 2.0, 0.012)
    assert (host.guests, host.stuck) == (2, 1)
    assert (host.cpus, host.busy) == (16, 0.25)
    assert (host.memory_used, host.memory_total) == (40 * GIB_IN_KIB * 1024, 64 * GIB_IN_KIB * 1024)
    assert host.versions == ("QEMU 7.2.22", "libvirt 9.0.0")
    assert picture.time_ms == TIME_MS
    assert sorted(row.name for row in picture.guests) == ["web-1", "web-2"]


def test_hosts_are_there_before_anything_comes_of_them() -> None:
    picture = Fleet(["b", "a"]).picture()
    assert [(host.name, host.time_ms) for host in picture.hosts] == [("a", None), ("b", None)]
    assert picture.time_ms == 0


def test_guests_that_are_off_pools_events_and_the_agent_itself_are_no_rows_and_make_no_host() -> None:
    known = Fleet()
    known.take([batch(pool_record(), sleeper_record(), collect="survey")])
    known.take([batch(event_record(), collect="events"), batch(agent_record(), collect="delivery", host="agent")])
    assert known.picture().hosts == ()


def test_a_guest_goes_when_some_ticks_have_passed_without_it() -> None:
    known = fleet(guest(1), guest(2))
    known.take([tick(guest(1), time_ms=TIME_MS + 5_000)])
    assert names(known) == ["web-1", "web-2"], "a tick may come in parts"
    known.take([tick(guest(1), time_ms=TIME_MS + 5_001)])
    assert names(known) == ["web-1"]


def test_of_a_host_that_is_asked_seldom_a_guest_stays_longer() -> None:
    known = Fleet()
    known.take([batch(host_record(), guest_record("slow", interval_s=60.0))])
    known.take([batch(host_record(time_ms=TIME_MS + 149_000), time_ms=TIME_MS + 149_000)])
    assert names(known) == ["slow"]
    known.take([batch(host_record(time_ms=TIME_MS + 151_000), time_ms=TIME_MS + 151_000)])
    assert names(known) == []


def test_when_the_last_guest_has_gone_the_ticks_of_a_stream_without_a_host_record_still_count() -> None:
    known = Fleet()
    known.take([batch(guest_record("last", collect="slow", interval_s=2.0), collect="slow")])
    later = TIME_MS + 10_000
    known.take([batch(agent_record(collect="slow", time_ms=later), collect="slow", time_ms=later)])
    assert names(known) == []


def test_a_guest_of_two_streams_has_one_row_of_both() -> None:
    known = Fleet()
    known.take([batch(guest_record(without=("block.", "balloon.")))])
    known.take([batch(guest_record(collect="slow", without=("cpu.", "vcpu.", "net.")), collect="slow")])
    (row,) = known.picture().guests
    assert None not in row.values


def test_a_guest_that_migrates_is_on_both_hosts_for_a_moment() -> None:
    known = fleet(guest(1))
    known.take([tick(guest(1), host="kvm2")])
    assert sorted(row.key for row in known.picture().guests) == [(HOST, uuid_of(1)), ("kvm2", uuid_of(1))]


def test_a_host_that_does_not_answer_keeps_its_figures_and_says_why_until_it_answers() -> None:
    known = fleet(guest(1))
    known.fail(HOST, "connection refused")
    (host,) = known.picture().hosts
    assert (host.trouble, host.cpus, host.guests) == ("connection refused", 16, 1)
    known.take([tick(guest(1), time_ms=TIME_MS + INTERVAL_MS)])
    assert known.picture().hosts[0].trouble is None


def test_a_host_that_never_answered_is_there_too() -> None:
    known = Fleet()
    known.fail("kvm9", "no such file")
    assert [(host.name, host.trouble) for host in known.picture().hosts] == [("kvm9", "no such file")]


def test_a_picture_stays_as_it_is_whatever_comes_later() -> None:
    known = fleet(guest(1))
    picture = known.picture()
    before = picture.guests[0].values
    known.take([tick(guest(1, load=3.0), time_ms=TIME_MS + INTERVAL_MS)])
    assert picture.guests[0].values == before
    assert known.picture().guests[0].values != before


def test_the_last_hour_is_of_what_came_and_of_what_is_told_of_before() -> None:
    known = fleet(guest(1))
    key = (HOST, uuid_of(1))
    known.fill(key, [(TIME_MS - BIN_MS, (0.75, *[None] * 7))])
    assert known.hour(key, CPU, TIME_MS)[-2:] == [0.75, 0.25]


def test_of_a_guest_that_is_not_there_there_is_no_hour() -> None:
    known = fleet(guest(1))
    for key in ((HOST, uuid_of(9)), ("kvm9", uuid_of(1))):
        known.fill(key, [(TIME_MS, (0.5, *[None] * 7))])
        assert known.hour(key, CPU, TIME_MS) == []


def test_a_picture_finds_a_guest_by_its_key() -> None:
    picture = fleet(guest(1)).picture()
    found = picture.guest((HOST, uuid_of(1)))
    assert found is not None
    assert found.name == "web-1"
    assert picture.guest((HOST, uuid_of(2))) is None
    assert picture.guest(None) is None
