"""Looking at hosts: by a worker each, as the agent does, with one call such as a tick makes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TypeAlias

from msgspec.structs import replace

from domstat.collect import wire
from domstat.collect.block import Block
from domstat.collect.definition import Entry, parse
from domstat.collect.errors import CollectError
from domstat.collect.hypervisor import Hypervisor
from domstat.collect.labels import LabelRules
from domstat.doctor.guests import NO_DEVICE
from domstat.doctor.scene import GuestSeen, HostSeen
from domstat.hosts import HostConfig
from domstat.telemetry import get_logger
from domstat.uri import host_of

Explain: TypeAlias = Callable[[CollectError], tuple[str, str]]
"""Says what went wrong with a host, and what to do about it."""

DEADLINE_S = 15.0
"""How long a host may take for each question: more than ssh takes to a far one."""

AT_ONCE = 8
"""Hosts asked at a time: each has a process of its own."""

XML_AT_ONCE = 64
"""Guests whose XML is read with one question: some hundred milliseconds' work."""

_BALLOON, _PERIOD = "doctor.balloon", "doctor.period"
_RULES = LabelRules({_BALLOON: "devices/memballoon/@model", _PERIOD: "devices/memballoon/stats/@period"})

_VCPU = re.compile(r"vcpu\.\d+\.(time|wait)")


def see_hosts(hosts: Sequence[HostConfig], explain: Explain) -> tuple[HostSeen, ...]:
    """Look at every host, several at a time; return them in their order."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return tuple(pool.map(lambda host: see_host(host, explain), hosts))


def see_host(host: HostConfig, explain: Explain) -> HostSeen:
    """Look at one host. Never raises CollectError."""
    uri = host.settings.uri
    blank = HostSeen(name=host.name, uri=uri, is_local=host_of(uri) is None)
    with _connected(host) as hypervisor:
        try:
            examined = hypervisor.examine(time.monotonic() + DEADLINE_S)
        except CollectError as error:
            return replace(blank, failure=explain(error))
        seen = replace(blank, examined=examined, not_writable=_why_not_writable(host, explain))
        with suppress(CollectError):  # what could not be asked is not known, and judged so
            seen = _with_a_call(seen, host, hypervisor)
            seen = replace(seen, guests=tuple(_described(seen.guests, hypervisor)))
        return seen


@contextmanager
def _connected(host: HostConfig, *, writable: bool = False) -> Iterator[Hypervisor]:
    hypervisor = Hypervisor(host.name, host.settings.uri, get_logger(), writable=writable)
    try:
        yield hypervisor
    finally:
        hypervisor.close()


def _why_not_writable(host: HostConfig, explain: Explain) -> tuple[str, str] | None:
    """Say why pools cannot be refreshed, if that is configured and so."""
    survey = host.settings.survey
    if not (survey.enabled and survey.refresh):
        return None
    with _connected(host, writable=True) as hypervisor:
        try:
            hypervisor.examine(time.monotonic() + DEADLINE_S)
        except CollectError as error:
            return explain(error)
    return None


def _with_a_call(seen: HostSeen, host: HostConfig, hypervisor: Hypervisor) -> HostSeen:
    """Make one call that asks for all that any block of the host ever asks for. Raises CollectError."""
    groups = {group: None for block in host.blocks for group in (*block.groups, *block.probe)}
    domains = wire.Globs(host.settings.domains.include, host.settings.domains.exclude)
    internals = any(block.internals for block in host.blocks)
    ask = Block("doctor", tuple(groups), domains, internals=internals).ask()
    began = time.monotonic()
    answers = list(hypervisor.ask(ask, DEADLINE_S))
    call_s = time.monotonic() - began
    guests = {guest.uuid: guest_of(guest, shapes) for answer, shapes in answers for guest in answer.guests}
    return replace(seen, call_s=call_s, now=answers[0][0].stamp.time_ms / 1000, guests=tuple(guests.values()))


def guest_of(guest: wire.Guest, shapes: dict[int, tuple[str, ...]]) -> GuestSeen:
    """Take from an answer what is of interest."""
    values = dict(zip(shapes[guest.shape], guest.values, strict=True))
    updated = values.get("balloon.last-update")
    sums: dict[str, int] = {}
    for name, value in values.items():
        if (match := _VCPU.fullmatch(name)) and isinstance(value, int):
            sums[match[1]] = sums.get(match[1], 0) + value
    return GuestSeen(
        guest.uuid,
        guest.name,
        updated if isinstance(updated, int) else None,
        sums.get("time", 0),
        sums.get("wait"),
    )


def _described(guests: Sequence[GuestSeen], hypervisor: Hypervisor) -> Iterator[GuestSeen]:
    """Give the guests with what their XML says of their balloons. Raises CollectError."""
    for first in range(0, len(guests), XML_AT_ONCE):
        some = guests[first : first + XML_AT_ONCE]
        found = hypervisor.describe(tuple(guest.uuid for guest in some), time.monotonic() + DEADLINE_S)
        entries = {each.uuid: entry for each in found if each.xml and (entry := _read(each.xml)) is not None}
        yield from (with_xml(guest, entries.get(guest.uuid)) for guest in some)


def _read(xml: str) -> Entry | None:
    try:
        return parse(xml, None, _RULES)
    except ValueError:  # larger than is read
        return None


def with_xml(guest: GuestSeen, entry: Entry | None) -> GuestSeen:
    """Add what a guest's XML says, if it could be read."""
    if entry is None:
        return guest
    period = entry.labels.get(_PERIOD, "")
    return replace(
        guest,
        balloon=entry.labels.get(_BALLOON, NO_DEVICE),
        period_s=int(period) if period.isascii() and period.isdecimal() else None,
    )
