"""What flows: records, batches, stamps and the keys that name a series.

A *tick* is one scheduled collection of a *stream* (one host and one collect block). Its records travel together as a
:class:`Batch`, through delivery to every sink. Everything here is frozen: a record is made once, by naming, and shared
by all sinks without a copy. The dictionaries inside are shared too and must not be changed by whoever reads them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct

_PARTS = re.compile(r"(/[0-9]+)+\Z")

Value: TypeAlias = int | float | bool | str
"""One typed parameter's value, as libvirt gave it: integers are exact, up to 2^64-1."""


class Kind(StrEnum):
    """What a record is about."""

    GUEST = "guest"
    HOST = "host"
    POOL = "pool"
    EVENT = "event"
    GAP = "gap"
    AGENT = "agent"


class Domain(Struct, frozen=True, gc=False, omit_defaults=True):
    """Which guest a record is about.

    *name* is untrusted text and may change; *uuid* is the identity. *id* is libvirt's domain id, the guest's
    incarnation: it changes whenever the guest is started anew. None where libvirt gives none (a guest that is off).
    """

    uuid: str
    name: str
    id: int | None = None


class Partial(Struct, frozen=True, gc=False, omit_defaults=True):
    """What libvirt left out of a record: *missing* stats groups, and the age in seconds of what stands in for them."""

    missing: tuple[str, ...]
    age_s: float | None = None


class Event(Struct, frozen=True, gc=False, omit_defaults=True):
    """A change in a guest's life: *type* (``started``, ``stopped``, ``device-added`` …), libvirt's reason, a device."""

    type: str
    reason: str | None = None
    device: str | None = None


class Gap(Struct, frozen=True, gc=False, rename={"start": "from", "end": "to"}):
    """A span without ticks: Unix times in milliseconds, and why."""

    start: int
    end: int
    reason: str


class Pool(Struct, frozen=True, gc=False):
    """Which storage pool a record is about."""

    name: str


class Stamp(Struct, frozen=True, gc=False):
    """When a call was made, read once, just before it.

    *time_ms*: wall time in whole milliseconds since 1970, for storage. *boot_ns*: the boot-time clock
    (CLOCK_BOOTTIME) in nanoseconds, for rates. *boot_id*: the boot which that clock belongs to. *call_ns*: how long
    the call took.

    Without a boot (*boot_id* is empty) nobody knows any more than the wall time, as of records that were read from
    JSON lines (:func:`stamp_of`): whatever a store has of the stream at that time is this very tick, and rates are
    taken by wall time.
    """

    time_ms: int
    boot_ns: int
    boot_id: str
    call_ns: int


def stamp_of(time_ms: int) -> Stamp:
    """Make the stamp of a tick of which no more is known than its wall time, in milliseconds since 1970."""
    return Stamp(time_ms, 0, "", 0)


class Moment(Struct, frozen=True, gc=False):
    """The estimated moment at which one guest's values were read, on both clocks (see :class:`Stamp`)."""

    time_ms: int
    boot_ns: int
    boot_id: str


def moment_within(stamp: Stamp, position: int, count: int) -> Moment:
    """Estimate when the record at *position* of *count* in one answer was read.

    libvirt walks the guests one after the other (about 6 ms each under QEMU), so the values of the last of a thousand
    are seconds younger than the stamp. The middle of each guest's even share of the call is the best guess. Integer
    arithmetic, so that a reader of the history computes the very same moment.
    """
    offset_ns = stamp.call_ns * (2 * position + 1) // (2 * count)
    return Moment(stamp.time_ms + offset_ns // 1_000_000, stamp.boot_ns + offset_ns, stamp.boot_id)


class Figures:
    """What a record says in numbers; made of values that are there, or (a subclass) worked out when first asked for.

    Not to be changed by whoever reads them, since all sinks share them.
    """

    __slots__ = ("_derived", "_params", "_rates")

    def __init__(
        self,
        params: dict[str, Value] | None = None,
        rates: dict[str, float] | None = None,
        derived: dict[str, float] | None = None,
    ) -> None:
        self._params = {} if params is None else params
        self._rates = {} if rates is None else rates
        self._derived = {} if derived is None else derived

    @property
    def params(self) -> dict[str, Value]:
        """The typed parameters, by key."""
        return self._params

    @property
    def rates(self) -> dict[str, float]:
        """Rates per second, by key."""
        return self._rates

    @property
    def derived(self) -> dict[str, float]:
        """Derived values, by key."""
        return self._derived

    @property
    def follows(self) -> bool:
        """Whether rates and derived values are no more than what this sample and the subject's one before come to."""
        return False

    @property
    def keys(self) -> tuple[str, ...]:
        """The parameters' keys; records alike share the very same tuple, as a rule."""
        return tuple(self.params)

    @property
    def values(self) -> Sequence[Value]:
        """The parameters' values, in the order of the keys."""
        return tuple(self.params.values())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Figures):
            return NotImplemented
        return (self.params, self.rates, self.derived) == (other.params, other.rates, other.derived)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Figures({self.params!r}, {self.rates!r}, {self.derived!r})"


