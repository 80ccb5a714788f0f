"""Records of some hosts' guests, told to a fleet: for tests of what the screen makes of them."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from domstat.model import Batch, Figures, Partial, Record
from domstat.top.fleet import Fleet
from records import HOST, TIME_MS, agent_record, batch, guest_record, host_record

INTERVAL_MS = 2_000


def uuid_of(number: int) -> str:
    return f"6a2f41a3-c54c-4a5e-9b5b-{number:012d}"


def guest(number: int, name: str | None = None, *, load: float = 1.0, **more: Any) -> Record:
    """Make a guest that does *load* times what the usual one does."""
    record = guest_record(name or f"web-{number}", uuid=uuid_of(number), **more)
    rates = {key: rate * load for key, rate in record.rates.items()}
    return replace(record, figures=Figures(record.params, rates, record.derived))


def stuck(number: int, name: str | None = None, age_s: float | None = 12.0) -> Record:
    """Make a guest whose process does not answer."""
    without = ("block.", "balloon.rss", "balloon.unused", "balloon.usable")
    return guest(number, name, without=without, partial=Partial(("balloon", "block"), age_s))


def tick(*guests: Record, host: str = HOST, time_ms: int = TIME_MS, **more: Any) -> Batch:
    """Make a host's tick with these guests, all read at one time."""
    records = [host_record(), *guests, agent_record()]
    return batch(*(_at(record, host, time_ms) for record in records), host=host, time_ms=time_ms, **more)


def fleet(*guests: Record) -> Fleet:
    """Make a fleet of one host that has had one tick."""
    made = Fleet()
    made.take([tick(*guests)])
    return made


def _at(record: Record, host: str, time_ms: int) -> Record:
    return replace(record, host=host, time_ms=time_ms, interval_s=INTERVAL_MS / 1000)
