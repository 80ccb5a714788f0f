"""What ``domstat check --connect`` finds: every host connected to, and what is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from msgspec import Struct

from domstat.collect.errors import CollectError, OverdueError
from domstat.collect.wire import Examined
from domstat.config import HostConfig
from domstat.text import printable
from domstat.uri import redacted

DEADLINE_S = 15.0
"""How long a host may take to answer: more than ssh takes to a far one, and not so long that nobody waits for it."""

AT_ONCE = 8
"""Hosts tried at a time: each has a process of its own, and a dead one takes the whole deadline."""

MESSAGE_MAX = 500
"""Characters of an error that are shown; what ssh has to say can be long."""

Examine: TypeAlias = Callable[[HostConfig, bool], Examined]
"""Connects to a host, so that it could write if the second argument says so, and looks. Raises CollectError."""

_ADVICE = (
    ("permission denied (", "try it by ssh as the agent's user: it needs a key without a passphrase"),
    ("host key verification", "try it by ssh as the agent's user once: the host's key must be known"),
    ("permission denied", "the agent's user may not use that socket: see unix_sock_ro_perms in libvirtd.conf"),
    ("authentication", "the agent's user may not monitor: allow org.libvirt.unix.monitor by a polkit rule"),
    (
        "certificate",
        "see that the host has the certificate of a CA that is known here, and this machine one of its own",
    ),
    (
        "find user record",
        "the host has no user of this number: build the container for one that it has, --build-arg uid=",
    ),
    ("no connection driver", "see that the URI's first word is right, and that libvirt was built with that driver"),
    ("no such file", "see that libvirt runs there: systemctl status libvirtd virtqemud"),
    ("connection refused", "see that libvirt runs there: systemctl status libvirtd virtqemud"),
    ("resolve", "see that the URI names the host rightly"),
    ("name or service not known", "see that the URI names the host rightly"),
)
"""What is in an error in small letters, and what to do then; the first that fits."""


class Report(Struct, frozen=True):
    """What was found of one host, and whether all that is configured for it can be had."""

    well: bool
    lines: tuple[str, ...]


def reach_hosts(hosts: tuple[HostConfig, ...]) -> Iterator[Report]:
    """Connect to *hosts*, several at a time, and report on each in their order."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(lambda host: reach(host, examine_by_worker), hosts)


def reach(host: HostConfig, examine: Examine) -> Report:
    """Connect to one host and say what is there."""
    try:
        found = examine(host, False)
    except CollectError as error:
        return Report(False, (f"unreachable    {_name(host)}  {_explain(error)}",))
    unknown = _unknown(found, {group for block in host.blocks for group in block.groups})
    silent = _unknown(found, {group for block in host.blocks for group in block.probe})
    trouble = _why_not_writable(host, examine)
    lines = [f"reached        {_name(host)}  {printable(found.socket, MESSAGE_MAX)}", *_what_is_there(found)]
    if not found.groups:
        lines.append("  groups       which ones it knows, this driver says only while a guest runs, or never")
    elif not unknown:
        lines.append("  groups       all that every tick asks for are known")
    if unknown:
        known = ", ".join(group for group, is_known in found.groups.items() if is_known)
        lines.append(f"  unknown      {', '.join(unknown)}: the driver has {known or 'none'}; see [[hosts.collect]]")
    if silent:
        lines.append(f"  note         nothing will come of {', '.join(silent)}: the driver does not know these")
    if trouble:
        lines.append(f"  no refresh   {trouble}")
    return Report(not unknown and not trouble, tuple(lines))


def examine_by_worker(host: HostConfig, writable: bool) -> Examined:
    """Connect to a host by a worker process of its own, as the agent would. Raises CollectError."""
    from domstat.collect.hypervisor import Hypervisor
    from domstat.telemetry import get_logger

    hypervisor = Hypervisor(host.name, host.settings.uri, get_logger(), writable=writable)
    try:
        return hypervisor.examine(time.monotonic() + DEADLINE_S)
    finally:
        hypervisor.close()


def _name(host: HostConfig) -> str:
    return printable(host.name)


def _what_is_there(found: Examined) -> Iterator[str]:
    driver = " ".join(filter(None, (found.driver, found.hypervisor)))
    yield f"  driver       {printable(driver)}, libvirt {printable(found.libvirt)}, {printable(redacted(found.uri))}"
    yield f"  guests       {found.guests} running"


def _unknown(found: Examined, wanted: set[str]) -> list[str]:
    return [group for group, known in found.groups.items() if group in wanted and not known]


def _why_not_writable(host: HostConfig, examine: Examine) -> str | None:
    """Say why pools cannot be refreshed, if that is configured and so."""
    survey = host.settings.survey
    if not (survey.enabled and survey.refresh):
        return None
    try:
        examine(host, True)
    except CollectError as error:
        return f"{_explain(error)}; or take refresh away"
    return None


def explained(error: CollectError) -> tuple[str, str]:
    """Say what went wrong, and what to do about it."""
    message = printable(redacted(" ".join(str(error).split())), MESSAGE_MAX)
    if isinstance(error, OverdueError):
        return message, "see whether it answers to virsh, and in what time"
    small = message.lower()
    return message, next((advice for text, advice in _ADVICE if text in small), "see that the URI is right")


def _explain(error: CollectError) -> str:
    return "; ".join(explained(error))
