"""Hosts, in a line each: CPU, memory, guests, versions, how old that is, or why there is nothing. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from domstat import units
from domstat.text import span
from domstat.top.fleet import HostRow
from domstat.top.lines import Frame, Line, counted, fit, gauge
from domstat.units import known

HOSTS_MAX = 5
"""Lines for hosts: guests are what is looked at, and h goes through the hosts one by one."""

LATE_TICKS = 3
LATE_MIN_S = 10
"""Figures are said to be old after so many intervals, and so many seconds."""

WIDE = 110
"""From so many columns on a host's versions stand in its line."""

NAME_NARROW, NAME_WIDE = 10, 20
"""Cells of a host's name; what does not fit is cut."""


def host_lines(hosts: Sequence[HostRow], only: str | None, frame: Frame) -> list[Line]:
    """Lay out what stands above the guests: all *hosts*, or the *only* one that is looked at."""
    shown = [host for host in hosts if only in {None, host.name}]
    if len(shown) == 1:
        return _alone(shown[0], frame)
    # Those that are in trouble, or have stuck guests, first: they must not be among those that are left out.
    shown.sort(key=lambda host: (host.trouble is None, not host.stuck))
    kept = shown if len(shown) <= HOSTS_MAX else shown[: HOSTS_MAX - 1]
    lines = [_line(host, frame) for host in kept]
    if len(kept) < len(shown):
        lines.append(((f"and {len(shown) - len(kept)} more hosts: h goes through them", "dim"),))
    return lines


def _alone(host: HostRow, frame: Frame) -> list[Line]:
    """Give a host a second line where the first has no room for all."""
    line = _line(host, frame)
    if host.trouble or frame.width >= WIDE:
        return [line]
    return [line, ((" " * (NAME_NARROW + 1), "plain"), *_versions(host, frame))]


def _line(host: HostRow, frame: Frame) -> Line:
    is_wide = frame.width >= WIDE
    name, bar = (NAME_WIDE, 10) if is_wide else (NAME_NARROW, 8)
    if host.trouble:
        return ((fit(host.name, name), "bad"), (f" {fit(host.trouble, frame.width).rstrip()}", "bad"))
    share = host.memory_used / host.memory_total if host.memory_used is not None and host.memory_total else None
    memory = f" {known(units.size, host.memory_used)}/{known(units.size, host.memory_total)}"
    line: Line = (
        (fit(host.name, name), "strong"),
        (" CPU ", "plain"),
        *gauge(host.busy, bar),
        (f" {known(units.percent, host.busy):>4} of {known(units.whole, host.cpus):<3}", "plain"),
        (" mem ", "plain"),
        *gauge(share, bar),
        (f"{memory:<11}", "plain"),
        *_counts(host),
    )
    return (*line, ("  ", "plain"), *_versions(host, frame)) if is_wide else line


def _counts(host: HostRow) -> Line:
    guests: Line = ((f" {counted(host.guests, 'guest')}", "plain"),)
    return (*guests, (f" {host.stuck} stuck", "bad")) if host.stuck else guests


def _versions(host: HostRow, frame: Frame) -> Line:
    if host.time_ms is None:
        return (("no figures yet", "dim"),)
    age_s = (frame.now_ms - host.time_ms) / 1000
    late: Line = ()
    if age_s > max(LATE_MIN_S, LATE_TICKS * (host.interval_s or 0)):
        late = ((f"{span(age_s)} old · ", "warn"),)
    parts = [fit(text, frame.width).rstrip() for text in host.versions]
    if host.interval_s:
        parts.append(f"every {span(host.interval_s) if host.interval_s >= 1 else f'{host.interval_s * 1000:.0f}ms'}")
    if host.call_s is not None:
        parts.append(f"call {units.latency(host.call_s)}")
    return (*late, (" · ".join(parts), "dim"))
