"""What libvirt itself says of guests, asked beside the agent and one by one, and what records must be beside that.

A look is taken before and after everything that is done to a guest. Between two looks nothing was done: a counter in
a record from in between lies between what the two say, and a record has the keys that they have, no more and no less.
Names are given here by other means than the agent's: disks by their target, NICs by the MAC that the XML has for
their tap.
"""

from __future__ import annotations

import os
import time
import xml.etree.ElementTree as ET
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from msgspec import Struct

from domstat.catalog import IDENTITY_FIELDS, FieldKind, Unit, look_up
from domstat.model import Kind, Record, Value, split_key
from domstat_lab import connection

from .oracle import Told

GROUPS = ("STATE", "CPU_TOTAL", "BALLOON", "VCPU", "INTERFACE", "BLOCK")
WORDS = frozenset({"state", "cpu", "balloon", "vcpu", "net", "block"})
"""The first words of the six core groups' parameters; what the agent asks for now and then is not compared."""

INTERNALS = (".sum", ".cur", ".max")
"""How parameters end that are the hypervisor's own, which the agent leaves out."""

RESTLESS = frozenset({"vcpu.state", "vcpu.halted", "balloon.rss", "balloon.last-update", "balloon.unused"}) | {
    f"balloon.{name}" for name in ("available", "usable", "disk_caches")
}
"""Gauges that go up and down by themselves."""

SHUTOFF = 5
"""libvirt's number for the state of a guest that is off."""

CORES = os.cpu_count() or 1
STEP_S = 0.02
"""CPU times come in steps of 10 ms; a rate over a short interval may be one at either end too high."""

BOUNDS = {
    Unit.BYTES: 20e6,
    Unit.KIB: 2e9,  # swapped by a guest; none here has any
    Unit.REQUESTS: 20_000.0,
    Unit.PACKETS: 50_000.0,
    Unit.ERRORS: 50_000.0,
    Unit.FAULTS: 5e6,
    Unit.PAGES: 5e6,
}
"""Per second, what is some ten times what any guest of the lab can do."""

REQUESTS_AT_ONCE = 64.0
"""So many requests of a disk under way at once add up to so many seconds of waiting per second."""

LONGEST_WAIT_S = 10.0
"""For a processor, on a busy machine. Linux counts a wait when it is over, however many ticks ago it began."""


def now_ms() -> float:
    """Read the wall clock, which records are stamped with."""
    return time.time() * 1000


class Seen(Struct, frozen=True):
    """A running guest: its name and incarnation, its parameters by key, and which MACs are its own."""

    name: str
    id: int
    params: dict[str, Value]
    macs: frozenset[str]


class Look(Struct, frozen=True):
    """All running guests at a time, by uuid."""

    began_ms: float
    ended_ms: float
    guests: dict[str, Seen]


class Deed(Struct, frozen=True):
    """Something that was done to a guest, and when; *device* was plugged anew under an old name by it."""

    what: str
    uuid: str
    began_ms: float
    ended_ms: float
    device: str = ""


