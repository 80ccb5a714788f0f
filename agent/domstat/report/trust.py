"""How far to trust the page: what was not seen, what is too young, too old, or cannot be known. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from domstat.capacity.explained import Unit
from domstat.capacity.fleet import State
from domstat.capacity.rightsize import Verdict
from domstat.capacity.runway import Status
from domstat.report.answers import Answers
from domstat.report.naming import RESOURCES, some, thing
from domstat.report.numbers import counted, number

_UNSURE = (Status.YOUNG, Status.STALE, Status.UNKNOWN)
_UNSIZED = (Verdict.WAITS, Verdict.YOUNG, Verdict.STALE, Verdict.UNKNOWN)


def doubts(answers: Answers) -> Iterator[str]:
    """Give what is to be borne in mind, a sentence each."""
    yield from _hosts(answers)
    yield from _runways(answers)
    yield from _sizes(answers)
    yield from _unjudged(answers)
    if answers.hours.unknown:
        yield f"When they are busy is not known of {some(answers.hours.unknown)}."
    yield from (f"{note}." for note in answers.contention.notes)  # no capital: a host's name may come first


def _hosts(answers: Answers) -> Iterator[str]:
    stale = [host.name for host in answers.fleet.hosts if host.is_stale]
    if stale:
        yield f"Not seen any more, and left out of sums: {some(stale)}."
    least = answers.settings.coverage
    few = {
        one.host: of.coverage.value
        for one in answers.summaries
        for of in one.standings
        if one.host and not one.note and of.coverage.value is not None and of.coverage.value < least
    }
    for host, seen in few.items():
        yield f"Of {host} only {number(seen, Unit.RATIO)} of the time was seen: take its figures as a warning."
    gone = sum(guest.state is State.GONE for guest in answers.fleet.guests)
    if gone:
        verb = "is" if gone == 1 else "are"
        yield f"{counted(gone, 'guest')} {verb} gone; what they used is part of the demand that there was."


def _runways(answers: Answers) -> Iterator[str]:
    for reason, names in _by_reason((one.note, thing(one)) for one in answers.runways if one.status in _UNSURE):
        yield f"When it is full cannot be said of {some(names)}: {reason}."


def _sizes(answers: Answers) -> Iterator[str]:
    found = (
        (f"{one.verdict} ({RESOURCES[one.resource]})", one.name)
        for one in answers.sizes.sizings
        if one.verdict in _UNSIZED
    )
    for reason, names in _by_reason(found):
        yield f"No size is recommended for {counted(len(names), 'guest')}, {some(names)}: {reason}."


def _unjudged(answers: Answers) -> Iterator[str]:
    for reason, names in _by_reason((one.reason.partition(":")[0], one.name) for one in answers.reclaim.unjudged):
        yield f"Whether idle cannot be said of {counted(len(names), 'guest')}, {some(names)}: {reason}."


def _by_reason(found: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Put those together that have the same reason."""
    groups: dict[str, list[str]] = {}
    for reason, name in found:
        groups.setdefault(reason, []).append(name)
    return list(groups.items())
