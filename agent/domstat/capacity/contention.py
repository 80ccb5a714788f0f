"""Who waits, and who makes others wait.

:mod:`.waiting` says who waits. A **bully** is a guest of which, while others on its host wait more than they usually do
(:mod:`.usual`: their own past, at the same hours),

* the share of all that the host's guests use is `bully_share` (30 %) or more,
* the use is HIGH in COINCIDING (80 %) of that time: above what it used in nine of ten hours of its past on that host,
  at that hour of the day,
* and the others wait LIFT (2) times as often while its use is high as while it is not.

So a host may be busy without anybody waiting, guests may wait without one of them being the cause, and who always uses
much, as everybody is used to, is no bully. All this is coincidence in time, which is no proof: it *may* be the cause.
Of CPUs the use is cpu.cores, of disks it is bytes or requests, whichever makes the greater share. Memory has no bully:
a guest that swaps has too little of its own, or was deprived of some by the host, and it is said which.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from msgspec import Struct

from domstat.capacity import grid
from domstat.capacity.demand import Resource
from domstat.capacity.explained import Figure, Unit, given, missing, worked_out
from domstat.capacity.fleet import Guest, State
from domstat.capacity.gather import Figures, Key
from domstat.capacity.grid import FloatArray, Grid, Matrix
from domstat.capacity.usual import times, usual
from domstat.capacity.waiting import Flags, Spans, Waiting, spans, waiting

HIGH = 0.9
"""Which quantile of a guest's own past its use must be above to be high: one hour in ten is so by chance."""

COINCIDING = 0.8
"""Share of the others' waiting during which a bully's use is high: not all of it, as the edges seldom meet."""

LIFT = 2.0
"""How many times as often others wait while a bully's use is high; of what has nothing to do with it, as often."""

BUSY = 0.5
"""Share of a host's CPUs below which it has idle ones, and waiting has another reason: a quota, or pinning."""

NAMES_MAX = 8
"""Guests that are named where others are counted."""


class Wait(Struct, frozen=True):
    """One guest that waits for one thing: for how much of the time, how long (or how much) then, and usually.

    *is_unusual* is whether that is more than usual. *last_ms* is when it did so last.
    """

    host: str
    uuid: str
    name: str
    resource: Resource
    what: str
    share: Figure
    typical: Figure
    usual: Figure
    worst: Figure
    is_unusual: bool
    last_ms: int
    note: str = ""


class Bully(Struct, frozen=True):
    """A guest that may be why others wait. *hours* are those in which they do, *victims* are their names."""

    host: str
    uuid: str
    name: str
    resource: Resource
    what: str
    share: Figure
    use: Figure
    usual: Figure
    coincidence: Figure
    lift: Figure
    hours: Figure
    times: int
    victims: tuple[str, ...]


class Contention(Struct, frozen=True):
    """Who waits, worst first, and who may be the cause; *notes* are sentences on what cannot be said."""

    span: Grid
    past: Grid
    waits: tuple[Wait, ...]
    bullies: tuple[Bully, ...]
    notes: tuple[str, ...]


def contention(figures: Figures) -> Contention:
    """Say who waits, and who may be the cause. Raises HistoryError."""
    everybody = figures.of_all_guests()
    over = spans(everybody)
    seen = waiting(everybody, over)
    cases = [case for resource in _USES for case in _cases(everybody, over, resource, seen.waits)]
    bullies = [bully for case in cases for bully in _bullies(case, over)]
    meant, names = figures.fleet.guest_of, {guest.name for guest in figures.fleet.guests}
    waits = [_wait(one, over) for one in seen.waits if one.guest.uuid in meant]
    waits.sort(key=lambda one: (not one.is_unusual, -(one.share.value or 0.0), one.name, one.what))
    bullies.sort(key=lambda one: (-(one.hours.value or 0.0), one.name))
    return Contention(
        over.span,
        over.past,
        tuple(waits),
        tuple(one for one in bullies if one.uuid in meant or names & set(one.victims)),
        (*_unjudged(over, seen.without_steal), *_unexplained(everybody, over, cases, bullies)),
    )


def _wait(one: Waiting, over: Spans) -> Wait:
    span, guest = over.span, one.guest
    waited, normal = one.values[one.waits], grid.known(one.usual[one.waits])
    last = int(np.flatnonzero(one.waits)[-1])
    known = given(float((~np.isnan(one.values)).sum()), Unit.NONE, f"{span.step_name} means of {one.what}")
    during = given(float(one.waits.sum()), Unit.NONE, "those in which it waits")
    share = None if not known.value or during.value is None else during.value / known.value
    return Wait(
        guest.host,
        guest.uuid,
        guest.name,
        one.resource,
        one.what,
        worked_out(share, Unit.RATIO, "waiting / known", {"waiting": during, "known": known}),
        given(float(np.median(waited)), one.unit, f"median of {span.step_name} means of {one.what} while it waits"),
        given(
            float(np.median(normal)) if len(normal) else None,
            one.unit,
            f"median of hourly means of {one.what} at these hours of the day, over "
            f"{over.past.count / 24:.1f} days before",
            lacking="nothing is known of it before",
        ),
        given(float(waited.max()), one.unit, f"greatest of {span.step_name} means of {one.what}"),
        bool(one.more.any()),
        span.since_ms + (last + 1) * span.step_ms,
        _memory_note(one),
    )


