"""Who is there: chosen by name, and however many."""

from __future__ import annotations

from itertools import product

import libvirt
import pytest

from domstat.collect.wire import ALL, Globs
from domstat.collect.worker import roster
from standins import ACTIVE, Daemon, Guest, Refused

PERSISTENT, TRANSIENT = libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT, libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT
STATES = (
    libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING,
    libvirt.VIR_CONNECT_LIST_DOMAINS_PAUSED,
    libvirt.VIR_CONNECT_LIST_DOMAINS_OTHER,
)
STARTS = (libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART, libvirt.VIR_CONNECT_LIST_DOMAINS_NO_AUTOSTART)


def names(daemon: Daemon, domains: Globs = ALL) -> list[str]:
    connection, _ = daemon.connect()
    return sorted(domain.name() for domain in roster.active(connection, domains))


@pytest.mark.parametrize(
    ("domains", "chosen"),
    [
        (ALL, ["db-1", "web-1", "web-2"]),
        (Globs(("web-*",)), ["web-1", "web-2"]),
        (Globs(("web-*",), ("*-2",)), ["web-1"]),
        (Globs(("WEB-*",)), []),
        (Globs(()), []),
    ],
)
def test_guests_are_chosen_by_name(domains: Globs, chosen: list[str]) -> None:
    assert names(Daemon("web-1", "db-1", "web-2"), domains) == chosen


def crowd(each: int) -> Daemon:
    """Make a daemon that has so many guests of each kind, and lists no more than those at a time."""
    kinds = [sum(kind) for kind in product((PERSISTENT, TRANSIENT), STATES, STARTS)]
    daemon = Daemon(*(Guest(f"g{kind}-{i}", kinds=kind) for kind in kinds for i in range(each)))
    daemon.list_ceiling = each
    return daemon


def test_more_guests_than_libvirt_lists_at_a_time_are_listed_by_kind() -> None:
    daemon = crowd(3)
    assert names(daemon) == sorted(guest.name for guest in daemon.guests)
    assert names(daemon, Globs(("*-1",))) == sorted(guest.name for guest in daemon.guests if guest.name[-1] == "1")


def test_a_guest_that_is_listed_under_two_kinds_is_one_guest() -> None:
    daemon = crowd(3)
    daemon.guests[0].kinds |= TRANSIENT | sum(STATES) | sum(STARTS)
    daemon.list_ceiling = 4
    assert names(daemon) == sorted(guest.name for guest in daemon.guests)


def test_more_guests_of_one_kind_than_libvirt_lists_are_too_many() -> None:
    daemon = crowd(3)
    daemon.list_ceiling = 2
    with pytest.raises(Refused):
        names(daemon)


def test_another_refusal_is_not_asked_around() -> None:
    daemon = Daemon("web-1")
    daemon.trouble["listAllDomains"] = Refused(libvirt.VIR_ERR_NO_SUPPORT)
    with pytest.raises(Refused):
        names(daemon)


@pytest.mark.parametrize(
    ("code", "part", "is_ceiling"),
    [
        (libvirt.VIR_ERR_RPC, libvirt.VIR_FROM_RPC, True),  # the client's: too many guests
        (libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_FROM_RPC, True),  # the daemon's: it cannot encode the reply
        (libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_FROM_QEMU, False),
        (libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_FROM_RPC, False),
    ],
)
def test_an_answer_that_is_too_large_is_known_by_its_error(code: int, part: int, is_ceiling: bool) -> None:
    connection, _ = Daemon().connect()
    assert roster.is_ceiling(connection, Refused(code, part)) is is_ceiling
    connection.alive = False
    assert not roster.is_ceiling(connection, Refused(code, part)), "a connection that has ended is no ceiling"


def test_every_guest_of_a_real_driver_is_of_just_one_kind() -> None:
    xml = "<domain type='test'><name>{}</name><memory>1024</memory><os><type>hvm</type></os></domain>"
    connection = libvirt.open("test:///default")
    made = [connection.createXML(xml.format(f"roster-{i}")) for i in range(3)]
    try:
        made[0].suspend()
        connection.lookupByName("test").setAutostart(True)
        by_kind = [
            domain.name()
            for filters in product(*roster._KINDS)
            for domain in connection.listAllDomains(ACTIVE | sum(filters))
        ]
        assert sorted(by_kind) == ["roster-0", "roster-1", "roster-2", "test"]
    finally:
        for domain in made:
            domain.destroy()
        connection.lookupByName("test").setAutostart(False)
        connection.close()
