"""Does a tick have the time it takes, and is the clock true? Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from domstat.config import CollectSettings, HostConfig
from domstat.doctor.finding import Finding, ok, trouble, unknown, warning
from domstat.doctor.scene import ClockSeen, HostSeen
from domstat.hosts import DEADLINE_SHARE
from domstat.settings import Duration

ROUND_S = (0.5, 1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600)
"""Intervals that are proposed: such as divide an hour."""

ERROR_S_MAX = 1.0
"""A clock that may be wrong by more puts ticks beside other machines' events into the wrong second."""

NTP_FIX = "timedatectl set-ntp true; or apt install chrony"


def intervals(
    hosts: Iterable[HostSeen], configured: Iterable[HostConfig], calls_s: Mapping[tuple[str, str], float]
) -> Iterator[Finding]:
    """Hold every block's interval beside the time its calls take: the past's, or of one call that was made just now."""
    seen = {host.name: host for host in hosts}
    for host in configured:
        just_now = seen[host.name].call_s if host.name in seen else None
        for block in host.blocks:
            about = f"{host.name}/{block.name}"
            past_s = calls_s.get((host.name, block.name))
            if past_s is not None:
                yield _interval(about, host, block, past_s, "99 of 100 calls of the last day took up to")
            elif just_now is not None:
                yield _interval(about, host, block, just_now, "a call took")
            else:
                yield unknown(about, "the host was not reached, and no call is in the history")


def _interval(about: str, host: HostConfig, block: CollectSettings, call_s: float, took: str) -> Finding:
    interval_s, deadline_s = float(block.interval or 0), host.deadline_s(block)
    found = f"{took} {call_s * 1000:.0f} ms of the {Duration(interval_s)} between ticks"
    if interval_s * DEADLINE_SHARE >= call_s:  # the deadline alone is too short: its own most, or what is configured
        fix = f'deadline = "{Duration(round_s(call_s))}" in [[hosts]] of "{host.name}"'
    else:
        fix = f'interval = "{Duration(round_s(call_s / DEADLINE_SHARE))}" in {_where(host)}'
    if call_s > interval_s:
        return trouble(about, f"{found}: ticks are left out", fix)
    if call_s > deadline_s:
        late = (
            f"{found}, more than its deadline of {Duration(round(deadline_s, 3))}: each is looked at for stuck guests"
        )
        return warning(about, late, fix)
    return ok(about, found)


def _where(host: HostConfig) -> str:
    return f'[[hosts.collect]] of the host "{host.name}"' if host.settings.collect else "[agent]"


def round_s(least_s: float) -> float:
    """Return the shortest round span that is *least_s* or more."""
    return next((float(seconds) for seconds in ROUND_S if seconds >= least_s), float(ROUND_S[-1]))


def clock(seen: ClockSeen | None, steps: int) -> Iterator[Finding]:
    """Say whether the clock is kept in time, and whether it jumped while an agent ran: *steps* in all that is known."""
    if seen is None:
        yield unknown("", "the kernel does not say whether the clock is kept in time")
    elif not seen.synchronised:
        yield warning("", "nothing keeps this machine's clock in time", NTP_FIX)
    elif seen.max_error_s > ERROR_S_MAX:
        yield warning("", f"the clock is kept in time, but may be wrong by {seen.max_error_s:.1f} s", NTP_FIX)
    else:
        yield ok("", f"the clock is kept in time, to {seen.max_error_s * 1000:.0f} ms")
    if steps:
        yield warning(
            "",
            f"the clock jumped {steps} times while the agent ran; rates are right, times of records are not",
            "chronyc tracking: let one program alone set the clock, and slew it (chrony.conf: makestep 1 3)",
        )
