"""What is known of all hosts and guests now: records in, a picture out. Pure.

A guest may be seen by several streams of its host (disks once a minute, CPUs every tick); its row is of the newest
record of each. It is dropped when its streams have gone on without it for some ticks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from domstat.model import Batch, Kind, Record
from domstat.top.guest import Key, Row, row_of
from domstat.top.measures import MEASURES
from domstat.top.ring import Ring, Values

GONE_TICKS = 2.5
"""A guest that so many of its ticks have passed without has gone: one tick may come in parts, with gaps between."""

GONE_MIN_MS = 5_000
"""And never sooner than this, nor a guest sooner whose interval is not known yet."""

_KIB = 1024


class HostRow(Struct, frozen=True, kw_only=True):
    """A host now: shares from 0 to 1, memory in bytes; *trouble* is why nothing comes of it any more."""

    name: str
    time_ms: int | None = None
    interval_s: float | None = None
    call_s: float | None = None
    guests: int = 0
    stuck: int = 0
    cpus: float | None = None
    busy: float | None = None
    memory_used: float | None = None
    memory_total: float | None = None
    versions: tuple[str, ...] = ()
    trouble: str | None = None


class Picture(Struct, frozen=True):
    """All that is known at one moment: hosts by name, guests in no order."""

    hosts: tuple[HostRow, ...] = ()
    guests: tuple[Row, ...] = ()

    @property
    def time_ms(self) -> int:
        """When the newest of it was read; 0 where nothing has been."""
        return max((host.time_ms for host in self.hosts if host.time_ms is not None), default=0)

    def guest(self, key: Key | None) -> Row | None:
        """Return one guest's row, if it is there."""
        return next((row for row in self.guests if row.key == key), None)


class _Host:
    def __init__(self, name: str) -> None:
        self.name = name
        self.newest_ms: dict[str, int] = {}
        """When each of its streams was read last."""
        self.record: Record | None = None
        self.call_ns: dict[str, int] = {}
        self.interval_s: float | None = None
        self.trouble: str | None = None
        self.guests: dict[str, _Guest] = {}


class _Guest:
    __slots__ = ("records", "ring", "row")

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.ring = Ring(len(MEASURES))
        self.row: Row | None = None


class Fleet:
    """Takes what comes, in the order it comes, and keeps of each guest its newest records and its last hour."""

    def __init__(self, hosts: Sequence[str] = ()) -> None:
        """*hosts* are shown from the beginning, before anything has come of them."""
        self._hosts = {name: _Host(name) for name in hosts}

    def take(self, batches: Iterable[Batch]) -> None:
        """Take batches; those of streams that are about neither hosts nor guests that run are passed over."""
        for batch in batches:
            if any(is_shown(record) for record in batch.records) or batch.stream in self._streams():
                self._take(batch)

    def _streams(self) -> set[tuple[str, str]]:
        return {(host.name, collect) for host in self._hosts.values() for collect in host.newest_ms}

    def _take(self, batch: Batch) -> None:
        host = self._hosts.setdefault(batch.host, _Host(batch.host))
        host.trouble = None
        host.newest_ms[batch.collect] = batch.stamp.time_ms
        host.call_ns[batch.collect] = batch.stamp.call_ns
        for record in batch.records:
            if record.kind is Kind.HOST:
                host.record, host.interval_s = record, record.interval_s or host.interval_s
            elif is_shown(record) and record.domain is not None:
                guest = host.guests.setdefault(record.domain.uuid, _Guest())
                guest.records[batch.collect] = record
                guest.row = row = row_of(tuple(guest.records.values()))
                guest.ring.put(record.time_ms, row.values)
        self._drop_gone(host)

    @staticmethod
    def _drop_gone(host: _Host) -> None:
        for uuid, guest in list(host.guests.items()):
            if all(_has_gone(record, host.newest_ms[collect]) for collect, record in guest.records.items()):
                del host.guests[uuid]

    def fail(self, host: str, trouble: str) -> None:
        """Take it that a host gave no answer, and why; what is known of it stays."""
        self._hosts.setdefault(host, _Host(host)).trouble = trouble

    def fill(self, key: Key, past: Sequence[tuple[int, Values]]) -> None:
        """Take a guest's last hour from elsewhere, as far as it is not known here."""
        guest = self._hosts[key[0]].guests.get(key[1]) if key[0] in self._hosts else None
        if guest is not None:
            guest.ring.fill(past)

    def hour(self, key: Key, measure: int, until_ms: int) -> list[float | None]:
        """Return a measure's last hour, of a guest that is known."""
        guest = self._hosts[key[0]].guests.get(key[1]) if key[0] in self._hosts else None
        return guest.ring.hour(measure, until_ms) if guest is not None else []

    def picture(self) -> Picture:
        """Return what is known now; what comes later does not change it."""
        hosts = [self._hosts[name] for name in sorted(self._hosts)]
        rows = tuple(guest.row for host in hosts for guest in host.guests.values() if guest.row is not None)
        return Picture(tuple(map(_host_row, hosts)), rows)


def is_shown(record: Record) -> bool:
    """Whether a record is about a host, or a guest that runs: libvirt gives one that is off no id."""
    return record.kind is Kind.HOST or (
        record.kind is Kind.GUEST and record.domain is not None and record.domain.id is not None
    )


def _has_gone(record: Record, newest_ms: int) -> bool:
    return newest_ms - record.time_ms > max(GONE_MIN_MS, GONE_TICKS * 1000 * (record.interval_s or 0))


def _host_row(host: _Host) -> HostRow:
    rows = [guest.row for guest in host.guests.values() if guest.row is not None]
    row = HostRow(
        name=host.name,
        time_ms=max(host.newest_ms.values(), default=None),
        interval_s=host.interval_s,
        call_s=max(host.call_ns.values()) / 1e9 if host.call_ns else None,
        guests=len(rows),
        stuck=sum(row.stuck for row in rows),
        trouble=host.trouble,
    )
    return row if host.record is None else _with_figures(row, host.record)


def _with_figures(row: HostRow, record: Record) -> HostRow:
    def number(key: str) -> float | None:
        value = record.params.get(key)
        return None if isinstance(value, str) else value

    total = number("host.memory.total")
    hypervisor, libvirt = (record.params.get(f"host.version.{which}") for which in ("hypervisor", "libvirt"))
    return replace(
        row,
        cpus=number("host.cpus"),
        busy=record.derived.get("host.cpu.utilization"),
        memory_used=record.derived.get("host.memory.used"),
        memory_total=None if total is None else total * _KIB,
        versions=tuple(text for text in (hypervisor and str(hypervisor), libvirt and f"libvirt {libvirt}") if text),
    )
