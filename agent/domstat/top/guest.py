"""A guest as a row shows it. Pure: records in, one frozen row out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct

from domstat.catalog import needs_the_monitor
from domstat.model import Record
from domstat.top.measures import Said, measured
from domstat.units import MISSING

STATES = ("no state", "running", "idle", "paused", "stopping", "off", "crashed", "suspended")
"""virDomainState, each in a word that a narrow column has room for."""

_KIB = 1024

Key: TypeAlias = tuple[str, str]
"""Which guest: its host and its UUID. One that migrates is two for a moment, as it is."""


class Row(Struct, frozen=True, kw_only=True):
    """A guest now.

    *values* are those of :data:`~domstat.top.measures.MEASURES`; memory is in bytes, *configured* what the guest has
    been given and *resident* what its process holds on the host. *stuck* is a guest whose process does not answer:
    *age_s* is how old what stands in for an answer is. *records* are the newest of each stream, for a closer look.
    """

    host: str
    uuid: str
    name: str
    time_ms: int
    state: str
    stuck: bool
    age_s: float | None
    vcpus: float | None
    cores: float | None
    iops: float | None
    configured: float | None
    resident: float | None
    values: tuple[float | None, ...]
    records: tuple[Record, ...]

    @property
    def key(self) -> Key:
        """Which guest it is."""
        return (self.host, self.uuid)

    @property
    def said(self) -> Said:
        """All its figures."""
        return said_by(self.records)


def said_by(records: Sequence[Record]) -> Said:
    """Return the figures of *records* as one guest's."""
    return Said(tuple(record.figures for record in records))


def row_of(records: Sequence[Record]) -> Row:
    """Make a guest's row of its newest records, one of each stream that has it."""
    newest = max(records, key=lambda record: record.time_ms)
    domain = newest.domain
    said = said_by(records)
    silent = [
        record.partial for record in records if record.partial and any(map(needs_the_monitor, record.partial.missing))
    ]
    state = said.number("state.state")
    return Row(
        host=newest.host,
        uuid=domain.uuid if domain else "",
        name=(domain.name or domain.uuid) if domain else "",
        time_ms=newest.time_ms,
        state=_word(state),
        stuck=bool(silent),
        age_s=max((partial.age_s for partial in silent if partial.age_s is not None), default=None),
        vcpus=said.number("vcpu.current"),
        cores=said.total("cpu.time"),
        iops=said.total("block.rd.reqs", "block.wr.reqs"),
        configured=_bytes(said.number("balloon.current")),
        resident=_bytes(said.number("balloon.rss")),
        values=measured(said),
        records=tuple(records),
    )


def _bytes(kib: float | None) -> float | None:
    return None if kib is None else kib * _KIB


def _word(state: float | None) -> str:
    if state is None:
        return MISSING
    return STATES[int(state)] if 0 <= state < len(STATES) else f"state {state:.0f}"
