"""The page's tables: which columns each answer has. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from domstat.capacity.contention import Bully, Wait
from domstat.capacity.demand import Resource
from domstat.capacity.fleet import Host
from domstat.capacity.reclaim import Candidate
from domstat.capacity.remaining import Remaining
from domstat.capacity.rightsize import Sizing
from domstat.capacity.runway import CHANCES_DAYS, Runway
from domstat.capacity.standing import Standing
from domstat.capacity.summary import Summary
from domstat.report.answers import Answers
from domstat.report.markup import Html, element
from domstat.report.naming import RESOURCES, host_name, soonest, thing, tone
from domstat.report.numbers import minute_of
from domstat.report.tabular import Cell, Column, table

# Runways, and how hosts stand.


def runways(found: Sequence[Runway], caption: str) -> Html:
    """Write when each thing is full."""
    return table(caption, _RUNWAYS, sorted(found, key=soonest), command="domstat capacity runway")


def _chance(place: int) -> Column[Runway]:
    days = CHANCES_DAYS[place]
    return Column(f"in {days} d", lambda one: one.chances[place], f"how probable it is to be full within {days} days")


def _badge(one: Runway) -> Html:
    return element("span", str(one.status), class_=f"badge {tone(one)}")


_RUNWAYS: tuple[Column[Runway], ...] = (
    Column("what", thing),
    Column("status", _badge),
    Column("usable", lambda one: one.usable, "what there is, less the buffer"),
    Column("demand", lambda one: one.demand, "newest daily peak, of storage the newest figure"),
    Column("a day", lambda one: one.growth, "growth by the projection"),
    Column("earliest", lambda one: one.conservative, "when the upper bound of the projection is there: conservative"),
    Column("expected", lambda one: one.expected, "when the middle of the projection is there"),
    Column("latest", lambda one: one.latest, "when even the lower bound of the projection is there"),
    *(_chance(place) for place in range(len(CHANCES_DAYS))),
)


def standings(answers: Answers) -> Html:
    """Write how every host stands with every resource."""
    rows = [standing for one in answers.summaries for standing in one.standings]
    return table("Hosts", _STANDINGS, rows, command="domstat capacity summary")


_STANDINGS: tuple[Column[Standing], ...] = (
    Column("host", lambda one: host_name(one.host)),
    Column("of", lambda one: RESOURCES[one.resource]),
    Column("capacity", lambda one: one.total),
    Column("usable", lambda one: one.usable, "capacity less the buffer"),
    Column("given out", lambda one: one.allocated, "sizes of guests, added up"),
    Column("ratio", lambda one: one.ratio, "given out for each that there is: overcommit from 1 on"),
    Column("now", lambda one: one.now, "newest demand"),
    Column("peak", lambda one: one.peak, "sustained peak of demand over the window"),
    Column("remaining", lambda one: one.remaining, "usable less projected peak: the demand model"),
    Column("room", lambda one: one.room, "what may still be given out: the allocation model"),
    Column("time left", lambda one: one.time_remaining, "until the upper bound of the projection reaches usable"),
    Column("seen", lambda one: one.coverage, "share of the window that was seen"),
)


def remaining(answers: Answers) -> Html:
    """Write what is left on each host, and how many guests fit."""
    return table("Guests remaining", _REMAINING, answers.remaining.hosts, command="domstat capacity remaining")


def _left(resource: Resource) -> Column[Remaining]:
    def take(one: Remaining) -> Cell:
        return next((of.remaining for of in one.standings if of.resource == resource), None)

    return Column(f"{RESOURCES[resource]} left", take)


_REMAINING: tuple[Column[Remaining], ...] = (
    Column("host", lambda one: host_name(one.host)),
    *(_left(resource) for resource in (Resource.CPU, Resource.MEMORY, Resource.STORAGE)),
    Column("guests by demand", lambda one: one.guests, "how many more fit by their peaks"),
    Column("limited by", lambda one: None if one.limited_by is None else RESOURCES[one.limited_by]),
    Column("by allocation", lambda one: one.guests_by_allocation, "how many more fit by their sizes"),
    Column("limited by", lambda one: None if one.rooms_limited_by is None else RESOURCES[one.rooms_limited_by]),
)

# What can be had back, and what does not fit.


def reclaimable(found: Sequence[Summary]) -> Html:
    """Write what each host gets back."""
    return table("What comes back", _BACK, found, command="domstat capacity summary")


_BACK: tuple[Column[Summary], ...] = (
    Column("host", lambda one: host_name(one.host)),
    Column("memory", lambda one: one.reclaimable.get(Resource.MEMORY)),
    Column("disk", lambda one: one.reclaimable.get(Resource.STORAGE)),
    Column("CPU", lambda one: one.reclaimable.get(Resource.CPU), "what idle guests really use"),
)


def candidates(found: Sequence[Candidate], caption: str) -> Html:
    """Write guests that do nothing, or next to it."""
    return table(caption, _CANDIDATES, found, command="domstat capacity reclaim", nothing="No guest is idle or off.")


_CANDIDATES: tuple[Column[Candidate], ...] = (
    Column("guest", lambda one: one.name),
    Column("host", lambda one: one.host),
    Column("why", lambda one: str(one.kind)),
    Column("idle for", lambda one: one.share, "share of the time that was seen"),
    Column("off for", lambda one: one.off_days),
    Column("memory", lambda one: one.memory, "what comes back"),
    Column("disk", lambda one: one.disk, "what comes back if it is deleted"),
    Column("CPU", lambda one: one.cores, "what it really uses, which comes back"),
    Column("vCPUs", lambda one: one.vcpus),
    Column("note", lambda one: one.note),
)


def sizings(found: Sequence[Sizing], caption: str, nothing: str) -> Html:
    """Write guests whose size does not fit."""
    return table(caption, _SIZINGS, found, command="domstat capacity rightsize", nothing=nothing)


_SIZINGS: tuple[Column[Sizing], ...] = (
    Column("guest", lambda one: one.name),
    Column("host", lambda one: one.host),
    Column("of", lambda one: RESOURCES[one.resource]),
    Column("has", lambda one: one.now),
    Column("recommended", lambda one: one.recommended),
    Column("peak", lambda one: one.demand, "the sustained peak that counts"),
    Column("p99", lambda one: one.p99),
    Column("highest", lambda one: one.peak),
    Column("projected", lambda one: one.projected),
    Column("evidence", lambda one: one.evidence, "of CPU how long a vCPU waits, of memory how old its figures are"),
    Column("comes back", lambda one: one.back, "to the host"),
    Column("note", lambda one: one.note),
)

# Who waits.


def waits(found: Sequence[Wait]) -> Html:
    """Write who waits."""
    return table("Who waits", _WAITS, found, command="domstat capacity contention", nothing="No guest waits.")


_WAITS: tuple[Column[Wait], ...] = (
    Column("guest", lambda one: one.name),
    Column("host", lambda one: one.host),
    Column("for", lambda one: RESOURCES[one.resource]),
    Column("by", lambda one: one.what),
    Column("of the time", lambda one: one.share),
    Column("then", lambda one: one.typical),
    Column("usually", lambda one: one.usual),
    Column("worst", lambda one: one.worst),
    Column("compared", lambda one: "more than usual" if one.is_unusual else "as usual"),
    Column("last", lambda one: minute_of(one.last_ms)),
    Column("note", lambda one: one.note),
)


def bullies(found: Sequence[Bully]) -> Html:
    """Write who may be why others wait."""
    return table(
        "Who may be the cause",
        _BULLIES,
        found,
        command="domstat capacity contention",
        nothing="No guest stands out as the cause of others' waiting.",
    )


_BULLIES: tuple[Column[Bully], ...] = (
    Column("guest", lambda one: one.name),
    Column("host", lambda one: one.host),
    Column("for", lambda one: RESOURCES[one.resource]),
    Column("share", lambda one: one.share, "of all that its host's guests use, while others wait"),
    Column("uses", lambda one: one.use),
    Column("usually", lambda one: one.usual),
    Column("coincidence", lambda one: one.coincidence, "share of the others' waiting in which its use is high"),
    Column("lift", lambda one: one.lift, "how many times as often others wait then"),
    Column("for", lambda one: one.hours),
    Column("victims", lambda one: ", ".join(one.victims)),
)

# What is known.


def seen(answers: Answers) -> Html:
    """Write since when each host is known, and how much of the window was seen."""
    rows = [(host, answers) for host in answers.fleet.hosts]
    return table("What was seen", _SEEN, rows, command="domstat history info")


def _covered(row: tuple[Host, Answers]) -> Cell:
    host, answers = row
    found = (of for one in answers.summaries if one.host == host.name for of in one.standings)
    return next((of.coverage for of in found), None)


_SEEN: tuple[Column[tuple[Host, Answers]], ...] = (
    Column("host", lambda row: row[0].name),
    Column("known since", lambda row: minute_of(row[0].first_ms)),
    Column("last seen", lambda row: minute_of(row[0].last_ms)),
    Column("of the window", _covered, "share of the time that was seen"),
    Column("state", lambda row: "stale: nothing is projected" if row[0].is_stale else "up to date"),
)
