"""Every guest asked by itself: who is stuck is found out, and holds up nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import libvirt
import pytest

from domstat.collect.worker.isolation import Crew, Found, isolate
from standins import GETS_STUCK, Daemon, Domain, Guest, Refused

STATS = 32
LIMIT_S = 0.5
"""Waited for by those tests in which a guest hangs; a healthy one answers within it on a busy machine too."""
PATIENCE_S = 60.0


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    made = Daemon(*(f"g{i}" for i in range(8)))
    yield made
    for guest in made.guests:
        guest.go_on()


def crew_of(daemon: Daemon) -> Crew:
    connection, _ = daemon.connect()
    domains = [Domain(connection, guest) for guest in daemon.guests]
    return Crew(domains, lambda: daemon.connect()[0], STATS, 0)


def isolated(daemon: Daemon, threads: int = 2, limit_s: float = PATIENCE_S) -> Found:
    return isolate(crew_of(daemon), threads=threads, limit_s=limit_s)


def names(found: Found) -> set[str]:
    return {domain.name() for domain, _ in found.records}


def until_idle() -> None:
    end = time.monotonic() + PATIENCE_S
    while any(thread.name == "isolate" for thread in threading.enumerate()):
        assert time.monotonic() < end, "threads that have nothing to do go on"
        time.sleep(0.01)


def test_every_healthy_guest_is_asked_once_and_by_itself(daemon: Daemon) -> None:
    found = isolated(daemon)
    assert names(found) == {guest.name for guest in daemon.guests}
    assert (found.stuck, found.unasked) == ([], 0)
    assert sorted(guests for _, guests, _, _ in daemon.calls) == [(guest.name,) for guest in daemon.guests]


def test_every_thread_has_a_connection_of_its_own(daemon: Daemon) -> None:
    daemon.before = lambda: time.sleep(0.01)
    isolated(daemon, threads=4)
    asked_over = set(map(id, daemon.callers))
    assert len(asked_over) == 4
    assert len(daemon.connections) == 1 + 4


def test_no_more_threads_are_started_than_there_are_guests(daemon: Daemon) -> None:
    del daemon.guests[1:]
    isolated(daemon, threads=4)
    assert len(daemon.connections) == 1 + 1


def test_no_guest_is_no_work(daemon: Daemon) -> None:
    daemon.guests.clear()
    found = isolated(daemon)
    assert (found.records, found.stuck, found.unasked, found.took_ns) == ([], [], 0, 0)


def test_a_guest_that_hangs_is_stuck_and_the_others_are_asked_by_the_other_thread(daemon: Daemon) -> None:
    daemon.guests[0].hang()
    began = time.monotonic()
    found = isolated(daemon, limit_s=LIMIT_S)
    assert LIMIT_S <= time.monotonic() - began < GETS_STUCK, "for no longer than the limit"
    assert found.stuck == ["uuid-of-g0"]
    assert names(found) == {f"g{i}" for i in range(1, 8)}
    assert found.unasked == 0


def test_the_time_it_took_ends_with_the_last_answer_not_with_the_search(daemon: Daemon) -> None:
    daemon.guests[0].hang()
    assert 0 < isolated(daemon, limit_s=LIMIT_S).took_ns < LIMIT_S * 1e9


def test_when_every_thread_is_stuck_the_rest_is_unasked_and_is_not_asked_later(daemon: Daemon) -> None:
    for guest in daemon.guests[:3]:
        guest.hang()
    found = isolated(daemon, threads=3, limit_s=LIMIT_S)
    assert set(found.stuck) == {"uuid-of-g0", "uuid-of-g1", "uuid-of-g2"}
    assert found.records == []
    assert found.unasked == 5
    for guest in daemon.guests:
        guest.go_on()
    until_idle()
    assert {name for _, (name,), _, _ in daemon.calls} == {"g0", "g1", "g2"}


def test_a_guest_that_is_gone_or_refuses_is_neither_stuck_nor_in_the_way(daemon: Daemon) -> None:
    crew = crew_of(daemon)
    daemon.guests[0].gone = True
    daemon.guests[1].refusal = Refused(libvirt.VIR_ERR_OPERATION_INVALID)
    found = isolate(crew, threads=1, limit_s=PATIENCE_S)
    assert names(found) == {f"g{i}" for i in range(2, 8)}
    assert (found.stuck, found.unasked) == ([], 0)


def test_a_guest_that_is_slow_is_not_stuck() -> None:
    daemon = Daemon(Guest("slow"))
    daemon.before = lambda: time.sleep(LIMIT_S / 5)
    assert names(isolated(daemon, limit_s=LIMIT_S)) == {"slow"}


def test_one_connection_that_cannot_be_made_leaves_its_share_to_the_others(daemon: Daemon) -> None:
    crew = crew_of(daemon)
    left = iter([Refused(libvirt.VIR_ERR_NO_CONNECT)])

    def connect() -> object:
        for error in left:
            raise error
        return daemon.connect()[0]

    crew._connect = connect
    found = isolate(crew, threads=2, limit_s=PATIENCE_S)
    assert names(found) == {guest.name for guest in daemon.guests}
    assert found.unasked == 0


def test_a_connection_that_ends_leaves_the_guest_it_was_asking_to_the_others(daemon: Daemon) -> None:
    crew = crew_of(daemon)
    others_ask = threading.Event()

    def ask() -> None:
        others_ask.set()
        time.sleep(0.02)

    daemon.before = ask
    doomed, _ = daemon.connect()

    def end(*_: object) -> object:
        others_ask.wait(PATIENCE_S)
        doomed.alive = False
        raise Refused(libvirt.VIR_ERR_INTERNAL_ERROR)

    doomed.domainListGetStats = end  # type: ignore[method-assign, assignment]
    first = iter([doomed])
    crew._connect = lambda: next(first, None) or daemon.connect()[0]
    found = isolate(crew, threads=2, limit_s=PATIENCE_S)
    assert names(found) == {guest.name for guest in daemon.guests}
    assert found.unasked == 0


def test_if_no_connection_can_be_made_that_is_what_is_wrong(daemon: Daemon) -> None:
    crew = crew_of(daemon)
    daemon.trouble["open"] = Refused(libvirt.VIR_ERR_NO_CONNECT)
    with pytest.raises(Refused, match=str(libvirt.VIR_ERR_NO_CONNECT)):
        isolate(crew, threads=2, limit_s=PATIENCE_S)


def test_a_daemon_that_dies_on_the_way_is_not_taken_for_guests_that_are_gone(daemon: Daemon) -> None:
    crew = crew_of(daemon)

    def die_at_the_third() -> None:
        if len(daemon.calls) == 3:
            for connection in daemon.connections:
                connection.alive = False
            raise Refused(libvirt.VIR_ERR_INTERNAL_ERROR)

    daemon.before = die_at_the_third
    with pytest.raises(Refused):
        isolate(crew, threads=1, limit_s=PATIENCE_S)
