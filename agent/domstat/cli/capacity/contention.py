"""``domstat capacity contention``: who waits, and who makes others wait."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from domstat.cli.capacity.asking import Asked, Column, Line, View
from domstat.cli.capacity.view import alone

if TYPE_CHECKING:
    from domstat.capacity.contention import Bully, Wait

NAMED_MAX = 5
"""Guests that wait for another's sake that are named in its sentence; the data has them all."""

COLUMNS = (
    Column("host", "host"),
    Column("guest", "guest"),
    Column("what", "what"),
    Column("resource", "for"),
    Column("field", None),
    Column("share", "of the time"),
    Column("typical", "then"),
    Column("usual", "usually"),
    Column("worst", "at worst"),
    Column("coincidence", None),
    Column("lift", None),
    Column("hours", None),
    Column("times", None),
    Column("victims", None),
    Column("last", "last"),
    Column("note", None),
    Column("uuid", None),
)


def contention(asked: Asked) -> View:
    """Say which guests wait for CPUs, disks or memory, how much more than they usually do, and who may be the cause.

    A bully is a guest whose use was high while others on its host waited more than usually. Its share is not of the
    time, but of all that the host's guests used meanwhile.
    """
    from domstat.capacity.contention import contention as look

    found = look(asked.figures)
    lines = (*(_bully(one) for one in found.bullies), *(_wait(one) for one in found.waits))
    days = found.span.count * found.span.step_ms / 86_400_000
    before = found.past.count / 24
    looked = f"{days:.1f} days were looked at; what is usual is from {before:.1f} days before"
    nobody = () if lines else ("nobody waits",)
    causes = (_sentence(one) for one in found.bullies)
    lacking = (f"{one.name}: {one.note}" for one in found.waits if one.note)
    return View(COLUMNS, lines, (*nobody, *causes, *lacking, *found.notes, looked))


def _sentence(one: Bully) -> str:
    whom = ", ".join(one.victims[:NAMED_MAX]) + (" …" if len(one.victims) > NAMED_MAX else "")
    return (
        f"{one.host}: {one.name} may be why {whom} waited for {one.resource}, {one.times} times and for "
        f"{alone(one.hours)} hours: meanwhile its {one.what} was {alone(one.use)}, usually below {alone(one.usual)}"
    )


def _wait(one: Wait) -> Line:
    return (
        one.host,
        one.name,
        "waits more" if one.is_unusual else "waits",
        str(one.resource),
        one.what,
        one.share,
        one.typical,
        one.usual,
        one.worst,
        None,
        None,
        None,
        None,
        None,
        _time(one.last_ms),
        one.note,
        one.uuid,
    )


def _bully(one: Bully) -> Line:
    return (
        one.host,
        one.name,
        "bully",
        str(one.resource),
        one.what,
        one.share,
        one.use,
        one.usual,
        None,
        one.coincidence,
        one.lift,
        one.hours,
        one.times,
        ", ".join(one.victims),
        None,
        None,
        one.uuid,
    )


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%MZ")
