"""What a connection leads to, and which stats groups its driver knows, without a guest being touched."""

from __future__ import annotations

from typing import Any

import libvirt
import pytest

from domstat.catalog import GROUPS
from domstat.collect.worker.abilities import examine, known_groups

ENFORCE = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ENFORCE_STATS
NOWAIT = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
ACTIVE = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE
SHUTOFF = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_SHUTOFF
UNHEARD_OF = 1 << 30


class FakeError(libvirt.libvirtError):  # type: ignore[misc]
    def __init__(self, code: int, message: str = "") -> None:
        Exception.__init__(self, message)
        self.err = (code, 0, message, 2, "", "", "", 0, 0)


class Driver:
    """A driver with some guests, which refuses stats as QEMU's does, and flags as old ones do."""

    def __init__(self, guests: int = 3, supported: int = 0, refused_flags: int = 0, error: Any = None) -> None:
        self._guests = [f"guest {i}" for i in range(guests)]
        self._supported = supported
        self._refused_flags = refused_flags
        self._error = error
        self.calls: list[tuple[tuple[str, ...], int, int]] = []

    def listAllDomains(self, flags: int) -> list[str]:  # noqa: N802 - libvirt's name
        assert flags == libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE
        return self._guests

    def domainListGetStats(self, guests: list[str], stats: int, flags: int) -> list[Any]:  # noqa: N802 - ditto
        return self._stats(tuple(guests), stats, flags)

    def getAllDomainStats(self, stats: int, flags: int) -> list[Any]:  # noqa: N802 - ditto
        assert flags & ACTIVE
        assert flags & SHUTOFF
        return self._stats((), stats, flags)

    def _stats(self, guests: tuple[str, ...], stats: int, flags: int) -> list[Any]:
        self.calls.append((guests, stats, flags))
        if self._error:
            raise self._error
        if flags & self._refused_flags:
            raise FakeError(libvirt.VIR_ERR_INVALID_ARG, "unsupported flags (0x20000000) in function x")
        if guests and flags & ENFORCE and stats & ~self._supported:
            text = f"argument unsupported: Stats types bits 0x{stats & ~self._supported:x} are not supported by QEMU"
            raise FakeError(libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, text)
        return []


def test_the_refusal_of_one_call_about_one_guest_tells_every_group() -> None:
    driver = Driver(supported=0x3F)
    assert known_groups(driver) == {name: bit <= 0x3F for name, bit in GROUPS.items()}
    (call,) = driver.calls
    assert call == (("guest 0",), sum(GROUPS.values()) | UNHEARD_OF, ENFORCE | NOWAIT)


def test_a_group_that_there_is_not_has_the_call_refused_though_all_others_are_known() -> None:
    assert not UNHEARD_OF & sum(GROUPS.values())
    assert known_groups(Driver(supported=sum(GROUPS.values()))) == dict.fromkeys(GROUPS, True)


def test_without_guests_nobody_is_asked_and_the_driver_may_not_tell() -> None:
    driver = Driver(guests=0)
    assert known_groups(driver) == {}
    assert driver.calls == [((), sum(GROUPS.values()) | UNHEARD_OF, ENFORCE | NOWAIT | ACTIVE | SHUTOFF)]


def test_a_driver_older_than_nowait_is_asked_without_it() -> None:
    driver = Driver(supported=GROUPS["state"], refused_flags=NOWAIT)
    assert [name for name, known in known_groups(driver).items() if known] == ["state"]
    assert [flags for _, _, flags in driver.calls] == [ENFORCE | NOWAIT, ENFORCE]


def test_a_driver_that_cannot_refuse_groups_does_not_tell() -> None:
    assert known_groups(Driver(refused_flags=ENFORCE)) == {}


def test_a_driver_without_bulk_statistics_knows_no_group() -> None:
    driver = Driver(error=FakeError(libvirt.VIR_ERR_NO_SUPPORT, "this function is not supported by the driver"))
    assert known_groups(driver) == dict.fromkeys(GROUPS, False)


def test_a_refusal_in_words_that_nobody_expects_tells_nothing() -> None:
    for words in ("Stats types are not supported", "bits 0xyz are not", ""):
        assert known_groups(Driver(error=FakeError(libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, words))) == {}


def test_a_connection_that_breaks_is_an_error() -> None:
    with pytest.raises(FakeError):
        known_groups(Driver(error=FakeError(libvirt.VIR_ERR_RPC)))


def test_libvirts_test_driver_is_told_for_what_it_is() -> None:
    connection = libvirt.openReadOnly("test:///default")
    try:
        found = examine(connection, "test:///default")
    finally:
        connection.close()
    assert (found.driver, found.uri, found.guests) == ("TEST", "test:///default", 1)
    assert found.libvirt.count(".") == 2
    assert found.groups["state"]
    assert not found.groups["block"]


def test_a_hypervisor_without_a_version_is_examined_all_the_same() -> None:
    class Versionless(Driver):
        def getType(self) -> str:  # noqa: N802 - libvirt's name
            return "ODD"

        def getURI(self) -> str:  # noqa: N802 - ditto
            return "odd:///"

        def getVersion(self) -> int:  # noqa: N802 - ditto
            raise FakeError(libvirt.VIR_ERR_NO_SUPPORT)

        def getLibVersion(self) -> int:  # noqa: N802 - ditto
            return 10_011_012

        def numOfDomains(self) -> int:  # noqa: N802 - ditto
            return 3

    found = examine(Versionless(), "odd:///")
    assert (found.hypervisor, found.libvirt) == ("", "10.11.12")
