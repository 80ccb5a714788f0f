"""Makers of records as a KVM host gives them, for tests of sinks. Deterministic: what is asked for twice is equal.

::

    guest(3)                                        the guest number 3 at the first tick
    guest(3, time_ms=START_MS + INTERVAL_MS)        the same at the next: its counters have grown, its rates fit
    guest(name='a "b"', extra={"cpu.time": 5})      one that is called so, with a value changed
    batch(hypervisor(), guest(0), guest(1), agent())    a tick of all these
    ticks(5, guests=2)                              five ticks, one after the other

Times are milliseconds since 1970, values are in libvirt's units, rates per second in base units.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from domstat.derive import Derivation, derive
from domstat.model import (
    Batch,
    Domain,
    Event,
    Figures,
    Gap,
    Kind,
    Moment,
    Partial,
    Pool,
    Record,
    Stamp,
    Value,
    split_key,
)
from domstat.rates import Shape, advance

HOST = "kvm1"
COLLECT = "default"
START_MS = 1_795_385_704_123
"""The first tick: 2026-11-22T22:15:04.123Z."""

INTERVAL_MS = 10_000
BOOT_ID = "5b1c7a7e-7d4b-4d0e-9a0e-0a6f2a3f6a10"
CALL_NS = 12_000_000
"""How long the call of a tick took."""

MAC = "52:54:00:aa:bb:01"
COUNT, RATIO, FLAG, NOTE = "vendor.count", "vendor.ratio", "vendor.flag", "vendor.note"
"""Fields that no catalogue knows, as a newer libvirt might have them: an integer, a float, a boolean, a text."""

HOSTILE: dict[str, str] = {
    "single quotes": "it's",
    "double quotes": 'a "guest"',
    "commas": "a,b=c, d",
    "backslashes": "a\\b\\",
    "newlines": "a\nb\r\nc",
    "control characters": "a\x00b\x1b[31mc\x7f",
    "bidirectional marks": "web\u202e1-\u2066x",
    "blanks at the ends": "  a b  ",
    "brackets and braces": "a[b]{c}$d%e",
    "other scripts": "gäst-\U0001f600-客",
    "SQL": "'; DROP TABLE samples; --",
    "nothing": "",
    "5,000 characters": "x" * 5_000,
}
"""Names by what is hostile about them: whoever may name a guest may name it so."""

_GUEST: dict[str, tuple[Value, int]] = {
    "state.state": (1, 0),
    "cpu.time": (86_400_000_000_000, 500_000_000),
    "cpu.user": (5_130_000_000_000, 50_000_000),
    "balloon.current": (4_194_304, 0),
    "balloon.rss": (3_145_728, 3),
    "vcpu.current": (2, 0),
    "vcpu.time[0]": (41_230_000_000_000, 250_000_000),
    "vcpu.halted[0]": (False, 0),
    f"net.rx.bytes[{MAC}]": (9_134_225_871, 1_048_576),
    "block.rd.bytes[vda]": (33_012_219_904, 2_097_152),
    "block.rd.bytes[vdb]": (1_204, 0),
}
"""Each parameter's value, and by how much it grows in a second, both in libvirt's units."""

_HYPERVISOR: dict[str, tuple[Value, int]] = {
    "host.cpu.user": (812_000_000_000_000, 3_000_000_000),
    "host.cpu.idle": (9_650_000_000_000_000, 12_000_000_000),
    "host.memory.total": (67_108_864, 0),
    "host.cpus": (16, 0),
    "host.version.libvirt": ("9.0.0", 0),
}
_POOL: dict[str, tuple[Value, int]] = {
    "pool.state": (2, 0),
    "pool.capacity": (1_099_511_627_776, 0),
    "pool.allocation": (879_609_302_221, 4_096),
}
_AGENT: dict[str, tuple[Value, int]] = {
    "agent.call.time": (12_000_000, 0),
    "agent.lateness": (-1_000_000, 0),
    "agent.guests": (2, 0),
    "agent.skipped": (3, 0),
}

KEYS: tuple[str, ...] = (*_GUEST, *_HYPERVISOR, *_POOL, *_AGENT, COUNT, RATIO, FLAG, NOTE)
"""Every key the makers give a record by themselves, and those of fields that no catalogue knows."""

FIELDS: tuple[str, ...] = tuple(dict.fromkeys(split_key(key)[0] for key in KEYS))
"""Every field the makers and the suite use: a store with names of its own makes its way back with these."""


def uuid_of(number: int) -> str:
    """Return the UUID of the guest with that *number*."""
    return f"6a2f41a3-c54c-4a5e-9b5b-{number:012x}"


def guest(  # noqa: PLR0913 - all that a test may want to be otherwise
    number: int = 0,
    *,
    time_ms: int = START_MS,
    host: str = HOST,
    collect: str = COLLECT,
    name: str | None = None,
    uuid: str | None = None,
    params: Mapping[str, Value] | None = None,
    extra: Mapping[str, Value] | None = None,
    without: tuple[str, ...] = (),
    **more: Any,
) -> Record:
    """Make a guest's record; by default of the guest with that *number*, whose figures are its own.

    *params* replaces the parameters, *extra* adds to or changes them, *without* takes away those whose keys begin so.
    Rates and derived values follow from what is left, against a sample ten seconds before. *more* are attributes of
    :class:`domstat.model.Record`: labels, partial, anew …
    """
    taken = _at(_GUEST, time_ms, number) if params is None else dict(params)
    taken |= extra or {}
    taken = {key: value for key, value in taken.items() if not key.startswith(without or "\0")}
    rates = _rates(_GUEST, taken)
    derived = derive(Derivation(tuple(taken)), taken, rates, time_ms)
    domain = Domain(uuid_of(number) if uuid is None else uuid, f"guest-{number}" if name is None else name, 3 + number)
    figures = Figures(taken, rates, derived)
    return _record(Kind.GUEST, time_ms, host, collect, figures=figures, domain=domain, **more)


def hypervisor(*, time_ms: int = START_MS, host: str = HOST, collect: str = COLLECT, **more: Any) -> Record:
    """Make the host's own record, which has a text among its values."""
    figures = _figures(_HYPERVISOR, time_ms, more.pop("extra", {}))
    return _record(Kind.HOST, time_ms, host, collect, figures=figures, **more)


