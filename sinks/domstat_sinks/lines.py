"""What is no guest's figures, in a line each for a person: the host, a pool, an event, a gap. Pure.

Every line can be shown on a terminal as it is.
"""

from __future__ import annotations

from datetime import datetime

from domstat.model import Batch, Kind, Record
from domstat.text import printable
from domstat.units import MISSING, known, percent, size, whole

POOL_FRESH_S = 60.0
"""A pool's figures that are younger are of now, as far as anybody needs to know."""

GUEST_STATES = ("no state", "running", "idle", "paused", "shutting down", "shut off", "crashed", "pmsuspended")
"""virDomainState, in virsh's words."""

POOL_STATES = ("inactive", "building", "running", "degraded", "inaccessible")
"""virStoragePoolState, in virsh's words."""

_KIB = 1024


def is_occurrence(record: Record) -> bool:
    """Whether *record* is an event or a gap."""
    return record.event is not None or record.gap is not None


def is_account(batch: Batch) -> bool:
    """Whether *batch* is the agent's account of its delivering, which is nothing to look at as a tick."""
    return batch.collect == "delivery" and all(record.kind is Kind.AGENT for record in batch.records)


def occurrence_line(record: Record) -> str:
    """Say when and where an event or a gap was (a gap: when it began), and what, in a line."""
    time_ms = record.gap.start if record.gap else record.time_ms
    time = datetime.fromtimestamp(time_ms / 1000).astimezone()
    if record.gap is not None:
        lasted_s = (record.gap.end - record.gap.start) / 1000
        what = f"{record.collect}: nothing for {lasted_s:.0f} s ({record.gap.reason})"
    elif record.event is not None:
        event = record.event
        device, reason = event.device and f" {event.device}", event.reason and f" ({event.reason})"
        name = (record.domain.name or record.domain.uuid) if record.domain else MISSING
        what = f"{name}: {event.type}{device or ''}{reason or ''}"
    else:
        what = MISSING
    return printable(f"{time:%H:%M:%S} {record.host} · {what}")


def host_line(record: Record) -> str:
    """Say how the host is, in a line: ``host · CPU 25% of 16 · memory 40G/64G · QEMU 7.2.22 · libvirt 9.0.0``."""
    busy = known(percent, record.derived.get("host.cpu.utilization"))
    cpus = known(whole, number(record, "host.cpus"))
    used = known(size, record.derived.get("host.memory.used"))
    total = known(lambda kib: size(kib * _KIB), number(record, "host.memory.total"))
    hypervisor, libvirt = (record.params.get(f"host.version.{which}") for which in ("hypervisor", "libvirt"))
    parts = [f"host · CPU {busy} of {cpus}", f"memory {used}/{total}"]
    parts += [str(hypervisor)] if hypervisor else []
    parts += [f"libvirt {libvirt}"] if libvirt else []
    return printable(" · ".join(parts))


def pool_line(record: Record) -> str:
    """Say how full a pool is, in a line: ``pool images · 819G/1.0T · 205G free``; and how old that is, unless fresh."""
    used, capacity, free = (
        known(size, number(record, f"pool.{what}")) for what in ("allocation", "capacity", "available")
    )
    parts = [f"pool {record.pool.name if record.pool else MISSING}", f"{used}/{capacity}", f"{free} free"]
    state = word(POOL_STATES, number(record, "pool.state"))
    parts += [state] if state not in {"running", MISSING} else []
    age_s = record.derived.get("pool.age")
    if age_s is None:
        parts.append("of unknown age")
    elif age_s > POOL_FRESH_S:
        parts.append(f"{age_s / 60:.0f} min old")
    return printable(" · ".join(parts))


def number(record: Record, key: str) -> float | None:
    """Return a parameter, if it is there and a number."""
    value = record.params.get(key)
    return None if isinstance(value, str) else value


def word(words: tuple[str, ...], state: float | None) -> str:
    """Return the word for one of libvirt's numbers, or the number if it has none yet."""
    return MISSING if state is None else words[int(state)] if 0 <= state < len(words) else f"state {state}"
