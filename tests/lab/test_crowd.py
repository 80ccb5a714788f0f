"""Where libvirt's calls end: one guest more than a reply may list, and names longer than it may be."""

from __future__ import annotations

from collections.abc import Callable

import libvirt
import pytest

from domstat_lab import crowd
from domstat_lab.libvirtd import PrivateLibvirtd

INTERNAL_ERROR, RPC = 1, 39


def refusal(call: Callable[[], object]) -> int:
    with pytest.raises(libvirt.libvirtError) as refused:
        call()
    code = refused.value.get_error_code()
    assert isinstance(code, int)
    return code


def test_one_guest_too_many_is_refused_by_every_list_and_not_by_its_parts(lab: PrivateLibvirtd) -> None:
    with crowd.crowd(lab, crowd.DOMAINS_MAX + 1) as keeping:
        connection = libvirt.openReadOnly(crowd.uri_ro(lab))
        assert connection.numOfDomains() == crowd.DOMAINS_MAX + 1
        assert refusal(lambda: connection.getAllDomainStats(0, 0)) == INTERNAL_ERROR
        assert refusal(lambda: connection.listAllDomains(0)) == INTERNAL_ERROR
        assert refusal(connection.listDomainsID) == RPC
        keeping.lookupByName(crowd.name(0)).suspend()
        running, paused = libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING, libvirt.VIR_CONNECT_LIST_DOMAINS_PAUSED
        assert len(connection.getAllDomainStats(0, running)) == crowd.DOMAINS_MAX
        ((alone, _),) = connection.getAllDomainStats(0, paused)
        assert alone.UUIDString() == crowd.identity(0)
        assert connection.isAlive()
        connection.close()


def test_names_too_long_for_one_reply_are_refused_too(lab: PrivateLibvirtd) -> None:
    characters = 100_000
    with crowd.crowd(lab, crowd.REPLY_BYTES_MAX // characters + 1, name_characters=characters):
        connection = libvirt.openReadOnly(crowd.uri_ro(lab))
        assert refusal(lambda: connection.getAllDomainStats(0, 0)) == RPC
        assert len(connection.listDomainsID()) == crowd.REPLY_BYTES_MAX // characters + 1
        assert connection.isAlive()
        connection.close()
