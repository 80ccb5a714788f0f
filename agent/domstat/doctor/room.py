"""Is there room for what is kept, and does the journal hold an outage as long as any that was seen? Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from domstat.config import JournalSettings
from domstat.deliver.account import SinkAccount
from domstat.deliver.bounds import Why
from domstat.doctor.finding import Finding, ok, trouble, unknown, warning
from domstat.doctor.scene import DiskSeen, OutageSeen
from domstat.settings import Duration, Size
from domstat.text import size, span

DAY_S = 86_400.0

FREE_BYTES_MIN = 256 << 20
"""Less is nothing on a disk that others write to as well."""

YOUNG_S = 6 * 3600.0
"""A younger history has not sealed enough to show how it grows: what is not sealed takes several times the room."""

AHEAD_S = 365 * DAY_S
"""As far is looked where something is kept for ever."""

SOON_S = 14 * DAY_S
"""A disk that is full so soon is trouble."""

OUTAGE_TIMES = 2.0
"""The next outage may last twice as long as the longest that was seen."""

OUTAGE_S_MIN = 60.0
"""Shorter is no outage: a server that restarts."""

_BOUNDED = (Why.SIZE, Why.AGE)
"""Why records give way to the journal's bounds."""


def disks(seen: Iterable[DiskSeen]) -> Iterator[Finding]:
    """Hold what a history will have grown to, and what the journal may take, beside what is free."""
    for disk in seen:
        yield _disk(disk)


def _disk(disk: DiskSeen) -> Finding:
    free = disk.free_bytes - disk.reserved_bytes
    reserved = f", of it {size(disk.reserved_bytes)} the journal's at most" if disk.reserved_bytes else ""
    room = f"{size(disk.free_bytes)} free{reserved}"
    fix = f'max_bytes = "{Size(_bound(disk))}" in [[sinks]], or shorter times beside it; or a larger disk'
    if disk.free_bytes < FREE_BYTES_MIN:
        return trouble(disk.about, f"{disk.folder} is all but full: {room}", f"free some: du -xsh {disk.folder}; {fix}")
    if disk.history_bytes and disk.age_s >= YOUNG_S:
        return _history(disk, free, room, fix)
    if free < FREE_BYTES_MIN:
        journal = 'max_bytes = "256MiB" in [journal]; or a larger disk'
        return warning(disk.about, f"{disk.folder} does not hold the journal: {room}", journal)
    young = f"; its history is {span(disk.age_s)} old: how it grows is known after {span(YOUNG_S)}"
    return ok(disk.about, room + (young if disk.history_bytes else ""))


def _history(disk: DiskSeen, free: int, room: str, fix: str) -> Finding:
    per_s = disk.history_bytes / disk.age_s
    needed = _needed(disk, per_s)
    grows = f"the history grows by {size(round(per_s * DAY_S))} a day"
    if needed <= free:
        return ok(disk.about, f"{grows}, to {size(disk.history_bytes + needed)}; {room}")
    full_s = max(0, free) / per_s
    found = f"{grows} and needs {size(needed)} more; {room}: full in {span(full_s)}"
    return trouble(disk.about, found, fix) if full_s < SOON_S else warning(disk.about, found, fix)


def _needed(disk: DiskSeen, per_s: float) -> int:
    """Return the bytes by which a history still grows, at the pace it has had, until its ticks are as old as they get.

    What is kept for longer than ticks grows on, at a tenth of the pace or less (docs/measured.md).
    """
    left_s = max(0.0, min(disk.keep_s or AHEAD_S, AHEAD_S) - disk.age_s)
    needed = round(left_s * per_s)
    return needed if disk.max_bytes is None else max(0, min(needed, disk.max_bytes - disk.history_bytes))


def _bound(disk: DiskSeen) -> int:
    """Propose a bound for a history: what it has and nine tenths of what is free, in whole GiB."""
    most = disk.history_bytes + max(0, disk.free_bytes - disk.reserved_bytes) * 9 // 10
    return max(1, most >> 30) << 30


def outages(
    journal: JournalSettings, past: Iterable[OutageSeen], now: Iterable[SinkAccount], why_unknown: str
) -> Iterator[Finding]:
    """Hold the journal's bounds beside the longest that a sink was behind, in the history or right now."""
    worst = {seen.sink: seen for seen in past}
    for account in now:
        seen = worst.get(account.name, OutageSeen(account.name, 0.0, 0, 0))
        dropped = sum(account.dropped.get(why, 0) for why in _BOUNDED)
        worst[account.name] = OutageSeen(
            account.name,
            max(seen.lag_s, account.lag_s),
            max(seen.backlog_bytes, account.backlog_bytes),
            max(seen.dropped, dropped),
        )
    if not worst:
        yield unknown("", why_unknown, 'domstat run, with a sink that keeps a history: type = "sqlite"')
    for seen in worst.values():
        yield _outage(journal, seen)


def _outage(journal: JournalSettings, seen: OutageSeen) -> Finding:
    longest = f"the longest it was behind is {span(seen.lag_s)}, {size(seen.backlog_bytes)}"
    wanted_s, wanted_bytes = OUTAGE_TIMES * seen.lag_s, round(OUTAGE_TIMES * seen.backlog_bytes)
    fix = _bounds_line(journal, wanted_s, wanted_bytes)
    if seen.dropped:
        return trouble(seen.sink, f"{seen.dropped} records gave way to the journal's bounds; {longest}", fix)
    if seen.lag_s < OUTAGE_S_MIN:
        return ok(seen.sink, "no outage was seen")
    if wanted_s > journal.max_age or wanted_bytes > journal.max_bytes:
        return warning(seen.sink, f"{longest}: one twice as long would lose records", fix)
    return ok(seen.sink, f"{longest}; the journal keeps {journal.max_age}, {journal.max_bytes}")


def _bounds_line(journal: JournalSettings, wanted_s: float, wanted_bytes: int) -> str:
    """Write the journal's bounds so that they hold what is wanted, and twice what they were if that is no more."""
    days = Duration(max(-(-wanted_s // DAY_S), 1.0) * DAY_S)
    gibs = Size(max(-(-wanted_bytes >> 30), 1) << 30)
    age, size_ = max(days, journal.max_age), max(gibs, journal.max_bytes)
    if (age, size_) == (journal.max_age, journal.max_bytes):
        size_ = Size(2 * journal.max_bytes)
    return f'max_age = "{age}" and max_bytes = "{size_}" in [journal]'
