"""The last ticks of a scenario, and what happened in all of it, as the batches that an agent would write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from domstat.model import Batch, Domain, Event, Figures, Gap, Kind, Pool, Record, Stamp
from domstat_bench.scenario_courses import HOUR_MS
from domstat_bench.scenario_stretches import Stretches
from domstat_bench.scenario_values import Stream, Subject
from domstat_bench.scenario_world import Guest, Host, World

BOOT_ID = "0d7a3b52-8a0c-4f51-9f6e-3f1c8b2a9d10"
LATE_MS = 8
"""By how much a tick is late."""
_CALL_NS_A_GUEST = 550_000
_NS_PER_MS = 1_000_000


def batches(host: Host, stream: Stream, made: Stretches, from_ms: int, until_ms: int) -> Iterator[Batch]:
    """Give a stream's ticks from one time on and before another, which follow on what was *made* before."""
    told: set[int] = set()
    for time_ms, said in made.ticks(from_ms, until_ms):
        stamp = _stamp(time_ms, len(said) * _CALL_NS_A_GUEST)
        records = []
        for number, values in said:
            # Labels and devices travel when they are new and once an hour.
            is_described = number not in told or time_ms % HOUR_MS == 0
            told.add(number)
            records.append(_record(host, stream, stream.subjects[number], stamp, values, is_described=is_described))
        yield Batch(host=host.name, collect=stream.collect, stamp=stamp, records=tuple(records))


def _stamp(time_ms: int, call_ns: int) -> Stamp:
    return Stamp(time_ms + LATE_MS, time_ms * _NS_PER_MS, BOOT_ID, call_ns)


def _record(
    host: Host, stream: Stream, subject: Subject, stamp: Stamp, values: Sequence[int], *, is_described: bool
) -> Record:
    is_guest, is_pool = subject.kind is Kind.GUEST, subject.kind is Kind.POOL
    return Record(
        kind=subject.kind,
        host=host.name,
        collect=stream.collect,
        time_ms=stamp.time_ms,
        domain=_domain_of(subject, stream, stamp.time_ms) if is_guest else None,
        labels=dict(subject.labels) if is_described and (is_guest or is_pool) else None,
        devices={name: dict(what) for name, what in subject.devices} if is_described and is_guest else None,
        figures=Figures(dict(zip(subject.keys, values, strict=True))),
        pool=Pool(subject.name or "") if is_pool else None,
    )


def _domain_of(subject: Subject, stream: Stream, time_ms: int) -> Domain:
    """Say which guest it is; one that runs has been started once more than it was started anew."""
    starts = 1 + sum(at <= time_ms for at in subject.resets)
    number = stream.subjects.index(subject) * 1000 + starts
    return Domain(subject.uuid or "", subject.name or "", number if stream.collect == "default" else None)


def happenings(world: World, host: Host) -> Iterator[Batch]:
    """Give what happened on a host: guests that came, went and were started anew; and when nobody looked."""
    for guest in host.guests:
        domain = Domain(guest.uuid, guest.name, 1)
        for time_ms, event in _events(world, host, guest):
            record = Record(
                kind=Kind.EVENT, host=host.name, collect="events", time_ms=time_ms, domain=domain, event=event
            )
            yield Batch(host=host.name, collect="events", stamp=_stamp(time_ms - LATE_MS, 0), records=(record,))
    for from_ms, until_ms in host.gaps:
        gap = Gap(from_ms, until_ms, "agent-stopped")
        record = Record(kind=Kind.GAP, host=host.name, collect="default", time_ms=from_ms, gap=gap)
        yield Batch(host=host.name, collect="default", stamp=_stamp(from_ms - LATE_MS, 0), records=(record,))


def _events(world: World, host: Host, guest: Guest) -> Iterator[tuple[int, Event]]:
    if guest.from_ms > world.begin_ms:
        yield guest.from_ms, Event("started", "migrated" if _is_elsewhere(world, host, guest) else "booted")
    for at in guest.resets:
        yield at, Event("stopped", "shutdown")
        yield at + 1, Event("started", "booted")
    if guest.until_ms < min(world.end_ms, host.until_ms):
        yield guest.until_ms, Event("stopped", "migrated" if _is_elsewhere(world, host, guest) else "shutdown")


def _is_elsewhere(world: World, host: Host, guest: Guest) -> bool:
    """Whether a guest is on another host before or after."""
    return any(
        other.uuid == guest.uuid and {other.from_ms, other.until_ms} & {guest.from_ms, guest.until_ms}
        for elsewhere in world.hosts
        if elsewhere.name != host.name
        for other in elsewhere.guests
    )