def _memory_note(one: Waiting) -> str:
    if one.resource is not Resource.MEMORY:
        return ""
    guest = one.guest
    if guest.memory is not None and guest.memory_maximum is not None and guest.memory < guest.memory_maximum:
        gone = (guest.memory_maximum - guest.memory) / guest.memory_maximum
        return f"{100 * gone:.0f} % of its memory is ballooned away"
    return "it has all of its memory: that is too little"


# Who is the cause.


class _Use(Struct, frozen=True):
    """What guests use of one thing on each host, over the span and before, by host and uuid."""

    what: str
    unit: Unit
    span: Matrix[Key]
    past: Matrix[Key]


class _Case(Struct, frozen=True):
    """One host on which guests wait for one resource more than usual: whose use, and when each victim waits."""

    host: str
    resource: Resource
    uses: tuple[_Use, ...]
    victims: dict[str, Flags]
    names: dict[str, str]
    share_min: float


_Fields: TypeAlias = tuple[str, ...]

_USES: dict[Resource, tuple[tuple[Unit, _Fields], ...]] = {
    Resource.CPU: ((Unit.CORES, ("cpu.cores",)),),
    Resource.DISK: (
        (Unit.BYTES_PER_SECOND, ("block.rd.bytes", "block.wr.bytes")),
        (Unit.PER_SECOND, ("block.rd.reqs", "block.wr.reqs")),
    ),
}
"""What guests use, by what others wait for: the unit, and the fields that are added up; counters but for cores."""


def _cases(figures: Figures, over: Spans, resource: Resource, found: Sequence[Waiting]) -> Iterator[_Case]:
    more: dict[str, Flags] = {}
    for one in found:
        if one.resource is resource and one.more.any():
            more[one.guest.uuid] = more.get(one.guest.uuid, np.zeros(over.span.count, dtype=bool)) | one.more
    if not more or not over.past.count:
        return
    hosts = {host for uuid in more for host in figures.fleet.guest_of[uuid].hosts}
    there = [guest for guest in figures.fleet.guests if hosts & set(guest.hosts) and guest.state is not State.OFF]
    only = tuple(sorted(guest.uuid for guest in there))
    uses = tuple(_read_use(figures, over, unit, fields, only) for unit, fields in _USES[resource])
    names = {guest.uuid: guest.name for guest in there}
    for host in sorted(hosts):
        rows = {uuid: flags & ~np.isnan(uses[0].span.row(Key(host=host, uuid=uuid))) for uuid, flags in more.items()}
        victims = {uuid: flags for uuid, flags in rows.items() if flags.any()}
        if victims:
            yield _Case(host, resource, uses, victims, names, figures.settings.bully_share)


def _read_use(figures: Figures, over: Spans, unit: Unit, fields: _Fields, only: tuple[str, ...]) -> _Use:
    def added(of: Grid) -> Matrix[Key]:
        is_rate = unit is not Unit.CORES
        read = [figures.guests(field, of, rate=is_rate, by_host=True, only=only) for field in fields]
        keys = dict.fromkeys(key for matrix in read for key in matrix.keys)
        return grid.of(of, ((key, grid.total(np.array([one.row(key) for one in read])), 1.0) for key in keys))

    return _Use(" + ".join(fields), unit, added(over.span), added(over.past))


def _bullies(case: _Case, over: Spans) -> Iterator[Bully]:
    """Give those of a host's guests that may be the cause, each by the use of which it has the greater share."""
    best: dict[str, Bully] = {}
    for use in case.uses:
        keys = [key for key in use.span.keys if key.host == case.host]
        rows = {key.uuid: np.nan_to_num(use.span.row(key)) for key in keys}
        together = sum(rows.values(), np.zeros(over.span.count))
        for key in keys:
            found = _bully(case, use, key, rows[key.uuid], together, over)
            if found is not None and (found.share.value or 0.0) > _share_of(best.get(key.uuid)):
                best[key.uuid] = found
    yield from best.values()


def _share_of(bully: Bully | None) -> float:
    return 0.0 if bully is None else bully.share.value or 0.0


