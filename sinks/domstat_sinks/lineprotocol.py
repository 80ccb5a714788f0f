r"""Records as InfluxDB line protocol.

One line per measurement and device of a record, nanoseconds since 1970 at its end (line protocol's own default, so
that the text means the same to every reader)::

    domstat_block,device=vda,domain=web-1,host=kvm1,uuid=6a2f… block.rd.reqs=812345i,block.rd.reqs.rate=40 17953857…

* A **measurement** is ``domstat_`` and the first word of the field: ``domstat_cpu``, ``domstat_vcpu``; what is not
  about a guest has its kind's: ``domstat_host``, ``domstat_pool``, ``domstat_agent``, so that no sum over guests meets
  it. ``domstat_event`` counts 1 per event, tagged with type, device and collect; ``domstat_gap`` says from when to when
  nothing was collected; ``domstat_partial`` stands beside a record that lacks something and names the missing groups.
* **Tags**: ``device`` where there is one, ``domain`` (the name), ``host``, ``uuid``, ``pool``, and the chosen labels.
  No ``collect``: a stats group belongs to one block, and moving it to another must not split its series. Only what the
  agent says of itself has it, since every block has its own.
* **Fields** have the catalogue's names: the parameter as libvirt gave it, in libvirt's unit. A counter's rate ends in
  ``.rate``, per second and in the base unit; derived values have their own names. What the measurement says already
  is not said again: ``host.cpu.user`` is ``cpu.user`` in ``domstat_host``, likewise ``pool.`` and ``agent.``.
* **Types never change**: integers end in ``i``, rates, derived values and what the catalogue calls f64 are floats even
  where the value is whole; a field nobody has heard of has its value's type. What cannot be written so is left out and
  reported, never bent: NaN, infinities, integers beyond 2^63-1 (clamping would be a wrong number, ``u`` another type).
* **Names** go through :mod:`domstat_sinks.escape`, then commas, blanks and equals signs get line protocol's backslash.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from domstat.model import Figures, Kind, Record, Value
from domstat_sinks.labels import Labels
from domstat_sinks.lineplan import TAGS_HERE, plan_of, usual_plan_of, write_head, write_name, write_tags, write_text

GUESTS_MAX = 65_536
"""Guests whose tags are remembered; beyond it everything is forgotten once, which costs only time."""

INTEGER_MAX = 2**63 - 1
"""The largest integer of line protocol."""

RESERVED_TAGS = frozenset({"device", "domain", "host", "uuid", "pool", "collect", "type", "time"})
"""Tags of our own (and ``time``, which is InfluxDB's): no label can have these names."""

_NS_IN_MS = 1_000_000


class Encoded(Struct, frozen=True):
    """Lines, each ended by a newline, and which parts of which records could not be written, and why."""

    text: bytes
    left_out: list[tuple[Record, str]]


class EncodedEach(Struct, frozen=True):
    """Each record's lines (none where nothing of it can be written), and what was left out as in :class:`Encoded`."""

    texts: list[bytes]
    left_out: list[tuple[Record, str]]


class Encoder:
    """Writes records as line protocol; one per sink, for it remembers guests' labels between their hourly travels.

    *labels* names those that become tags. Raises ValueError for one whose name is taken, see :data:`RESERVED_TAGS`.
    """

    def __init__(self, labels: Sequence[str] = ()) -> None:
        if taken := RESERVED_TAGS.intersection(labels):
            raise ValueError(f"no label can be a tag named {', '.join(sorted(taken))}: domstat has one of its own")
        self._labels = Labels(labels) if labels else None
        self._tags: dict[tuple[object, ...], bytes] = {}

    def encode(self, records: Iterable[Record]) -> Encoded:
        """Write *records*, in their order."""
        each = self.encode_each(records)
        return Encoded(b"".join(each.texts), each.left_out)

    def encode_each(self, records: Iterable[Record]) -> EncodedEach:
        """Write *records*, each by itself, in their order."""
        left_out: list[tuple[Record, str]] = []
        return EncodedEach([self._encode(record, left_out) for record in records], left_out)

    def _encode(self, record: Record, left_out: list[tuple[Record, str]]) -> bytes:
        tags = self._tags_of(record)
        faults: list[str] = []
        text = _encode_values(record, faults)
        left_out += ((record, fault) for fault in faults)
        if record.partial is not None or record.event is not None or record.gap is not None:
            text += b"".join(_encode_remarks(record))
        return text.replace(TAGS_HERE, tags)

    def _tags_of(self, record: Record) -> bytes:
        """Return the tags that all of a record's lines share, as they are written."""
        labels = None if self._labels is None else self._labels.of(record)
        collect = record.collect if record.kind is Kind.AGENT else None
        about = (record.host, record.domain, record.pool, labels, collect)
        tags = self._tags.get(about)
        if tags is None:
            named = {"host": record.host, **dict(labels or ())}
            if record.domain is not None:
                named |= {"domain": record.domain.name, "uuid": record.domain.uuid}
            if record.pool is not None:
                named["pool"] = record.pool.name
            if collect is not None:
                named["collect"] = collect
            if len(self._tags) >= GUESTS_MAX:
                self._tags.clear()
            tags = self._tags[about] = write_tags(named)
        return tags


def _encode_values(record: Record, faults: list[str]) -> bytes:
    """Write what was measured: parameters, rates and derived values; append to *faults* what cannot be written."""
    figures = record.figures
    params, rates, derived = figures.params, figures.rates, figures.derived
    if not (params or rates or derived):
        return b""
    values = [*params.values(), *rates.values(), *derived.values(), record.time_ms * _NS_IN_MS]
    keys, rate_keys, derived_keys = figures.keys, tuple(rates), tuple(derived)
    plan = usual_plan_of(record.kind, keys, rate_keys, derived_keys)
    numbers = plan.write(values)
    if not numbers:
        plan = plan_of(record.kind, keys, tuple(map(type, params.values())), rate_keys, derived_keys)
        numbers = plan.write(values)
        if plan.places and not numbers:
            return _encode_values(_without_unwritable(record, faults), faults)
    faults += plan.refused
    if not numbers:
        return b""
    filled = plan.pieces.copy()
    filled[1::2] = numbers.split(b",")
    for place, position in plan.texts:
        filled[2 * place + 1] = write_text(str(values[position]))
    return b"".join(filled)


def _without_unwritable(record: Record, faults: list[str]) -> Record:
    def writable(values: Mapping[str, Any], ending: str = "") -> dict[str, Any]:
        found = {key: _fault(value) for key, value in values.items()}
        faults.extend(f"{key}{ending}: {fault}" for key, fault in found.items() if fault)
        return {key: value for key, value in values.items() if not found[key]}

    figures = Figures(writable(record.params), writable(record.rates, " (rate)"), writable(record.derived))
    return msgspec.structs.replace(record, figures=figures)


def _fault(value: Value) -> str:
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"{value} is no number"
    if isinstance(value, int) and not -INTEGER_MAX - 1 <= value <= INTEGER_MAX:
        return f"{value} is more than line protocol's integers hold"
    return ""


def _encode_remarks(record: Record) -> Iterator[bytes]:
    """Write what is to be said of a record besides what was measured."""
    tags = {"collect": record.collect}
    if record.partial is not None:
        missing, age_s = ",".join(record.partial.missing), record.partial.age_s
        yield _line("domstat_partial", tags, {"missing": missing, "age_s": age_s}, record.time_ms)
    if record.gap is not None:
        start, end, reason = record.gap.start, record.gap.end, record.gap.reason
        yield _line("domstat_gap", tags, {"from_ms": start, "to_ms": end, "reason": reason}, record.time_ms)
    if record.event is not None:
        tags["type"] = record.event.type
        if record.event.device is not None:
            tags["device"] = record.event.device
        yield _line("domstat_event", tags, {"count": 1, "reason": record.event.reason}, record.time_ms)


def _line(measurement: str, tags: dict[str, str], fields: Mapping[str, float | str | None], time_ms: int) -> bytes:
    written = [write_name(name) + b"=" + _value(value) for name, value in fields.items() if value is not None]
    return write_head(measurement, tags) + b",".join(written) + b" %d\n" % (time_ms * _NS_IN_MS)


def _value(value: float | str) -> bytes:
    if isinstance(value, str):
        return write_text(value)
    return b"%di" % value if isinstance(value, int) else repr(value).encode()