class Eye:
    """A connection of the test's own, by which it looks at guests whose names begin alike."""

    def __init__(self, uri: str, prefix: str) -> None:
        self._binding = connection.binding()
        self._connection = connection.open_connection(uri, readonly=True)
        self._prefix = prefix
        self._stats = sum(getattr(self._binding, f"VIR_DOMAIN_STATS_{group}") for group in GROUPS)

    def look(self) -> Look:
        """Look at all of them, one by one. Waits for whoever else has a command in a guest's monitor."""
        began_ms = now_ms()
        running = self._connection.listAllDomains(self._binding.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        seen = {}
        for domain in running:
            with suppress(self._binding.libvirtError):  # it has just ended
                if domain.name().startswith(self._prefix):
                    seen[domain.UUIDString()] = self._see(domain)
        return Look(began_ms, now_ms(), seen)

    def _see(self, domain: Any) -> Seen:
        ((found, stats),) = self._connection.domainListGetStats([domain], self._stats, 0)
        nics = ET.fromstring(found.XMLDesc()).findall("./devices/interface")
        params = named(stats, [(_attribute(nic, "target", "dev"), _attribute(nic, "mac", "address")) for nic in nics])
        return Seen(found.name(), found.ID(), params, frozenset(_attribute(nic, "mac", "address") for nic in nics))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _attribute(element: ET.Element, path: str, name: str) -> str:
    found = element.find(path)
    return "" if found is None else found.get(name, "")


def named(stats: dict[str, Value], nics: list[tuple[str, str]]) -> dict[str, Value]:
    """Name libvirt's parameters as records do; *nics* are the guest's taps and their MACs."""
    macs = [mac for _, mac in nics]
    by_tap = {tap: mac if macs.count(mac) == 1 else f"{mac}@{tap}" for tap, mac in nics}
    params = {}
    for name, value in stats.items():
        words = name.split(".")
        field = ".".join(word for word in words if not word.isdigit())
        if field in IDENTITY_FIELDS or name.endswith(INTERNALS):
            continue
        device = words[1] if words[1].isdigit() else ""
        if device and words[0] in {"block", "net"}:
            own = str(stats[f"{words[0]}.{device}.name"])
            device = by_tap[own] if words[0] == "net" else own
        params[f"{field}[{device}]" if device else field] = value
    return params


class Read(Struct, frozen=True):
    """A record of a guest, and by when it had been read at the latest."""

    record: Record
    ended_ms: float

    @property
    def uuid(self) -> str:
        """Whose record it is."""
        assert self.record.domain is not None
        return self.record.domain.uuid

    @property
    def incarnation(self) -> int | None:
        """The guest's domain id."""
        assert self.record.domain is not None
        return self.record.domain.id

    @property
    def core(self) -> dict[str, Value]:
        """The parameters that are compared."""
        return {key: value for key, value in self.record.params.items() if key.partition(".")[0] in WORDS}


KINDS = (
    "negative",  # rates
    "impossible",  # rates
    "mixed",  # what is said of one device is another's
    "invented",  # values that libvirt itself does not give
    "lacking",  # values that it gives, in records that claim to be whole
    "untrue",  # values that are not between those of the looks before and after
    "absent",  # guests that ran, and have no record or two
    "not_there",  # guests that did not run, and have one
    "across_restarts",  # rates
    "across_replugs",  # rates
    "rates_wrong",
    "rates_lacking",
)
"""What may be wrong with records."""

EVENT_LATE_MS = 1000.0
"""On a busy machine an event may be heard so long after what it tells of. A device that shows before its event counts
as plugged anew with the record before and with the one after, which costs it one more rate."""

EXAMPLES_MAX = 3
"""Of each kind, for whoever reads the failure."""


class Witness:
    """What was seen and done, in its order."""

    def __init__(self, looks: Sequence[Look], deeds: Sequence[Deed]) -> None:
        self._looks = looks
        self._began = [look.began_ms for look in looks]
        self._ended = [look.ended_ms for look in looks]
        self._deeds: dict[str, list[Deed]] = {}
        for deed in deeds:
            self._deeds.setdefault(deed.uuid, []).append(deed)

    def around(self, uuid: str, began_ms: float, ended_ms: float) -> tuple[Look, Look] | None:
        """Return the looks before and after this span if nothing was done to the guest between the two."""
        before, after = bisect_right(self._ended, began_ms) - 1, bisect_left(self._began, ended_ms)
        if before < 0 or after == len(self._looks):
            return None
        first, last = self._looks[before], self._looks[after]
        return None if self.touched(uuid, first.ended_ms, last.began_ms) else (first, last)

    def touched(self, uuid: str, began_ms: float, ended_ms: float) -> bool:
        """Whether something was done to the guest within this span."""
        return any(deed.began_ms <= ended_ms and began_ms <= deed.ended_ms for deed in self._deeds.get(uuid, ()))

    def running(self, began_ms: float, ended_ms: float) -> Iterator[str]:
        """Name the guests that ran throughout this span, before and after it."""
        before, after = bisect_right(self._ended, began_ms) - 1, bisect_left(self._began, ended_ms)
        if before >= 0 and after < len(self._looks):
            both = self._looks[before].guests.keys() & self._looks[after].guests.keys()
            yield from (uuid for uuid in both if self.around(uuid, began_ms, ended_ms))


class Faults:
    """Counts what is wrong with records, and keeps a few examples of each kind."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(KINDS, 0)
        self.examples: list[str] = []

    def note(self, kind: str, read: Read, what: object) -> None:
        """Count one fault of a record."""
        self.counts[kind] += 1
        if self.counts[kind] <= EXAMPLES_MAX:
            domain = read.record.domain
            self.examples.append(f"{kind}: {domain and domain.name} {read.incarnation} {read.record.time_ms} {what}")


def check_values(reads: Iterable[Read], witness: Witness, faults: Faults) -> int:
    """Compare records with the looks before and after them; return how many could be."""
    compared = 0
    for read in reads:
        looks = witness.around(read.uuid, read.record.time_ms, read.ended_ms)
        if looks is None:
            continue
        before, after = (look.guests.get(read.uuid) for look in looks)
        if before is None or after is None:
            faults.note("not_there", read, "")
            continue
        compared += 1
        core = read.core
        if more := core.keys() - before.params.keys() - after.params.keys():
            faults.note("invented", read, sorted(more))
        lacking = (before.params.keys() & after.params.keys()) - core.keys()
        if lacking and read.record.partial is None:
            faults.note("lacking", read, sorted(lacking))
        for key in core.keys() & before.params.keys() & after.params.keys():
            if not _between(key, before.params[key], core[key], after.params[key]):
                faults.note("untrue", read, (key, before.params[key], core[key], after.params[key]))
    return compared


def _between(key: str, before: Value, value: Value, after: Value) -> bool:
    field = split_key(key)[0]
    if look_up(field).kind is FieldKind.COUNTER:
        numbers = [number for number in (before, value, after) if not isinstance(number, str)]
        return len(numbers) == 3 and numbers == sorted(numbers)
    return before != after or value == before or field in RESTLESS


def check_rates(reads: Iterable[Read], witness: Witness, faults: Faults) -> None:
    """Take the rates once more: none is impossible, none is across a restart, none lacks for no reason."""
    last: dict[str, Read] = {}
    for read in reads:
        before = last.get(read.uuid)
        last[read.uuid] = read
        _check_possible(before, read, faults)
        if before is None or before.incarnation != read.incarnation:
            if read.record.rates or read.record.interval_s is not None:
                faults.note("across_restarts", read, sorted(read.record.rates)[:3])
            continue
        _check_against(before, read, faults)
        if not (
            read.record.partial
            or before.record.partial
            or witness.touched(read.uuid, before.record.time_ms - EVENT_LATE_MS, read.ended_ms)
        ):
            both = before.record.params.keys() & read.record.params.keys()
            counters = {key for key in both if look_up(split_key(key)[0]).kind is FieldKind.COUNTER}
            if without := counters - read.record.rates.keys():
                faults.note("rates_lacking", read, sorted(without)[:3])


def _check_possible(before: Read | None, read: Read, faults: Faults) -> None:
    interval_s = read.record.interval_s or 0.01
    reached_s = interval_s if before is None else (read.ended_ms - before.record.time_ms) / 1000
    for key, rate in read.record.rates.items():
        if rate < 0:
            faults.note("negative", read, (key, rate))
        elif rate > most(key, interval_s, reached_s):
            faults.note("impossible", read, (key, rate))


def most(key: str, interval_s: float, reached_s: float) -> float:
    """Return the highest rate that is possible here.

    A counter is read at some moment of the call, which a guest that is being plugged into holds up: what a rate over
    *interval_s* divides may have taken *reached_s*, from the first call's start to the last one's end.
    """
    field = split_key(key)[0]
    unit = look_up(field).unit
    if unit is not Unit.NANOSECONDS:
        return BOUNDS.get(unit, 1e9)
    if field.startswith("block."):
        return REQUESTS_AT_ONCE
    if field == "vcpu.delay":
        return LONGEST_WAIT_S / interval_s
    threads = 1 if field in {"vcpu.time", "vcpu.delay", "vcpu.wait"} else CORES
    return (threads * 1.1 * max(interval_s, reached_s) + STEP_S) / interval_s


def _check_against(before: Read, read: Read, faults: Faults) -> None:
    """Compare each rate of a record with the difference to the record before, where that has the counter too."""
    interval_s = read.record.interval_s or 0.0
    for key, rate in read.record.rates.items():
        was, now = before.record.params.get(key), read.record.params[key]
        if isinstance(was, (int, float)) and isinstance(now, (int, float)):
            done = (now - was) * look_up(split_key(key)[0]).unit.scale
            if abs(rate * interval_s - done) > 1e-6 * max(1e-6, abs(done)):
                faults.note("rates_wrong", read, (key, was, now, rate, interval_s))


def check_disks(reads: Iterable[Read], sizes: dict[tuple[str, str], int], faults: Faults) -> None:
    """See that each disk has its own size: *sizes* are by guest and path, of every file that was ever a disk.

    No two files have one size, so that a capacity tells whose it is, and paths name their target.
    """
    devices: dict[str, dict[str, dict[str, str]]] = {}
    for read in reads:
        if read.record.devices is not None:
            devices[read.uuid] = read.record.devices
        known = devices.get(read.uuid, {})
        for key, value in read.record.params.items():
            field, device = split_key(key)
            if field == "block.capacity" and device is not None:
                path = known.get(device, {}).get("path", "")
                target = path.rpartition("/")[2].partition(".")[0].partition("-")[0]
                if (target, sizes.get((read.uuid, path))) != (device, value):
                    faults.note("mixed", read, (device, path, value, sizes.get((read.uuid, path))))


def check_nics(reads: Iterable[Read], looks: Iterable[Look], faults: Faults) -> None:
    """See that each NIC is of the guest that has its MAC."""
    owners = {mac: uuid for look in looks for uuid, seen in look.guests.items() for mac in seen.macs}
    for read in reads:
        devices = {split_key(key)[1] or "" for key in read.record.params if key.startswith("net.rx.")}
        for device in devices:
            if owners.get(device.partition("@")[0]) != read.uuid:
                faults.note("mixed", read, device)


def check_replugs(reads: Sequence[Read], deeds: Iterable[Deed], faults: Faults) -> tuple[int, int]:
    """Count the re-plugs that were done while records were made before and after, and those that these show."""
    done = seen = 0
    by_guest: dict[str, list[Read]] = {}
    for read in reads:
        by_guest.setdefault(read.uuid, []).append(read)
    for deed in deeds:
        own = by_guest.get(deed.uuid, [])
        before = [read for read in own if read.ended_ms <= deed.began_ms]
        after = [read for read in own if read.record.time_ms >= deed.ended_ms]
        if not deed.device or not before or not after or before[-1].incarnation != after[0].incarnation:
            continue
        done += 1
        across = own[len(before) : own.index(after[0]) + 1]
        suffix = f"[{deed.device}]"
        if any(not any(key.endswith(suffix) for key in read.record.rates) for read in across):
            seen += 1
        else:
            faults.note("across_replugs", after[0], deed)
    return done, seen


def check_presence(ticks: Iterable[Sequence[Read]], witness: Witness, faults: Faults) -> None:
    """See that a guest that ran throughout a tick is in it, once. No tick may be empty."""
    for reads in ticks:
        present = [read.uuid for read in reads]
        for uuid in witness.running(min(read.record.time_ms for read in reads), max(read.ended_ms for read in reads)):
            if present.count(uuid) != 1:
                faults.note("absent", reads[0], uuid)


def reads_of(told: Told, host: str, prefix: str) -> list[list[Read]]:
    """Return the records of the guests of *host* whose names begin so, tick by tick; all ticks that have any."""
    ticks = []
    for tick in told.ticks(host):
        ended_ms = tick.ended_ms + tick.own["agent.call.time"] / 1e6 + 1
        ticks.append(
            [
                Read(record, ended_ms)
                for record in tick.records
                if record.kind is Kind.GUEST and record.domain is not None and record.domain.name.startswith(prefix)
            ]
        )
    return [reads for reads in ticks if reads]


def judge(
    ticks: Sequence[Sequence[Read]], looks: Sequence[Look], deeds: Sequence[Deed], sizes: dict[tuple[str, str], int]
) -> tuple[dict[str, int], list[str]]:
    """Judge all records of one host; return the figures, and examples of what is wrong.

    *sizes* are those of the disks, see :func:`check_disks`.
    """
    reads = [read for tick in ticks for read in tick]
    witness, faults = Witness(looks, deeds), Faults()
    compared = check_values(reads, witness, faults)
    check_rates(reads, witness, faults)
    check_disks(reads, sizes, faults)
    check_nics(reads, looks, faults)
    check_presence(ticks, witness, faults)
    replugs, replugs_seen = check_replugs(reads, deeds, faults)
    lived = {(uuid, seen.id) for look in looks for uuid, seen in look.guests.items()}
    told = {(read.uuid, read.incarnation) for read in reads if not _has_ended(read)}
    figures = {
        "ticks": len(ticks),
        "records": len(reads),
        "compared": compared,
        "partial": sum(read.record.partial is not None for read in reads),
        "incarnations": len(lived),
        "incarnations_told": len(told & lived),
        "incarnations_invented": len(told - lived),
        "replugs": replugs,
        "replugs_seen": replugs_seen,
        **faults.counts,
    }
    return figures, [*faults.examples, *(f"no such incarnation: {each}" for each in sorted(told - lived, key=str))]


def _has_ended(read: Read) -> bool:
    """Whether the guest ended within the very call, so that libvirt says what it says of one that is off."""
    return read.incarnation is None and read.record.params.get("state.state") == SHUTOFF