def _bully(case: _Case, use: _Use, key: Key, row: FloatArray, together: FloatArray, over: Spans) -> Bully | None:
    victims = {uuid: flags for uuid, flags in case.victims.items() if uuid != key.uuid}
    is_there = ~np.isnan(use.span.row(key))
    wait = is_there & np.logical_or.reduce([np.zeros(over.span.count, dtype=bool), *victims.values()])
    if row[wait].sum() <= 0 or row[wait].sum() < case.share_min * together[wait].sum():
        return None
    normal = np.nan_to_num(usual(use.past.row(key), over.past, over.span, HIGH))
    is_high = is_there & (row > normal)
    seen = _Seen(
        during=float(wait.sum()),
        own=float(row[wait].sum()),
        together=float(together[wait].sum()),
        both=float((wait & is_high).sum()),
        high=float(is_high.sum()),
        low=float((is_there & ~is_high).sum()),
        apart=float((wait & ~is_high).sum()),
    )
    if not seen.is_cause:
        return None
    guilty = {uuid: flags for uuid, flags in victims.items() if (flags & is_high).any()}
    step = over.span.step_name
    return Bully(
        case.host,
        key.uuid,
        case.names[key.uuid],
        case.resource,
        use.what,
        seen.share(use),
        given(
            float(np.median(row[wait & is_high])), use.unit, f"median of {step} means of {use.what} while others wait"
        ),
        given(float(np.median(normal[wait & is_high])), use.unit, _usually(use, over)),
        seen.coincidence(),
        seen.lift(),
        given(seen.during * over.span.step_ms / 3_600_000, Unit.NONE, f"hours in which others wait, by {step} means"),
        times(wait),
        tuple(sorted(case.names[uuid] for uuid in guilty)),
    )


def _usually(use: _Use, over: Spans) -> str:
    days = over.past.count / 24
    return f"p{100 * HIGH:.0f} of its hourly means of {use.what} at these hours of the day, over {days:.1f} days before"


class _Seen(Struct, frozen=True, kw_only=True):
    """How a guest's use and the others' waiting meet, in steps: *during* they wait, in *both* its use is high too.

    *high* and *low* are the steps in which its use is high and in which it is not, *apart* those of the latter in which
    they wait. *own* and *together* are what it and all of the host's guests use while they wait, added up.
    """

    during: float
    own: float
    together: float
    both: float
    high: float
    low: float
    apart: float

    @property
    def is_cause(self) -> bool:
        """Whether it is when its use is high, and not otherwise, that they wait."""
        # Without dividing, as it may be high all the time, or never.
        return self.both >= COINCIDING * self.during and self.both * self.low >= LIFT * self.apart * self.high

    def share(self, use: _Use) -> Figure:
        """Return its share of what all guests of the host use while others wait."""
        inputs = {
            "own": given(self.own, use.unit, f"its {use.what}, of all steps in which others wait"),
            "together": given(self.together, use.unit, "that of all guests of the host"),
        }
        return worked_out(self.own / self.together, Unit.RATIO, "own / together", inputs)

    def coincidence(self) -> Figure:
        """Return in which share of the others' waiting its use is high."""
        inputs = {
            "both": given(self.both, Unit.NONE, "steps in which others wait and its use is high"),
            "waiting": given(self.during, Unit.NONE, "steps in which others wait"),
        }
        return worked_out(self.both / self.during, Unit.RATIO, "both / waiting", inputs)

    def lift(self) -> Figure:
        """Return how many times as often others wait while its use is high as while it is not."""
        if not self.low:
            return missing(Unit.NONE, "its use was high all along")
        if not self.apart:
            return missing(Unit.NONE, "others never wait otherwise")
        inputs = {
            "both": given(self.both, Unit.NONE, "steps in which others wait and its use is high"),
            "high": given(self.high, Unit.NONE, "steps in which its use is high"),
            "apart": given(self.apart, Unit.NONE, "steps in which others wait and its use is not high"),
            "low": given(self.low, Unit.NONE, "steps in which its use is not high"),
        }
        value = (self.both / self.high) / (self.apart / self.low)
        return worked_out(value, Unit.NONE, "(both / high) / (apart / low)", inputs)


# What cannot be said.


def _unjudged(over: Spans, without_steal: Sequence[Guest]) -> Iterator[str]:
    if not over.past.count:
        yield "nothing was seen before: what is usual, and so who makes others wait, cannot be said yet"
    if without_steal:
        yield (
            f"of {named([guest.name for guest in without_steal])} nobody knows how long its vCPUs wait: that takes "
            "libvirt 7.2 and a kernel with scheduler statistics"
        )


def _unexplained(figures: Figures, over: Spans, cases: Sequence[_Case], bullies: Sequence[Bully]) -> Iterator[str]:
    """Say of each host on which guests wait for no one guest's sake what else it may be."""
    found = {(bully.host, bully.resource) for bully in bullies}
    for case in cases:
        if (case.host, case.resource) in found:
            continue
        who = named([case.names[uuid] for uuid in case.victims])
        text = f"{case.host}: {who} waited for {case.resource} more than usually, and no one guest stands out"
        busy = _busy(figures, over, case) if case.resource is Resource.CPU else None
        if busy is not None and busy < BUSY:
            text += f"; {100 * busy:.0f} % of its CPUs were busy meanwhile: is there a quota, or pinning?"
        yield text


def _busy(figures: Figures, over: Spans, case: _Case) -> float | None:
    """Return which share of a host's CPUs was busy while its guests waited."""
    wait = np.logical_or.reduce(list(case.victims.values()))
    known = grid.known(figures.hosts("host.cpu.utilization", over.span).row(Key(host=case.host))[wait])
    return float(known.mean()) if len(known) else None


def named(names: Sequence[str]) -> str:
    """Name some guests, and count the rest."""
    few = sorted(names)[:NAMES_MAX]
    more = len(names) - len(few)
    return ", ".join(few) + (f" and {more} more" if more else "")
