"""The made-up guests' hours as the batches that the agent would make of them.

A guest's ticks share the very same keys, and a guest that is as it was has its figures worked out when they are asked
for, exactly as in :mod:`domstat.collect.stream`; so a sink does with these what it does in the agent::

    batches = Batches(workload.kinds)
    for hour in workload.hours(24):
        for batch in batches.of(hour):
            sink.write([batch])
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from domstat.collect.sample import Keyed, Sample, Sampled, keyed
from domstat.derive import derive
from domstat.model import (
    Batch,
    Domain,
    Figures,
    Gap,
    Kind,
    Moment,
    Record,
    Stamp,
    Value,
    key_of,
    moment_within,
    split_key,
)
from domstat.rates import elapsed_ns
from domstat_bench.workload_kinds import DISK, FIELDS, NIC

if TYPE_CHECKING:  # a process whose memory is measured is not to load numpy for its sake
    from domstat_bench.workload import Hour

HOST, COLLECT = "kvm1", "default"
BOOT_ID = "5b1c7a7e-7d4b-4d0e-9a0e-0a6f2a3f6a10"
_DESCRIBED_TICKS = 360
_GAP_MS = 15_000
"""Ticks further apart than this have others missing between them."""


def uuid_of(number: int) -> str:
    """Return a guest's uuid."""
    return f"6a2f41a3-c54c-4a5e-9b5b-{number:012x}"


def mac_of(number: int) -> str:
    """Return the address of a guest's NIC."""
    return f"52:54:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def keys_of(number: int) -> tuple[str, ...]:
    """Return a guest's keys, in the order of FIELDS."""
    pairs = map(split_key, FIELDS)
    return tuple(key_of(field, mac_of(number) if device == NIC else device) for field, device in pairs)


class Tick(Struct, frozen=True, array_like=True):
    """One tick of all guests as plain values: its stamp, and by guest the values and the incarnation."""

    time_ms: int
    boot_ns: int
    call_ns: int
    values: list[list[int]]
    incarnations: list[int]


def ticks_of(hour: Hour) -> Iterator[Tick]:
    """Take an hour apart."""
    ticks, values, incarnations = hour.ticks, hour.values.transpose(2, 1, 0), hour.incarnations.T
    stamps = zip(ticks.time_ms.tolist(), ticks.boot_ns.tolist(), ticks.call_ns.tolist(), strict=True)
    for i, stamp in enumerate(stamps):
        yield Tick(*stamp, values[i].tolist(), incarnations[i].tolist())


class _Guest:
    """What does not change about a guest, and what it was when last seen."""

    def __init__(self, number: int, kind: str) -> None:
        self.naming: Keyed = keyed(keys_of(number))
        self.domain = Domain(uuid_of(number), f"{kind}-{number}")
        self.before: Sample | None = None
        self.labels = {"title": f"{kind} {number}", "nova.flavor": "m1.medium"}
        mac = mac_of(number)
        self.devices = {
            DISK: {"path": f"/var/lib/libvirt/images/{kind}-{number}.qcow2", "bus": "virtio", "format": "qcow2"},
            mac: {"mac": mac, "tap": f"vnet{number}", "bridge": "br0", "model": "virtio"},
        }

    def record(
        self, stamp: Stamp, moment: Moment, incarnation: int, values: Sequence[Value], *, described: bool
    ) -> Record:
        """Make the record of a tick; *described* has labels and devices too."""
        number = None if incarnation < 0 else incarnation
        if self.domain.id != number:
            self.domain = Domain(self.domain.uuid, self.domain.name, number)
        sample, before = Sample(self.naming, values, moment, number), self.before
        self.before = sample
        if before is not None and before.incarnation != number:
            before = None
        return Record(
            kind=Kind.GUEST,
            host=HOST,
            collect=COLLECT,
            time_ms=stamp.time_ms,
            domain=self.domain,
            labels=self.labels if described else None,
            devices=self.devices if described else None,
            interval_s=None if before is None else elapsed_ns(before.moment, moment) / 1e9,
            figures=self._begun(sample) if before is None else Sampled(sample, before),
        )

    def _begun(self, sample: Sample) -> Figures:
        params = self.naming.params(sample.values)
        return Figures(params, {}, derive(self.naming.derivation, params, {}, sample.moment.time_ms))


class Batches:
    """Makes batches of guests of these *kinds*, one tick after the other. Needs no numpy."""

    def __init__(self, kinds: Sequence[str]) -> None:
        self._guests = [_Guest(number, kind) for number, kind in enumerate(kinds)]
        self._told_ms = 0
        self._ticks = 0

    def of(self, hour: Hour) -> Iterator[Batch]:
        """Give the batches of *hour*."""
        for tick in ticks_of(hour):
            yield self.batch(tick)

    def batch(self, tick: Tick) -> Batch:
        """Make a tick's batch."""
        stamp, count = Stamp(tick.time_ms, tick.boot_ns, BOOT_ID, tick.call_ns), len(self._guests)
        records = [
            # Every guest is described when it is new and once an hour, not all in one tick.
            guest.record(
                stamp,
                moment_within(stamp, place, count),
                incarnation,
                values,
                described=not self._ticks or (self._ticks + place) % _DESCRIBED_TICKS == 0,
            )
            for place, (guest, values, incarnation) in enumerate(
                zip(self._guests, tick.values, tick.incarnations, strict=True)
            )
        ]
        if self._told_ms and stamp.time_ms - self._told_ms > _GAP_MS:
            gap = Gap(self._told_ms, stamp.time_ms, "the agent did not run")
            records.append(Record(kind=Kind.GAP, host=HOST, collect=COLLECT, time_ms=stamp.time_ms, gap=gap))
        self._told_ms = stamp.time_ms
        self._ticks += 1
        return Batch(host=HOST, collect=COLLECT, stamp=stamp, records=tuple(records))
