"""Do guests say how much memory they use, and does the kernel say how long vCPUs wait? Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence

from domstat.config import HostConfig
from domstat.doctor.finding import Finding, ok, unknown, warning
from domstat.doctor.scene import GuestSeen, HostSeen
from domstat.uri import redacted

PERIOD_S = 10
"""The balloon period that is proposed: that of the default interval."""

STALE_PERIODS = 3
STALE_S_MIN = 60.0
"""A driver that has been silent for so many periods, and at least so long, has nothing to say: it is not loaded."""

NAMED_MAX = 10
"""Guests that are named in one finding; the rest is counted."""

NO_DEVICE = "none"
"""What libvirt calls the model of a balloon that is not there."""

LOCAL_URI = "qemu:///system"

BUSY_NS = 600 * 10**9
"""vCPUs that have run for so long have waited too, if only for milliseconds."""

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def balloons(hosts: Iterable[HostSeen], configured: Iterable[HostConfig]) -> Iterator[Finding]:
    """Say which guests' memory is not known, or is stale, and why."""
    wanting = {host.name for host in configured if any("balloon" in block.groups for block in host.blocks)}
    for host in hosts:
        if host.examined is None or host.name not in wanting:
            continue
        if host.examined.driver != "QEMU":
            yield ok(host.name, f"{host.examined.driver} guests have no balloon to be asked")
        elif host.call_s is None:
            yield unknown(host.name, "the guests could not be asked")
        else:
            yield from _of_host(host)


def _of_host(host: HostSeen) -> Iterator[Finding]:
    read = [guest for guest in host.guests if guest.balloon is not None]
    lacking = [guest for guest in read if guest.balloon == NO_DEVICE]
    unasked = [guest for guest in read if guest.balloon != NO_DEVICE and not guest.period_s]
    silent = [guest for guest in read if guest.period_s and _is_stale(guest, host.now)]
    if unasked:
        found = f"no balloon stats period, so memory used is unknown or stale: {_names(unasked)}"
        yield warning(host.name, found, _period_command(unasked, host.uri))
    if lacking:
        found = f"no balloon device, so memory used is unknown: {_names(lacking)}"
        device = f"<memballoon model='virtio'><stats period='{PERIOD_S}'/></memballoon>"
        yield warning(host.name, found, f"{_virsh(host.uri)} edit {_handle(lacking[0])}: {device}, and start it anew")
    if silent:
        found = f"asked for every period and silent, so memory used is unknown or stale: {_names(silent)}"
        yield warning(host.name, found, "modprobe virtio_balloon in the guest; one that is booting needs a minute")
    if not (unasked or lacking or silent):
        yield ok(host.name, f"{len(read)} guests report their memory")


def _is_stale(guest: GuestSeen, now: float) -> bool:
    limit_s = max(STALE_S_MIN, STALE_PERIODS * float(guest.period_s or 0))
    return guest.updated is not None and now - guest.updated > limit_s


def _names(guests: Sequence[GuestSeen]) -> str:
    named = ", ".join(guest.name for guest in guests[:NAMED_MAX])
    more = len(guests) - NAMED_MAX
    return f"{named} and {more} more" if more > 0 else named


def _handle(guest: GuestSeen) -> str:
    """Name a guest for a shell: by its UUID where its name has anything strange in it."""
    return guest.name if _PLAIN.fullmatch(guest.name) else guest.uuid


def _virsh(uri: str) -> str:
    return "virsh" if uri == LOCAL_URI else f"virsh -c {shlex.quote(redacted(uri))}"


def _period_command(guests: Sequence[GuestSeen], uri: str) -> str:
    set_period = f"{_virsh(uri)} dommemstat {{}} --period {PERIOD_S} --live --config"
    if len(guests) == 1:
        return set_period.format(_handle(guests[0]))
    # All of them, however many: half a fix is none.
    return f"for guest in {' '.join(map(_handle, guests))}; do {set_period.format(chr(34) + '$guest' + chr(34))}; done"


def schedstats(setting: str | None, hosts: Iterable[HostSeen], configured: Iterable[HostConfig]) -> Iterator[Finding]:
    """Say where the kernel does not count how long vCPUs wait. *setting*: this machine's, None where it has none.

    What guests say counts for more: whoever has waited is on a kernel that counts.
    """
    wanting = {host.name for host in configured if any("vcpu" in block.groups for block in host.blocks)}
    for host in hosts:
        if host.examined is None or host.name not in wanting:
            continue
        waits = [guest.waited_ns for guest in host.guests if guest.waited_ns is not None]
        busy = any(guest.vcpu_ns > BUSY_NS for guest in host.guests)
        setting_there = setting.strip() if setting is not None and host.is_local else None
        if host.examined.driver != "QEMU":
            yield ok(host.name, f"{host.examined.driver} does not take vcpu.wait from the kernel")
        elif any(waits) or setting_there == "1":
            yield ok(host.name, "the kernel counts: vcpu.wait is true")
        elif setting_there == "0" or (waits and busy):
            yield warning(host.name, "the kernel does not count, so vcpu.wait stays 0; vcpu.delay is true", _SWITCH_ON)
        else:
            yield unknown(host.name, "no guest has run long enough to have waited, and this kernel has no such switch")


_SWITCH_ON = (
    "on the host: sysctl -w kernel.sched_schedstats=1; for good: "
    "echo kernel.sched_schedstats=1 > /etc/sysctl.d/60-domstat.conf"
)