def pool(name: str = "images", *, time_ms: int = START_MS, host: str = HOST, **more: Any) -> Record:
    """Make a storage pool's record."""
    figures = _figures(_POOL, time_ms, more.pop("extra", {}))
    return _record(
        Kind.POOL, time_ms, host, more.pop("collect", "survey"), **({"figures": figures, "pool": Pool(name)} | more)
    )


def agent(*, time_ms: int = START_MS, host: str = HOST, collect: str = COLLECT, **more: Any) -> Record:
    """Make the record of what the agent says of itself; one of its values is negative."""
    figures = _figures(_AGENT, time_ms, more.pop("extra", {}))
    return _record(Kind.AGENT, time_ms, host, collect, figures=figures, **more)


def event(
    type: str = "started",  # noqa: A002 - the model's word
    number: int = 0,
    *,
    reason: str | None = "booted",
    device: str | None = None,
    time_ms: int = START_MS,
    host: str = HOST,
    **more: Any,
) -> Record:
    """Make the record of an event in the life of the guest with that *number*: it has no figures."""
    attributes = {"domain": Domain(uuid_of(number), f"guest-{number}", 3 + number), "interval_s": None} | more
    collect = attributes.pop("collect", "events")
    return _record(Kind.EVENT, time_ms, host, collect, event=Event(type, reason, device), **attributes)


def gap(
    reason: str = "libvirtd did not answer",
    *,
    lasted_ms: int = 30_000,
    time_ms: int = START_MS,
    host: str = HOST,
    collect: str = COLLECT,
) -> Record:
    """Make the record of a gap that began at *time_ms*: it has no figures."""
    span = Gap(time_ms, time_ms + lasted_ms, reason)
    return _record(Kind.GAP, time_ms, host, collect, gap=span, interval_s=None)


