"""Answers as a worker gives them, and a hypervisor that gives them: for tests of what is made of answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from domstat.collect import wire
from domstat.collect.hypervisor import CollectError
from domstat.collect.inventory import Inventory
from domstat.collect.stream import Block, Stream
from domstat.model import Batch, Record, Stamp, Value
from heard import Log

UUID = "6a2f41a3-c54c-4a5e-9b5b-3e0f0c9d8a11"
CORE = ("state", "cpu-total", "balloon", "vcpu", "interface", "block")


class Guest(Struct, frozen=True, kw_only=True):
    """One guest of an answer: libvirt's parameters in libvirt's order."""

    params: dict[str, Value]
    uuid: str = UUID
    name: str = "web-1"
    id: int = 3


def stamp(seconds: float, call_ms: int = 0) -> Stamp:
    return Stamp(round(seconds * 1000) + 1_795_385_700_000, round(seconds * 1e9) + 10**15, "boot", call_ms * 1_000_000)


def answer(
    taken: Stamp, *guests: Guest, changes: Sequence[wire.Change] = (), missed: bool = False
) -> tuple[wire.Answer, dict[int, tuple[str, ...]]]:
    """Make an answer and the shapes behind it, each guest with a shape of its own."""
    shapes = {number: tuple(guest.params) for number, guest in enumerate(guests)}
    rows = [
        wire.Guest(guest.uuid, guest.name, guest.id, number, list(guest.params.values()))
        for number, guest in enumerate(guests)
    ]
    return wire.Answer(taken, rows, {}, list(changes), missed, []), shapes


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


class StubHypervisor:
    """Gives the answers and the XML it was given, and remembers whose XML was asked for."""

    def __init__(self, xml: Mapping[str, str] | None = None) -> None:
        self.name = "kvm1"
        self.xml = dict(xml or {})
        self.answers: list[tuple[wire.Answer, dict[int, tuple[str, ...]]]] = []
        self.described: list[tuple[str, ...]] = []
        self.trouble: CollectError | None = None

    def ask(self, _ask: wire.Ask, _deadline_at: float) -> tuple[wire.Answer, dict[int, tuple[str, ...]]]:
        return self.answers.pop(0)

    def describe(self, uuids: tuple[str, ...], _deadline_at: float) -> list[wire.Description]:
        self.described.append(uuids)
        if self.trouble:
            raise self.trouble
        return [wire.Description(uuid, self.xml.get(uuid), None) for uuid in uuids]


class Told:
    """A stream over a stub: tell it what libvirt answers, and it says what becomes of that."""

    def __init__(self, xml: Mapping[str, str] | str = "", log: Any = None, **block: Any) -> None:
        self.hypervisor = StubHypervisor({UUID: xml} if isinstance(xml, str) else xml)
        self.log = log or Log()
        self.inventory = Inventory()
        self.block = Block("default", CORE, **block)
        self.stream = self.new_stream()

    def new_stream(self, **more: Any) -> Stream:
        hypervisor: Any = self.hypervisor
        return Stream(hypervisor, self.inventory, self.block, self.log, **more)

    def batch(self, seconds: float, *guests: Guest, deadline_at: float = float("inf"), **more: Any) -> Batch:
        call_ms = more.pop("call_ms", 0)
        self.hypervisor.answers.append(answer(stamp(seconds, call_ms), *guests, **more))
        return self.stream.collect(deadline_at)

    def record(self, seconds: float, params: dict[str, Value], **more: Any) -> Record:
        """Collect one tick of one guest; *more* are attributes of the guest or of the answer."""
        about = {key: more.pop(key) for key in ("uuid", "name", "id") if key in more}
        (record,) = self.batch(seconds, Guest(params=params, **about), **more).records
        return record
