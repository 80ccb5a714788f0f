"""``domstat capacity reclaim``: what can be taken back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from domstat.cli.capacity.asking import Asked, Column, Line, View
from domstat.cli.capacity.view import alone

if TYPE_CHECKING:
    from domstat.capacity.explained import Figure
    from domstat.capacity.reclaim import Candidate, Reclaim, Unjudged

COLUMNS = (
    Column("host", "host"),
    Column("guest", "guest"),
    Column("class", "class"),
    Column("idle_share", "idle"),
    Column("off_days", "off for"),
    Column("cores", "CPU"),
    Column("vcpus", "vCPUs"),
    Column("memory", "memory"),
    Column("disk", "disk"),
    Column("busy_hours", "works"),
    Column("uuid", None),
    Column("note", None),
)

NAMED_MAX = 5
"""Guests whose reason for not being judged is said; the rest is counted."""


def reclaim(asked: Asked) -> View:
    """Say which guests do nothing or are off, and what comes back: CPU really used, memory resident, disk held."""
    from domstat.capacity.reclaim import reclaim as look

    found = look(asked.figures)
    lines = tuple(_line(one) for one in (*found.candidates, *found.regular))
    return View(
        COLUMNS, lines, (*_sums(found), *_counts(found, str(asked.settings.off_after)), *_unjudged(found.unjudged))
    )


def _line(one: Candidate) -> Line:
    return (
        one.host,
        one.name,
        str(one.kind),
        one.share if one.share.is_known else None,
        one.off_days if one.off_days.is_known else None,
        one.cores,
        one.vcpus,
        one.memory,
        one.disk,
        one.busy_hours,
        one.uuid,
        one.note,
    )


def _sums(found: Reclaim) -> Iterator[str]:
    from domstat.capacity.explained import added

    if not found.candidates:
        yield "nothing to reclaim"
        return

    def sum_of(parts: list[Figure]) -> str:
        return alone(added({str(place): part for place, part in enumerate(parts)}, parts[0].unit))

    memory = sum_of([one.memory for one in found.candidates])
    disk = sum_of([one.disk for one in found.candidates])
    cores = sum_of([one.cores for one in found.candidates])
    yield f"from {len(found.candidates)} of them come back: {memory} of memory, {disk} of disk, {cores}"


def _counts(found: Reclaim, off_after: str) -> Iterator[str]:
    if found.regular:
        yield f"{len(found.regular)} are idle but for regular work, and not counted"
    if found.lately_off:
        yield f"{found.lately_off} are off for less than {off_after}"


def _unjudged(found: tuple[Unjudged, ...]) -> Iterator[str]:
    for one in found[:NAMED_MAX]:
        yield f"{one.name} is not judged: {one.reason}"
    if len(found) > NAMED_MAX:
        yield f"{len(found) - NAMED_MAX} more are not judged"
