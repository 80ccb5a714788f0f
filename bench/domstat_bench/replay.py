"""Answers of real guests, recorded, multiplied to as many guests as wanted, and given again as libvirt would.

For more guests than a machine can run: the worker and everything behind it are the real ones, and only libvirt's
connection is replaced. What the replacement burns while it makes its answers is metered inside it, so that it can be
subtracted: what remains is what domstat adds to the bare call.
"""

from __future__ import annotations

import os
import random
import re
import struct
import time
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from domstat.catalog import FieldKind, look_up
from domstat.collect.naming import parse_name
from domstat.model import Value

METER = struct.Struct("<QQ")
"""What the meter's file holds: answers given, and the CPU time of making and releasing them in nanoseconds."""

STILL_FIELDS = ("net.rx.errs", "net.tx.errs", "net.rx.drop", "net.tx.drop", "balloon.swap_in", "balloon.swap_out")
"""Counters that stay where they are on a healthy host."""

IDLE_SHARE = 0.2
"""Of the guests, those whose disks and NICs do nothing; their CPU counters move all the same."""

RESTING_SHARE = 0.5
"""Of the guests, those of which only the first disk and the first NIC are busy."""

STRIDES = 4
"""A counter's advance per tick is one of this many multiples of its own size, so that rates change too."""


class Guest(Struct, frozen=True):
    """One guest as it was recorded: what the bulk call gave for it, and its XML."""

    uuid: str
    name: str
    id: int
    params: dict[str, Value]
    xml: str


class Recording(Struct, frozen=True):
    """The guests of one answer."""

    guests: list[Guest]

    def save(self, file: Path) -> None:
        """Write the recording as JSON."""
        file.write_bytes(msgspec.json.encode(self))

    @classmethod
    def load(cls, file: Path) -> Recording:
        """Read what :meth:`save` wrote."""
        return msgspec.json.decode(file.read_bytes(), type=cls)


def record(connection: Any, stats: int, flags: int) -> Recording:
    """Make the bulk call on libvirt's *connection* and keep all of its answer."""
    answer = connection.getAllDomainStats(stats, flags)
    return Recording(
        [
            Guest(domain.UUIDString(), domain.name(), domain.ID(), dict(params), domain.XMLDesc(0))
            for domain, params in answer
        ]
    )


class Double:
    """A guest made after a recorded one: its own identity, devices and values, and counters that advance."""

    __slots__ = ("_keys", "_moving", "_own", "_tick", "_values", "_xml", "id", "name", "uuid")

    def __init__(self, guest: Guest, number: int, dice: random.Random) -> None:
        name = f"double-{number:05}"
        own_uuid = str(uuid.UUID(int=dice.getrandbits(128), version=4))
        self.uuid = own_uuid.encode()
        self.name = name.encode()
        self.id = number
        self._xml = guest.xml
        self._own = {
            guest.uuid: own_uuid,
            f"<name>{guest.name}</name>": f"<name>{name}</name>",
            f" id='{guest.id}'>": f" id='{number}'>",
            **_own_nics(guest, number),
        }
        self._keys = [key.encode() for key in guest.params]
        self._values: list[Any] = [
            _own_value(key, value, guest, name, self._own, dice) for key, value in guest.params.items()
        ]
        idle, seconds_rest = dice.random() < IDLE_SHARE, dice.random() < RESTING_SHARE
        self._moving = [
            (position, _advance(key, dice))
            for position, (key, value) in enumerate(guest.params.items())
            if not isinstance(value, (str, bool)) and _moves(key, idle=idle, seconds_rest=seconds_rest)
        ]
        self._tick = 0

    def stats(self) -> dict[str, Value]:
        """Give the next values as libvirt-python does: a fresh dictionary, its keys fresh strings."""
        self._tick += 1
        values = self._values
        for position, advance in self._moving:
            values[position] += advance * (1 + (self._tick + position) % STRIDES)
        return dict(zip(map(bytes.decode, self._keys), values, strict=True))

    def xml(self) -> str:
        """Give the recorded XML with this guest's own names in it."""
        # All at once: one guest's own names may be another's recorded ones.
        pattern = "|".join(re.escape(recorded) for recorded in self._own)
        return re.sub(pattern, lambda match: self._own[match[0]], self._xml)