def partial_guest(number: int = 0, *, time_ms: int = START_MS, **more: Any) -> Record:
    """Make the record of a guest of which libvirt left out the block figures."""
    return guest(number, time_ms=time_ms, without=("block.",), partial=Partial(("block",)), **more)


def one_of_each(time_ms: int = START_MS, host: str = HOST) -> dict[Kind, Record]:
    """Make a record of every kind, all of one stream."""
    return {
        Kind.HOST: hypervisor(time_ms=time_ms, host=host),
        Kind.GUEST: guest(time_ms=time_ms, host=host),
        Kind.POOL: pool(time_ms=time_ms, host=host, collect=COLLECT),
        Kind.EVENT: event(time_ms=time_ms, host=host, collect=COLLECT),
        Kind.GAP: gap(time_ms=time_ms, host=host),
        Kind.AGENT: agent(time_ms=time_ms, host=host),
    }


def batch(
    *records: Record, time_ms: int | None = None, host: str | None = None, collect: str | None = None, nth: int = 0
) -> Batch:
    """Make a batch of *records*, by default of one guest's; time, host and collect are the first's, if not given.

    *nth* tells the stamps of batches apart whose times are those of a clock that was set: it counts ticks.
    """
    first = records[0] if records else guest(time_ms=START_MS if time_ms is None else time_ms)
    at_ms = first.time_ms if time_ms is None else time_ms
    boot_ns = (at_ms - START_MS) * 1_000_000 % 10**15 + nth * INTERVAL_MS * 1_000_000
    return Batch(
        host=first.host if host is None else host,
        collect=first.collect if collect is None else collect,
        stamp=Stamp(at_ms, boot_ns, BOOT_ID, CALL_NS),
        records=records or (first,),
    )


def empty(time_ms: int = START_MS) -> Batch:
    """Make a batch without records."""
    return Batch(host=HOST, collect=COLLECT, stamp=Stamp(time_ms, 0, BOOT_ID, CALL_NS), records=())


def ticks(count: int, guests: int = 2, *, start_ms: int = START_MS, host: str = HOST) -> list[Batch]:
    """Make *count* ticks of one stream, each of the host, some guests, and the agent."""
    return [_tick(start_ms + i * INTERVAL_MS, guests, host) for i in range(count)]


def _tick(time_ms: int, guests: int, host: str) -> Batch:
    of_guests = [guest(number, time_ms=time_ms, host=host) for number in range(guests)]
    return batch(hypervisor(time_ms=time_ms, host=host), *of_guests, agent(time_ms=time_ms, host=host))


def _record(kind: Kind, time_ms: int, host: str, collect: str, **more: Any) -> Record:
    attributes = {"interval_s": INTERVAL_MS / 1000} | more
    return Record(kind=kind, host=host, collect=collect, time_ms=time_ms, **attributes)


def _figures(table: Mapping[str, tuple[Value, int]], time_ms: int, extra: Mapping[str, Value]) -> Figures:
    params = _at(table, time_ms) | dict(extra)
    return Figures(params, _rates(table, params))


def _at(table: Mapping[str, tuple[Value, int]], time_ms: int, number: int = 0) -> dict[str, Value]:
    """Give the values of *table* at *time_ms*; counters of different guests differ."""
    elapsed_ms = time_ms - START_MS
    return {
        key: value if isinstance(value, str) or not growth else value + growth * elapsed_ms // 1000 + number
        for key, (value, growth) in table.items()
    }


def _rates(table: Mapping[str, tuple[Value, int]], params: Mapping[str, Value]) -> dict[str, float]:
    """Take the rates of *params* against what they were an interval before."""
    seconds = INTERVAL_MS // 1000
    before: dict[str, Value] = {}
    for key, value in params.items():
        growth = table[key][1] * seconds if key in table else 0
        before[key] = value - growth if growth and isinstance(value, int) else value
    shape = Shape(tuple(params))
    _, baseline = advance(None, shape, before, Moment(0, 0, BOOT_ID), None)
    rates, _ = advance(baseline, shape, dict(params), Moment(INTERVAL_MS, INTERVAL_MS * 1_000_000, BOOT_ID), None)
    return rates
