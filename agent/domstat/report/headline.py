"""What matters, in sentences: what is full first, and then what else a planner would ask. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from domstat.capacity.contention import Contention
from domstat.capacity.demand import ALL, Resource
from domstat.capacity.explained import Figure, Unit
from domstat.capacity.rightsize import Rightsize, Verdict
from domstat.capacity.runway import Runway, Status
from domstat.report.answers import Answers
from domstat.report.naming import some, soonest, thing
from domstat.report.numbers import counted, day_in, number, said

DAY_S = 86_400

NAMES_FIRST_MAX = 3
"""Names in the sentence that comes first, in large print."""


def first(answers: Answers) -> str:
    """Say which host or pool is full first, and when."""
    own = [one for one in answers.runways if one.host != ALL and one.resource is not Resource.DISK]
    full = [one for one in own if one.status is Status.FULL]
    if full:
        return _full(sorted(full, key=soonest), len(own))
    coming = sorted((one for one in own if one.conservative.is_known), key=soonest)
    if coming:
        return _coming(coming[0], answers)
    if any(one.status is Status.BEYOND for one in own):
        unclear = len([one for one in own if one.status is not Status.BEYOND])
        so_far = f", as far as that is known: of {unclear} nothing can be said" if unclear else ""
        return f"Nothing is full within the next {horizon_days(answers)} days{so_far}."
    return _nothing(own)


def horizon_days(answers: Answers) -> str:
    """Return how far ahead was looked."""
    return f"{answers.settings.horizon / DAY_S:.0f}"


def _full(full: Sequence[Runway], among: int) -> str:
    if len(full) == 1:
        asked, usable = said(full[0].demand), said(full[0].usable)
        return f"{thing(full[0])} is full already: {asked} of the {usable} that are usable."
    return f"{len(full)} of {among} are full already: {some([thing(one) for one in full], NAMES_FIRST_MAX)}."


def _coming(one: Runway, answers: Answers) -> str:
    earliest, expected, latest = one.conservative, one.expected, one.latest
    name, beyond = thing(one), f"within {horizon_days(answers)} days"
    if expected.value is None:
        when = _when(earliest, answers)
        return f"{name} may be full first: {when} at the earliest, though not {beyond} by the middle of its projection."
    text = f"{name} is full first: expected {_when(expected, answers)}"
    if said(earliest) != said(expected):
        text += f", at the earliest {_in(earliest)}"
    if latest.value is None:
        text += f", perhaps not {beyond}"
    elif said(latest) != said(expected):
        text += f", at the latest {_in(latest)}"
    return f"{text}."


def _when(days: Figure, answers: Answers) -> str:
    return f"{_in(days)} ({day_in(days.value or 0.0, answers.now_ms)})"


def _in(days: Figure) -> str:
    return f"in {said(days)}" if days.value else "today"


def _nothing(own: Sequence[Runway]) -> str:
    reasons = {one.status for one in own}
    if reasons == {Status.STALE}:
        return "Nothing can be said of when anything is full: all figures are stale."
    if Status.YOUNG in reasons:
        return "There is not enough history yet to say when anything is full."
    return "Nothing is known of how full hosts are."


def others(answers: Answers) -> Iterator[str]:
    """Give what else is worth a sentence, each where there is something to say."""
    yield from _short(answers)
    yield from _disks(answers)
    yield from _fit(answers)
    yield from _reclaim(answers)
    yield from _sizes(answers.sizes)
    yield from _waiting(answers.contention)


def _short(answers: Answers) -> Iterator[str]:
    known = [one for one in answers.runways if one.host != ALL and one.resource is not Resource.DISK]
    short = sorted((one for one in known if one.status in {Status.SHORT, Status.FULL}), key=soonest)
    if len(short) > 1:
        days = f"{answers.settings.warning / DAY_S:.0f} days"
        yield f"Of {len(known)}, {len(short)} have less than {days} left: {some([thing(one) for one in short])}."


def _disks(answers: Answers) -> Iterator[str]:
    disks = [one for one in answers.runways if one.resource is Resource.DISK]
    short = sorted((one for one in disks if one.status in {Status.SHORT, Status.FULL}), key=soonest)
    if short:
        names = some([one.name for one in short])
        yield f"{counted(len(short), 'thin disk')} of guests {'is' if len(short) == 1 else 'are'} full soon: {names}."


def _fit(answers: Answers) -> Iterator[str]:
    hosts = answers.remaining.hosts
    total = next((one.guests for one in hosts if one.host == ALL), hosts[0].guests if hosts else None)
    if total is not None and total.value is not None:
        count = "No more guests" if total.value == 0 else f"{number(total.value, Unit.GUESTS)} more"
        yield f"{count} like {answers.remaining.each.name} fit, by demand."


def _reclaim(answers: Answers) -> Iterator[str]:
    count = len(answers.reclaim.candidates)
    if count:
        total = answers.summaries[0].reclaimable
        back = ((Resource.MEMORY, "memory"), (Resource.STORAGE, "disk"))
        parts = [f"{said(total[of])} of {what}" for of, what in back if of in total and total[of].value]
        verb = "is" if count == 1 else "are"
        what = f": {' and '.join(parts)} would come back" if parts else ""
        yield f"{counted(count, 'guest')} {verb} idle or off{what}."


def _sizes(found: Rightsize) -> Iterator[str]:
    small, big = (
        len({one.uuid for one in found.sizings if one.verdict is verdict})
        for verdict in (Verdict.UNDERSIZED, Verdict.OVERSIZED)
    )
    if small or big:
        yield f"{counted(small, 'guest')} {'is' if small == 1 else 'are'} too small, {big:,} too big."


def _waiting(found: Contention) -> Iterator[str]:
    names = list(dict.fromkeys(one.name for one in found.waits if one.is_unusual))
    if names:
        verb = "waits" if len(names) == 1 else "wait"
        yield f"{counted(len(names), 'guest')} {verb} more than usual: {some(names)}."
    bullies = list(dict.fromkeys(one.name for one in found.bullies))
    if bullies:
        yield f"{some(bullies)} may be why others wait."