def _own_nics(guest: Guest, number: int) -> dict[str, str]:
    """Name the MACs and taps of a guest's double, by what the guest's XML says for them."""
    names = {}
    for index, nic in enumerate(ET.fromstring(guest.xml).iterfind("devices/interface")):
        mac, target = nic.find("mac"), nic.find("target")
        if mac is not None and target is not None:
            own = number * 16 + index
            names[mac.get("address", "")] = ":".join(f"{byte:02x}" for byte in (0x5254 << 32 | own).to_bytes(6, "big"))
            names[_tap_in_xml(target.get("dev", ""))] = _tap_in_xml(f"vnet{own}")
    return names


def _tap_in_xml(tap: str) -> str:
    return f"dev='{tap}'"


def _own_value(key: str, value: Value, guest: Guest, name: str, own: Mapping[str, str], dice: random.Random) -> Value:
    """Choose the value a double begins with."""
    if isinstance(value, str):
        tap = own.get(_tap_in_xml(value))
        return tap[5:-1] if tap and key.startswith("net.") else value.replace(guest.name, name)
    counts = look_up(parse_name(key)[0]).kind is FieldKind.COUNTER and not isinstance(value, bool)
    return value + dice.getrandbits(40) if counts else value


def _moves(key: str, *, idle: bool, seconds_rest: bool) -> bool:
    """Whether a value changes from tick to tick."""
    field, indices = parse_name(key)
    if field == "balloon.rss":
        return True
    if look_up(field).kind is not FieldKind.COUNTER or field in STILL_FIELDS:
        return False
    if field.startswith(("block.", "net.")):
        return not (idle or (seconds_rest and indices[0] > 0))
    return True


def _advance(key: str, dice: random.Random) -> int:
    """Choose a size for a counter's steps: nanoseconds, bytes and numbers of things have their own."""
    field, _ = parse_name(key)
    if field.endswith((".time", ".times", ".delay", ".wait", ".user", ".system")):
        return dice.randrange(10**5, 10**9)
    if field.endswith(".bytes"):
        return 512 * dice.randrange(1, 20_000)
    return dice.randrange(1, 500)


class FakeDomain:
    """What libvirt-python's virDomain is to the worker."""

    __slots__ = ("_double",)

    def __init__(self, double: Double) -> None:
        self._double = double

    def UUIDString(self) -> str:  # noqa: N802 - libvirt's name
        """Give the uuid, a fresh text."""
        return self._double.uuid.decode()

    def name(self) -> str:
        """Give the name, a fresh text."""
        return self._double.name.decode()

    def ID(self) -> int:  # noqa: N802 - libvirt's name
        """Give the incarnation."""
        return self._double.id

    def XMLDesc(self, _flags: int) -> str:  # noqa: N802 - libvirt's name
        """Give the XML."""
        return self._double.xml()

    def controlInfo(self) -> list[int]:  # noqa: N802 - libvirt's name
        """Say that the monitor is free."""
        return [0, 0, 0]


