"""What a connection leads to, and which stats groups its driver knows; found out without touching a guest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import libvirt

from domstat.catalog import GROUPS
from domstat.collect import wire
from domstat.collect.worker import roster
from domstat.collect.worker.connection import how_reached
from domstat.collect.worker.host import dotted

_EVERY_GROUP = sum(GROUPS.values())

_NO_GROUP = 1 << 30
"""A bit that no libvirt has a stats group for. While it is asked for, ENFORCE_STATS refuses the whole call, and names
all bits that are unknown. The QEMU driver (9.0) does so for each guest before it does anything with it: a guest that
hangs cannot hold this up."""

_NOBODY = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_SHUTOFF
"""Filters that no guest passes."""


def examine(connection: Any, uri: str) -> wire.Examined:
    """Find out what *connection*, which was opened by *uri*, leads to. Raises libvirtError."""
    return wire.Examined(
        driver=connection.getType(),
        uri=connection.getURI(),
        socket=how_reached(uri),
        hypervisor=_version(connection.getVersion),
        libvirt=_version(connection.getLibVersion),
        guests=connection.numOfDomains(),
        groups=known_groups(connection),
    )


def known_groups(connection: Any) -> dict[str, bool]:
    """Return by virsh's names whether the driver knows each stats group; empty if it does not tell.

    The QEMU driver tells only while a guest runs, and for that guest's QEMU. A driver without bulk statistics knows no
    group at all. Raises libvirtError.
    """
    enforce = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ENFORCE_STATS
    # A driver older than NOWAIT (libvirt 4.5), or that never waits, refuses the flag.
    for flags in (enforce | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT, enforce):
        try:
            _ask_for_too_much(connection, flags)
        except libvirt.libvirtError as error:
            match error.get_error_code():
                case libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED:
                    return _by_name(str(error))
                case libvirt.VIR_ERR_NO_SUPPORT:
                    return dict.fromkeys(GROUPS, False)
                case libvirt.VIR_ERR_INVALID_ARG:
                    continue
                case _:
                    raise
        return {}  # the driver does not mind what it does not know, or there was no guest to mind it for
    return {}


def _ask_for_too_much(connection: Any, flags: int) -> None:
    """Ask for every group and one that there is not: of one guest, or, where none runs, of none."""
    stats = _EVERY_GROUP | _NO_GROUP
    if guests := roster.active(connection, wire.ALL)[:1]:
        connection.domainListGetStats(guests, stats, flags)
    else:
        connection.getAllDomainStats(stats, flags | _NOBODY)


def _by_name(refusal: str) -> dict[str, bool]:
    """Read the unknown groups out of "Stats types bits 0x4000077e are not supported by this daemon"."""
    digits = refusal.partition("0x")[2].partition(" ")[0]
    try:
        unknown = int(digits, 16)
    except ValueError:
        return {}
    return {name: not unknown & bit for name, bit in GROUPS.items()}


def _version(ask: Callable[[], int]) -> str:
    """Write a version as a text, "7.2.22" for libvirt's 7002022; empty if the driver has none."""
    try:
        return dotted(ask())
    except libvirt.libvirtError:
        return ""