NO_FIGURES = Figures()
"""What an event or a gap says in numbers."""


class Record(Struct, frozen=True, kw_only=True):
    """One subject at one tick.

    *params* are the typed parameters as libvirt gave them, in libvirt's units, by key (:func:`key_of`). *rates* are
    per second in base units, *derived* see :mod:`domstat.derive`. *interval_s* is the time since this subject's
    previous record, None for the first. *labels* and *devices* travel when they change and once an hour, and are None
    otherwise; *devices* says by device what it is (tap, bridge, path …). *anew* names devices that were plugged anew
    under an old name since the previous record: their counters began again, though none need have fallen.
    """

    kind: Kind
    host: str
    collect: str
    time_ms: int
    domain: Domain | None = None
    labels: dict[str, str] | None = None
    devices: dict[str, dict[str, str]] | None = None
    interval_s: float | None = None
    partial: Partial | None = None
    anew: tuple[str, ...] | None = None
    figures: Figures = NO_FIGURES
    event: Event | None = None
    gap: Gap | None = None
    pool: Pool | None = None

    @property
    def params(self) -> dict[str, Value]:
        """The typed parameters, by key."""
        return self.figures.params

    @property
    def rates(self) -> dict[str, float]:
        """Rates per second, by key."""
        return self.figures.rates

    @property
    def derived(self) -> dict[str, float]:
        """Derived values, by key."""
        return self.figures.derived

    @property
    def subject(self) -> str:
        """What the record is about within its kind, as text: the last part of its key (host, collect, time, kind, …).

        A guest's uuid, a pool's name; for an event the guest, type and device, since one tick can have several.
        """
        parts = [self.domain.uuid if self.domain else ""]
        if self.pool is not None:
            parts.append(self.pool.name)
        if self.event is not None:
            parts += [self.event.type, self.event.device or ""]
        return "/".join(part for part in parts if part)

    @property
    def key(self) -> tuple[str, str, int, Kind, str]:
        """What tells the record from every other: host, collect, time_ms, kind, subject; the same if it comes again."""
        return (self.host, self.collect, self.time_ms, self.kind, self.subject)


class Batch(Struct, frozen=True, kw_only=True):
    """All records of one tick of one stream, in the order of the answer."""

    host: str
    collect: str
    stamp: Stamp
    records: tuple[Record, ...]

    @property
    def stream(self) -> tuple[str, str]:
        """The stream's name: (host, collect block)."""
        return (self.host, self.collect)


def key_of(field: str, device: str | None) -> str:
    """Write a series' field and device as one key: ``cpu.time``, ``block.wr.bytes[vda]``.

    Interned: a thousand guests have the same few hundred keys, and looking at a thousand copies of each would cost a
    tick more, in cache misses, than everything that is computed from them. But for what no other guest has: with
    guests that come and go the table of interned strings would grow by MiB.
    """
    key = field if device is None else f"{field}[{device}]"
    return key if is_own(device) else sys.intern(key)


def is_own(device: str | None) -> bool:
    """Whether no other guest has a device that is called so: a NIC, by its address."""
    return device is not None and ":" in device


def whole_device(device: str | None) -> str | None:
    """Return the device that *device* is a part of: ``vda`` for ``vda/0``; itself where it is whole."""
    return _PARTS.sub("", device) if device else device


def split_key(key: str) -> tuple[str, str | None]:
    """Take a key apart again; the inverse of :func:`key_of` for every field name libvirt can give.

    The first bracket ends the field, since field names have none; a device may contain anything.
    """
    field, bracket, rest = key.partition("[")
    return (field, rest[:-1]) if bracket and rest.endswith("]") else (key, None)
