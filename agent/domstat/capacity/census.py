"""Takes the fleet out of a history: who was there at a moment, where, how large, and since when off.

Hosts and guests are known for ever; how they are is read from the last day before the moment, and for a host that has
vanished from its own last day.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from domstat.capacity.fleet import Disk, Fleet, Guest, Host, Pool, State
from domstat.capacity.grid import DAY_MS, HOUR_MS, MINUTE_MS
from domstat.history import Aggregate, History, OnDamaged, Select, Series, Span, exactly
from domstat.history import Guest as Known
from domstat.model import Kind

NEWEST_MS = DAY_MS
"""How far back the newest figures are looked for: the survey, which is the slowest to say anything, may have paused."""

REFINED_MS = 2 * HOUR_MS
"""How far back it is looked closer where a guest seems to be in two places in its last hour."""

GONE_AFTER_MS = 2 * HOUR_MS
"""A guest that its host no longer sees for so long is gone: more than a survey takes, and than an hourly figure."""

VANISHED_MAX = 32
"""Hosts that have vanished whose last day is looked at; each takes a read of its own."""

TOLERANCE = 0.01
"""Roll-ups may answer."""

_HOST_FIELDS = ("host.cpus", "host.memory.total")
_POOL_FIELDS = ("pool.capacity", "pool.allocation", "pool.age")
_GUEST_FIELDS = ("state.state", "vcpu.current", "vcpu.maximum", "balloon.current", "balloon.maximum")
_DISK_FIELDS = ("block.capacity", "block.allocation", "block.physical", "volume.capacity", "volume.allocation")
_FIELDS = (*_HOST_FIELDS, *_POOL_FIELDS, *_GUEST_FIELDS)

_OF_THE_AGENT = {"delivery", "capacity", "events"}
"""Streams that go on while nothing is seen of a host: what its agent says of itself, and hears."""

_OFF = {5.0, 6.0}
"""virDomainState: shut off, crashed. All others are of a guest that has a process."""

_WENT_OFF = {"stopped", "shutdown", "crashed"}

Stream: TypeAlias = tuple[str, str]
"""Host and collect block."""


class _Newest(Struct):
    """What one stream said last of one subject: by (field, device) when and what."""

    last_ms: int
    values: dict[tuple[str, str], tuple[int, float]]


_Found: TypeAlias = dict[tuple[Kind, str], dict[Stream, _Newest]]
"""By kind and identity (a uuid, a pool's name with its host, a host's name)."""


class Chosen(Struct, frozen=True):
    """Whose fleet: patterns over names of hosts, and over names and UUIDs of guests; none are all.

    Without *disks* no guest has any.
    """

    hosts: tuple[str, ...] = ()
    guests: tuple[str, ...] = ()
    disks: bool = True

    def has_host(self, name: str) -> bool:
        """Whether a host is meant."""
        return _matches(self.hosts, name)

    def has_guest(self, name: str, uuid: str) -> bool:
        """Whether a guest is meant."""
        return _matches(self.guests, name) or _matches(self.guests, uuid)


def _matches(patterns: tuple[str, ...], text: str) -> bool:
    return not patterns or any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)


def take(history: History, now_ms: int, stale_ms: float, chosen: Chosen, on_damaged: OnDamaged | None = None) -> Fleet:
    """Take the fleet as it was at *now_ms*. Raises HistoryError.

    A host of which neither figures nor guests are known is none: an agent that collects from others tells of itself.
    """
    hosts = list(_hosts(history, now_ms, stale_ms, chosen))
    if not hosts:
        return Fleet(now_ms, now_ms)
    found: _Found = {}
    fields = (*_FIELDS, *_DISK_FIELDS) if chosen.disks else _FIELDS
    for span, names in _spans(hosts, now_ms, chosen):
        _note(found, history.read(_select(span, names, fields, HOUR_MS), on_damaged))
    seen = {guest.uuid: guest for guest in history.guests(Span(0, now_ms), on_damaged)}
    _refine(found, history, now_ms, on_damaged)
    told = {host for streams in found.values() for host, _ in streams} | {
        of for one in seen.values() for of in one.hosts
    }
    by_name = {host.name: _sized(host, found) for host in hosts if host.name in told}
    if not by_name:
        return Fleet(now_ms, now_ms)
    guests = [
        _guest(known, found.get((Kind.GUEST, known.uuid), {}), by_name)
        for known in seen.values()
        if any(host in by_name for host in known.hosts) and chosen.has_guest(known.name, known.uuid)
    ]
    return Fleet(
        now_ms,
        min(host.first_ms for host in by_name.values()),
        tuple(sorted(by_name.values(), key=lambda host: host.name)),
        tuple(sorted(_since(guests, history, now_ms), key=lambda guest: (guest.name, guest.uuid))),
        tuple(_pools(found)),
    )


def _hosts(history: History, now_ms: int, stale_ms: float, chosen: Chosen) -> Iterator[Host]:
    """Give the hosts that are meant, and when something came of each: as long as there are ticks, not of the agent."""
    told: dict[str, int] = {}
    for stream in history.coverage(Span(0, now_ms)):
        if stream.collect not in _OF_THE_AGENT:
            told[stream.host] = max(stream.last_ms, told.get(stream.host, 0))
    for host in history.hosts():
        if host.first_ms < now_ms and chosen.has_host(host.name):
            last_ms = min(told.get(host.name, host.last_ms), now_ms)
            yield Host(host.name, host.first_ms, last_ms, is_stale=last_ms < now_ms - stale_ms)


def _spans(hosts: Sequence[Host], now_ms: int, chosen: Chosen) -> Iterator[tuple[Span, tuple[str, ...]]]:
    """Give the spans that the newest figures are in, and of which hosts: none for all of the caller's."""
    yield Span(max(0, (now_ms - NEWEST_MS) // HOUR_MS * HOUR_MS), now_ms), chosen.hosts
    vanished = [host for host in hosts if host.last_ms < now_ms - NEWEST_MS]
    for host in sorted(vanished, key=lambda host: -host.last_ms)[:VANISHED_MAX]:
        since_ms = max(0, (host.last_ms - NEWEST_MS) // HOUR_MS * HOUR_MS)
        yield Span(since_ms, min(host.last_ms + 1, now_ms)), (exactly(host.name),)


def _select(span: Span, hosts: tuple[str, ...], fields: tuple[str, ...], step_ms: int) -> Select:
    return Select(
        span=span,
        hosts=hosts,
        kinds=(Kind.GUEST, Kind.HOST, Kind.POOL),
        fields=fields,
        step_ms=step_ms,
        aggregate=Aggregate.LAST,
        tolerance=TOLERANCE,
    )


def _note(found: _Found, series: Iterable[Series]) -> None:
    for one in series:
        if not len(one.values):
            continue
        subject = one.subject
        who = subject.uuid or (f"{subject.host}\n{subject.pool}" if subject.pool else subject.host)
        streams = found.setdefault((subject.kind, who), {})
        newest = streams.setdefault((subject.host, subject.collect), _Newest(0, {}))
        time_ms = int(one.time_ms[len(one.time_ms) - 1])
        value = float(one.values[len(one.values) - 1]) * one.measure.scale
        newest.last_ms = max(newest.last_ms, time_ms)
        newest.values[one.field, one.device or ""] = (time_ms, value)


def _refine(found: _Found, history: History, now_ms: int, on_damaged: OnDamaged | None) -> None:
    """Look to the minute where guests seem to be in two places at once, or on and off."""
    unclear = {who for (kind, who), streams in found.items() if kind is Kind.GUEST and _is_unclear(streams)}
    if not unclear:
        return
    last_ms = max(newest.last_ms for who in unclear for newest in found[Kind.GUEST, who].values())
    span = Span(max(0, last_ms + HOUR_MS - REFINED_MS), min(last_ms + HOUR_MS, now_ms))
    closer: _Found = {}
    _note(closer, history.read(_select(span, (), ("state.state", "vcpu.current"), MINUTE_MS), on_damaged))
    for who in unclear:
        for stream, newest in closer.get((Kind.GUEST, who), {}).items():
            if stream in found[Kind.GUEST, who]:
                found[Kind.GUEST, who][stream].last_ms = newest.last_ms
                found[Kind.GUEST, who][stream].values |= newest.values


def _is_unclear(streams: dict[Stream, _Newest]) -> bool:
    last_ms = max(newest.last_ms for newest in streams.values())
    ties = {(host, _is_off(newest)) for (host, _), newest in streams.items() if newest.last_ms == last_ms}
    return len(ties) > 1


def _is_off(newest: _Newest) -> bool:
    state = newest.values.get(("state.state", ""))
    return state is not None and state[1] in _OFF


def _merged(streams: dict[Stream, _Newest], host: str) -> dict[tuple[str, str], float]:
    """Return what the streams of a host said last."""
    best: dict[tuple[str, str], tuple[int, float]] = {}
    for (of, _), newest in sorted(streams.items(), key=lambda item: item[1].last_ms):
        if of == host:
            best |= {key: said for key, said in newest.values.items() if key not in best or said[0] >= best[key][0]}
    return {key: value for key, (_, value) in best.items()}


def _sized(host: Host, found: _Found) -> Host:
    values = _merged(found.get((Kind.HOST, host.name), {}), host.name)
    return replace(host, threads=values.get(("host.cpus", "")), memory=values.get(("host.memory.total", "")))


def _guest(known: Known, streams: dict[Stream, _Newest], hosts: dict[str, Host]) -> Guest:
    last_ms = min(known.last_ms, max((host.last_ms for host in hosts.values()), default=known.last_ms))
    if not streams:
        host = known.hosts[0] if len(known.hosts) == 1 else ""
        return Guest(known.uuid, known.name, host, known.hosts, State.GONE, known.first_ms, last_ms)
    host = max(streams.items(), key=lambda item: (item[1].last_ms, item[0]))[0][0]
    newest = max((newest for (of, _), newest in streams.items() if of == host), key=lambda newest: newest.last_ms)
    values = _merged(streams, host)
    is_off = _is_off(newest)
    home = hosts.get(host)
    is_gone = home is not None and last_ms < home.last_ms - GONE_AFTER_MS
    return Guest(
        known.uuid,
        known.name,
        host,
        known.hosts,
        State.GONE if is_gone else State.OFF if is_off else State.RUNNING,
        known.first_ms,
        last_ms,
        vcpus=values.get(("vcpu.maximum" if is_off else "vcpu.current", "")),
        memory=values.get(("balloon.maximum" if is_off else "balloon.current", "")),
        vcpus_maximum=values.get(("vcpu.maximum", "")),
        memory_maximum=values.get(("balloon.maximum", "")),
        disks=tuple(_disks(known.uuid, values, "volume" if is_off else "block")),
    )


def _disks(uuid: str, values: dict[tuple[str, str], float], group: str) -> Iterator[Disk]:
    """Give the disks, not the layers below them."""
    prefix = f"{group}."
    devices = {device for field, device in values if field.startswith(prefix) and "#" not in device}
    for device in sorted(devices):
        capacity, allocation, physical = (
            values.get((f"{group}.{of}", device)) for of in ("capacity", "allocation", "physical")
        )
        yield Disk(uuid, device, capacity, allocation, physical)


def _pools(found: _Found) -> Iterator[Pool]:
    twins: set[tuple[str, float | None, float | None]] = set()
    for (kind, who), streams in sorted(found.items()):
        if kind is not Kind.POOL:
            continue
        host, _, name = who.partition("\n")
        values = _merged(streams, host)
        capacity, allocation, age = (values.get((field, "")) for field in _POOL_FIELDS)
        last_ms = max(newest.last_ms for newest in streams.values())
        figures = (name, capacity, allocation)
        yield Pool(host, name, capacity, allocation, last_ms, age, is_twin=figures in twins)
        twins.add(figures)


def _since(guests: Sequence[Guest], history: History, now_ms: int) -> Iterator[Guest]:
    """Say of guests that are off since when: by the event, else since they were last seen to run, or seen at all."""
    off = {guest.uuid: guest for guest in guests if guest.state is State.OFF}
    when: dict[str, int] = {}
    if off:
        first_ms = min(guest.first_ms for guest in off.values())
        for happening in history.events(Span(first_ms, now_ms)):
            uuid = happening.subject.uuid
            if uuid in off and happening.event.type in _WENT_OFF:
                when[uuid] = happening.time_ms
        when |= _last_ran(history, Span(first_ms, now_ms), tuple(uuid for uuid in off if uuid not in when))
    for guest in guests:
        since = when.get(guest.uuid, guest.first_ms) if guest.uuid in off else None
        yield replace(guest, off_since_ms=since)


def _last_ran(history: History, span: Span, uuids: tuple[str, ...]) -> dict[str, int]:
    """Return by guest the end of the last day on which it used its CPU: what went off while nobody listened."""
    if not uuids:
        return {}
    select = Select(
        span=Span(span.since_ms // DAY_MS * DAY_MS, span.until_ms),
        guests=uuids,
        fields=("cpu.time",),
        rate=True,
        step_ms=DAY_MS,
        tolerance=TOLERANCE,
    )
    ran: dict[str, int] = {}
    for series in history.read(select):
        uuid = series.subject.uuid or ""
        last_ms = int(series.time_ms[len(series.time_ms) - 1]) + DAY_MS
        ran[uuid] = max(ran.get(uuid, 0), min(last_ms, span.until_ms))
    return ran
