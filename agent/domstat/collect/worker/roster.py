"""Who is there: the guests that are running, however many there are."""

from __future__ import annotations

from itertools import product
from typing import Any

import libvirt

from domstat.collect.wire import Globs

ACTIVE = libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE

_KINDS = (
    (libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT, libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT),
    (
        libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING,
        libvirt.VIR_CONNECT_LIST_DOMAINS_PAUSED,
        libvirt.VIR_CONNECT_LIST_DOMAINS_OTHER,
    ),
    (libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART, libvirt.VIR_CONNECT_LIST_DOMAINS_NO_AUTOSTART),
)
"""Libvirt's filters, each of which every guest meets in just one way."""


def active(connection: Any, domains: Globs) -> list[Any]:
    """Return handles of the running guests that *domains* chooses. Raises libvirtError.

    libvirt lists no more than 16,384 guests at a time; where there are more, they are listed by kind. More than that
    of one kind cannot be listed at all.
    """
    found = _list(connection)
    if domains.everything:
        return found
    return [domain for domain in found if domains.choose(domain.name())]


def is_ceiling(connection: Any, error: libvirt.libvirtError) -> bool:
    """Whether *error* is libvirt's limit to the size of an answer: 16,384 guests, or 32 MiB.

    The client says "RPC", the daemon an internal error of its RPC part; the connection lives on after either.
    """
    code = error.get_error_code()
    too_many = code == libvirt.VIR_ERR_INTERNAL_ERROR and error.get_error_domain() == libvirt.VIR_FROM_RPC
    return (code == libvirt.VIR_ERR_RPC or too_many) and bool(connection.isAlive())


def _list(connection: Any) -> list[Any]:
    try:
        return connection.listAllDomains(ACTIVE)  # type: ignore[no-any-return]
    except libvirt.libvirtError as error:
        if not is_ceiling(connection, error):
            raise
    found: dict[str, Any] = {}  # by uuid: a guest that is paused between two lists is in both
    for filters in product(*_KINDS):
        found |= {domain.UUIDString(): domain for domain in connection.listAllDomains(ACTIVE | sum(filters))}
    return list(found.values())
