"""Answers as a worker gives them, and a hypervisor that gives them: for tests of what is made of answers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from domstat.collect import wire
from domstat.collect.block import Block
from domstat.collect.errors import CollectError
from domstat.collect.inventory import Inventory
from domstat.collect.quarantine import Quarantine
from domstat.collect.stream import Stream
from domstat.model import Batch, Kind, Record, Stamp, Value
from heard import Log

S = 1_000_000_000
"""Nanoseconds in a second."""

UUID = "6a2f41a3-c54c-4a5e-9b5b-3e0f0c9d8a11"
Told: TypeAlias = tuple[wire.Answer, dict[int, tuple[str, ...]]]
"""An answer, and the names behind its shapes."""

CORE = ("state", "cpu-total", "balloon", "vcpu", "interface", "block")


class Guest(Struct, frozen=True, kw_only=True):
    """One guest of an answer: libvirt's parameters in libvirt's order."""

    params: dict[str, Value]
    uuid: str = UUID
    name: str = "web-1"
    id: int = 3


def stamp(seconds: float, call_ms: int = 0) -> Stamp:
    return Stamp(round(seconds * 1000) + 1_795_385_700_000, round(seconds * 1e9) + 10**15, "boot", call_ms * 1_000_000)


def answer(taken: Stamp, *guests: Guest, **about: Any) -> Told:
    """Make an answer and the shapes behind it, each guest with a shape of its own; *about* are attributes of it."""
    shapes = {number: tuple(guest.params) for number, guest in enumerate(guests)}
    rows = [
        wire.Guest(guest.uuid, guest.name, guest.id, number, list(guest.params.values()))
        for number, guest in enumerate(guests)
    ]
    return wire.Answer(taken, rows, **about), shapes


def nic_xml(mac: str, tap: str, alias: str = "net0") -> str:
    return (
        f"<interface type='bridge'><mac address='{mac}'/><source bridge='br0'/><target dev='{tap}'/>"
        f"<model type='virtio'/><alias name='{alias}'/></interface>"
    )


def disk_xml(target: str, source: str = "/images/web-1.qcow2") -> str:
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{source}'/>"
        f"<target dev='{target}' bus='virtio'/><alias name='virtio-{target}'/></disk>"
    )


def domain_xml(*devices: str, id: int | None = 3, title: str = "") -> str:  # noqa: A002 - libvirt's word
    head = f"<domain type='kvm' id='{id}'>" if id is not None else "<domain type='kvm'>"
    titled = f"<title>{title}</title>" if title else ""
    return f"{head}<name>web-1</name>{titled}<devices>{''.join(devices)}</devices></domain>"


MAC = "52:54:00:aa:bb:cc"
KVM = domain_xml(nic_xml(MAC, "vnet0"), disk_xml("vda"), disk_xml("vdb"))
"""The XML of the guest that :func:`sample` is of."""


def sample(
    busy: int = 0, disks: tuple[str, ...] = ("vda", "vdb"), tap: str = "vnet0", path: str = "/images/"
) -> dict[str, Value]:
    """Make what a guest's counters are after *busy* seconds."""
    params: dict[str, Value] = {
        "state.state": 1, "cpu.time": busy * S // 2, "balloon.current": 4096, "balloon.rss": 9, "vcpu.current": 4,
        "vcpu.0.time": busy * S // 4, "net.count": 1, "net.0.name": tap, "net.0.rx.bytes": busy * 100,
        "block.count": len(disks),
    }  # fmt: skip
    for i, disk in enumerate(disks):
        params |= {f"block.{i}.name": disk, f"block.{i}.path": path + disk, f"block.{i}.rd.bytes": busy * 1000}
    return params


def stuck(params: dict[str, Value]) -> dict[str, Value]:
    """Leave out what libvirt leaves out when the guest's monitor does not answer."""
    return {key: value for key, value in params.items() if not key.endswith((".rss", "rd.bytes"))}


def spare(params: dict[str, Value]) -> dict[str, Value]:
    """Leave out all but what needs no monitor."""
    return {key: value for key, value in params.items() if key.startswith(("state.", "net."))}


class StubHypervisor:
    """Gives the answers and the XML it was given, and remembers what was asked for."""

    def __init__(self, xml: Mapping[str, str] | None = None) -> None:
        self.name = "kvm1"
        self.xml = dict(xml or {})
        self.ticks: list[Sequence[Told | CollectError]] = []
        """What each tick brings: answers, and errors to be raised."""
        self.asked: list[wire.Ask] = []
        self.described: list[tuple[str, ...]] = []
        self.trouble: CollectError | None = None
        """Why no XML can be had."""
        self.quarantine = Quarantine()
        self.workers_killed = 0
        self.reconnects = 0

    def ask(self, ask: wire.Ask, _deadline_s: float) -> Iterator[Told]:
        self.asked.append(ask)
        for told in self.ticks.pop(0):
            if isinstance(told, CollectError):
                raise told
            yield told

    def describe(self, uuids: tuple[str, ...], _deadline_at: float) -> list[wire.Description]:
        self.described.append(uuids)
        if self.trouble:
            raise self.trouble
        return [wire.Description(uuid, self.xml.get(uuid), None) for uuid in uuids]


class Telling:
    """A stream over a stub: tell it what libvirt answers, and it says what becomes of that."""

    def __init__(self, xml: Mapping[str, str] | str = "", log: Any = None, **block: Any) -> None:
        self.hypervisor = StubHypervisor({UUID: xml} if isinstance(xml, str) else xml)
        self.log = log or Log()
        self.inventory = Inventory()
        self.block = Block("default", **{"groups": CORE} | block)
        self.stream = self.new_stream()

    def new_stream(self, **more: Any) -> Stream:
        hypervisor: Any = self.hypervisor
        return Stream(hypervisor, self.inventory, self.block, self.log, **more)

    def happens(self, *changes: wire.Change, missed: bool = False) -> None:
        """Let the agent hear of events, as it does before the answer of a call that was made after them."""
        self.inventory.note(changes, missed=missed)

    def tick(self, *told: Told | CollectError, deadline_s: float = math.inf, due_ms: int | None = None) -> list[Batch]:
        """Collect one tick of these answers."""
        self.hypervisor.ticks.append(told)
        return list(self.stream.collect(deadline_s, due_ms))

    def batch(
        self, seconds: float, *guests: Guest, call_ms: int = 0, deadline_s: float = math.inf, **about: Any
    ) -> Batch:
        """Collect one tick of one answer, whose call was made at *seconds*; *about* are attributes of the answer."""
        (batch,) = self.tick(answer(stamp(seconds, call_ms), *guests, **about), deadline_s=deadline_s)
        return batch

    def record(self, seconds: float, params: Mapping[str, Value], **more: Any) -> Record:
        """Collect one tick of one guest; *more* are attributes of the guest or of the answer."""
        about = {key: more.pop(key) for key in ("uuid", "name", "id") if key in more}
        (record,) = guests_of(self.batch(seconds, Guest(params=dict(params), **about), **more))
        return record


def guests_of(*batches: Batch) -> list[Record]:
    """Return the records of guests."""
    return [record for batch in batches for record in batch.records if record.kind is Kind.GUEST]


def record_of(kind: Kind, batch: Batch) -> Record:
    """Return the one record of this kind."""
    (record,) = (record for record in batch.records if record.kind is kind)
    return record
