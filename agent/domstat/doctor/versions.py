"""Which versions are there, and is one of them known to do harm? Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from domstat.doctor.finding import Finding, ok, trouble, warning
from domstat.doctor.scene import HostSeen, Versions, WriterSeen
from domstat.status import Report

NEEDED = (
    ((4, 5, 0), "no NOWAIT: a guest that hangs holds up every other"),
    ((7, 2, 0), "no vcpu.delay, so no steal"),
)
"""What a libvirt (on the host) that is older lacks; the catalogue's "since"."""

RESET_BUG = ((3, 7, 0), (3, 51, 2))
RESET_FIXED = ((3, 44, 6), (3, 50, 7))
"""SQLite's WAL-reset bug: the first and last release that has it, and the backports (sqlite.org/wal.html#walresetbug).
When two connections write or checkpoint at the same moment, a commit may be lost or the file damaged."""


def versions(here: Versions, hosts: Iterable[HostSeen], running: Report | None) -> Iterator[Finding]:
    """Name what is installed here, what the hosts have, and what of it is too old."""
    sqlite = dotted(here.sqlite)
    yield ok(
        "",
        f"domstat {here.domstat}, Python {here.python}, SQLite {sqlite}, libvirt-python {here.bindings or 'unknown'}",
    )
    if running is not None and running.version != here.domstat:
        text = f"the agent that runs is {running.version}, and {here.domstat} is installed"
        yield warning("", text, "systemctl restart domstat")
    for host in hosts:
        if host.examined is None:
            continue
        have = host.examined.libvirt
        lacks = [what for needed, what in NEEDED if have and parsed(have) < needed]
        named = f"libvirt {have or 'unknown'}, {host.examined.driver} {host.examined.hypervisor}".rstrip()
        if lacks and host.examined.driver == "QEMU":
            yield warning(host.name, f"{named}: {'; '.join(lacks)}", "upgrade libvirt on that host")
        else:
            yield ok(host.name, named)


def wal_reset(version: tuple[int, ...], writers: Iterable[WriterSeen]) -> Iterator[Finding]:
    """Say whether this SQLite can damage a file that several processes write, and whether any does."""
    if not has_reset_bug(version):
        yield ok("", f"SQLite {dotted(version)} does not have the WAL-reset bug")
        return
    crowded = [writer for writer in writers if len(writer.pids) > 1]
    for writer in crowded:
        text = f"SQLite {dotted(version)} has the WAL-reset bug, and processes {_pids(writer)} write {writer.path}"
        yield trouble(writer.path, text, "stop all but one; or SQLite 3.51.3, 3.50.7 or 3.44.6")
    if not crowded:
        yield ok("", f"SQLite {dotted(version)} has the WAL-reset bug, which needs two writers: no file has two")


def has_reset_bug(version: tuple[int, ...]) -> bool:
    """Whether a release of SQLite has the bug."""
    first, last = RESET_BUG
    is_backport = any(version[:2] == fixed[:2] and version >= fixed for fixed in RESET_FIXED)
    return first <= version <= last and not is_backport


def parsed(version: str) -> tuple[int, ...]:
    """Read "7.2.22" as numbers, as far as it has any."""
    return tuple(int(digits) for digits in re.findall(r"\d+", version)[:3])


def dotted(version: Iterable[int]) -> str:
    """Write numbers as a version."""
    return ".".join(map(str, version))


def _pids(writer: WriterSeen) -> str:
    return ", ".join(map(str, writer.pids))