class FakeConnection:
    """What libvirt-python's virConnect is to the worker, with *count* guests made after the recorded ones.

    An answer is kept until the next is asked for, so that releasing it is on the meter too: the bare call's loop has
    to release what it is given as well.
    """

    def __init__(self, recording: Recording, count: int, meter: Path | None = None, seed: int = 1) -> None:
        dice = random.Random(seed)
        guests = recording.guests
        self._doubles = [Double(guests[number % len(guests)], number + 1, dice) for number in range(count)]
        self._by_uuid = {double.uuid.decode(): double for double in self._doubles}
        self._meter = os.open(meter, os.O_CREAT | os.O_WRONLY, 0o600) if meter else None
        self._given: list[tuple[FakeDomain, dict[str, Value]]] = []
        self._answers = 0
        self._burnt_ns = 0

    def getAllDomainStats(self, _stats: int, _flags: int) -> list[tuple[FakeDomain, dict[str, Value]]]:  # noqa: N802
        """Give the next values of all guests, and write what that cost to the meter."""
        return self._answer(self._doubles)

    def domainListGetStats(  # noqa: N802 - libvirt's name
        self, domains: Sequence[FakeDomain], _stats: int, _flags: int
    ) -> list[tuple[FakeDomain, dict[str, Value]]]:
        """Give the next values of some guests, on the meter too."""
        return self._answer([self._by_uuid[domain.UUIDString()] for domain in domains])

    def _answer(self, doubles: Sequence[Double]) -> list[tuple[FakeDomain, dict[str, Value]]]:
        began = time.thread_time_ns()
        self._given = []
        self._given = [(FakeDomain(double), double.stats()) for double in doubles]
        answer = list(self._given)
        self._answers += 1
        self._burnt_ns += time.thread_time_ns() - began
        if self._meter is not None:
            os.pwrite(self._meter, METER.pack(self._answers, self._burnt_ns), 0)
        return answer

    def listAllDomains(self, _flags: int) -> list[FakeDomain]:  # noqa: N802 - libvirt's name
        """List the guests, all of which run."""
        return [FakeDomain(double) for double in self._doubles]

    def getCPUStats(self, _cpu: int, _flags: int) -> dict[str, int]:  # noqa: N802 - libvirt's name
        """Give the host's CPU times, which go on with every answer."""
        return dict.fromkeys(("kernel", "user", "idle", "iowait"), self._answers * 10**9)

    def getMemoryStats(self, _cell: int, _flags: int) -> dict[str, int]:  # noqa: N802 - libvirt's name
        """Give the host's memory, in KiB."""
        return {"total": 1 << 28, "free": 1 << 26, "buffers": 1 << 20, "cached": 1 << 25}

    def getInfo(self) -> list[Any]:  # noqa: N802 - libvirt's name
        """Describe the host."""
        return ["x86_64", 1 << 18, 64, 2400, 2, 1, 16, 2]

    def getType(self) -> str:  # noqa: N802 - libvirt's name
        """Name the driver."""
        return "REPLAY"

    def getVersion(self) -> int:  # noqa: N802 - libvirt's name
        """Give the hypervisor's version, 1.0.0."""
        return 1_000_000

    def getLibVersion(self) -> int:  # noqa: N802 - libvirt's name
        """Give libvirt's version, 9.0.0."""
        return 9_000_000

    def lookupByUUIDString(self, text: str) -> FakeDomain:  # noqa: N802 - libvirt's name
        """Find a guest."""
        return FakeDomain(self._by_uuid[text])

    def isAlive(self) -> int:  # noqa: N802 - libvirt's name
        """Say that all is well."""
        return 1

    def setKeepAlive(self, _interval: int, _count: int) -> int:  # noqa: N802 - libvirt's name
        """Have nothing to keep alive."""
        return 0

    def domainEventRegisterAny(self, *_arguments: Any) -> int:  # noqa: N802 - libvirt's name
        """Take note of no event: none will come."""
        return 0

    def domainEventDeregisterAny(self, _callback: int) -> int:  # noqa: N802 - libvirt's name
        """Have nobody to tell."""
        return 0

    def registerCloseCallback(self, *_arguments: Any) -> int:  # noqa: N802 - libvirt's name
        """Take note of nothing: this is never closed."""
        return 0

    def unregisterCloseCallback(self) -> int:  # noqa: N802 - libvirt's name
        """Have nothing to forget."""
        return 0

    def close(self) -> int:
        """Have nothing to close."""
        return 0


def read_meter(file: Path) -> int:
    """Return the CPU time that a fake connection has burnt so far, in nanoseconds."""
    burnt_ns: int = METER.unpack(file.read_bytes())[1]
    return burnt_ns
