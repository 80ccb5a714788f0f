"""The latest of everything as Prometheus' text format (0.0.4): all samples of a family together. Pure.

Who is in two streams (a guest whose disks are asked for less often than its CPU) is one subject here: of a field that
both have the newer value counts, and what is of an earlier incarnation of the guest is left out. So no two samples are
alike by construction: subjects differ in their labels, and within one a plan keeps names apart.

There are no timestamps at the samples. Prometheus takes one as a wish to have the sample for just that moment: it
would not notice any more that a guest is gone, and go on showing its last values for five minutes. How old a
stream's figures are says ``domstat_stream_last_tick_timestamp_seconds`` instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from msgspec import Struct
from msgspec.structs import replace

from domstat.model import Domain, Figures, Kind, Record, Value
from domstat_sinks.prometheus import plan
from domstat_sinks.prometheus.details import Details
from domstat_sinks.prometheus.names import EVENTS, GAP_TIME, GAPS, GUEST_PARTIAL, STREAM_TIME, Family
from domstat_sinks.prometheus.store import Counts, Latest, Snapshot
from domstat_sinks.prometheus.subjects import About, Subject, subject_of

_PARTIAL = (GUEST_PARTIAL,)
_STREAM_TIME = (STREAM_TIME,)
_COUNTS = {family.name: (family,) for family in (EVENTS, GAPS, GAP_TIME)}


class _Said(Struct, frozen=True, gc=False):
    """What is known of one subject, of each stream that has it, the newest first."""

    records: list[Record]
    abouts: list[About]


class _Written(Struct, frozen=True):
    """How what seldom changes of a subject is written, and what it was made of."""

    domain: Domain | None
    labels: bytes
    details: Details | None

    def is_of(self, said: _Said) -> bool:
        """Whether nothing has changed."""
        same = self.domain is said.records[0].domain or self.domain == said.records[0].domain
        return same and (self.details is None or self.details.abouts == said.abouts)


class Exposition:
    """Turns snapshots into text; remembers how what seldom changes is written."""

    def __init__(self) -> None:
        self._written: dict[Subject, _Written] = {}

    def write(self, snapshot: Snapshot) -> Iterator[bytes]:
        """Write *snapshot*, family by family."""
        families = _Families()
        before, self._written = self._written, {}
        taken: set[bytes] = set()
        for subject, said in _subjects(snapshot).items():
            written = before.get(subject)
            if written is None or not written.is_of(said):
                written = _write_once(subject, said)
            self._written[subject] = written
            labels = written.labels
            if labels not in taken:  # or it differs from another in nothing that can be written
                taken.add(labels)
                _add_figures(families, said.records, labels)
                if written.details is not None:
                    families.add(written.details.families, written.details.write(labels))
                if subject[0] is Kind.GUEST:
                    partial = any(record.partial for record in said.records)
                    families.add(_PARTIAL, [_sample(GUEST_PARTIAL, labels, int(partial))])
        _add_streams(families, snapshot.streams)
        _add_counts(families, snapshot.counts)
        return families.take()


class _Families:
    """Samples in the making, by family.

    A record's come in one row, a text for each of its families, and rows of the same families are put together: that
    families stand one below the other in the end costs nothing for each record.
    """

    def __init__(self) -> None:
        self._rows: dict[int, tuple[tuple[Family, ...], list[Sequence[bytes]]]] = {}
        """By the identity of the families' tuple, which is quick to look up and held here."""
        self._clashes: dict[tuple[int, int], tuple[bool, object]] = {}

    def add(self, families: tuple[Family, ...], row: Sequence[bytes]) -> None:
        """Add what is written of *families*, in their order."""
        found = self._rows.get(id(families))
        if found is None:
            found = self._rows[id(families)] = (families, [])
        found[1].append(row)

    def clash(self, some: tuple[Family, ...], others: tuple[Family, ...]) -> bool:
        """Whether a name is in both, as it can be with a derived value that nobody knows."""
        found = self._clashes.get((id(some), id(others)))
        if found is None:
            clash = not {family.name for family in some}.isdisjoint(family.name for family in others)
            found = self._clashes[id(some), id(others)] = (clash, (some, others))
        return found[0]

    def take(self) -> Iterator[bytes]:
        """Give every family, by name, and let go of it."""
        columns: dict[str, tuple[Family, list[Sequence[bytes]]]] = {}
        for families, rows in self._rows.values():
            for family, column in zip(families, zip(*rows, strict=True), strict=True):
                columns.setdefault(family.name, (family, []))[1].append(column)
        self._rows.clear()
        for name in sorted(columns):
            family, texts = columns.pop(name)
            yield b"".join(chain([family.head], *texts))


def _subjects(snapshot: Snapshot) -> dict[Subject, _Said]:
    found: dict[Subject, _Said] = {}
    for stream in sorted(snapshot.streams, key=lambda stream: -stream.time_ms):
        for subject, record in _records(stream).items():
            said = found.get(subject)
            if said is None:
                said = found[subject] = _Said([], [])
            elif record.domain and said.records[0].domain and record.domain.id != said.records[0].domain.id:
                continue  # of another incarnation
            said.records.append(record)
            about = snapshot.abouts.get((stream.name, subject))
            if about is not None:
                said.abouts.append(about)
    return found


def _records(stream: Latest) -> dict[Subject, Record]:
    """Return the newest record of every subject of a stream."""
    records = {
        subject_of(record): record
        for batch in stream.batches
        for record in batch.records
        if record.event is None and record.gap is None
    }
    agent = next((subject for subject in records if subject[0] is Kind.AGENT), None)
    if agent is not None:
        records[agent] = replace(records[agent], figures=Figures(stream.agent))
    return records


def _write_once(subject: Subject, said: _Said) -> _Written:
    kind = subject[0]
    details = Details(kind, said.abouts) if kind in {Kind.GUEST, Kind.POOL} else None
    return _Written(said.records[0].domain, plan.text_labels(_labels_of(said.records[0])), details)


def _labels_of(record: Record) -> dict[str, str]:
    labels = {"host": record.host}
    if record.domain is not None:
        labels |= {"uuid": record.domain.uuid, "domain": record.domain.name}
    if record.pool is not None:
        labels["pool"] = record.pool.name
    if record.kind is Kind.AGENT:
        labels["collect"] = record.collect
    return labels


def _add_figures(families: _Families, records: Sequence[Record], labels: bytes) -> None:
    """Write the parameters and derived values of one subject's *records*, the newest first."""
    keys: tuple[str, ...]
    values: Sequence[Value]
    if len(records) == 1:
        keys, values = records[0].figures.keys, records[0].figures.values
        derived: Mapping[str, float] = records[0].derived
    else:
        params: dict[str, Value] = {}
        derived = {}
        for record in reversed(records):
            params |= record.params
            derived |= record.derived
        keys, values = tuple(params), tuple(params.values())
    written = plan.write("params", keys, values, labels)
    if written.families:
        families.add(written.families, written.texts)
    if derived:
        more = plan.write("derived", tuple(derived), tuple(derived.values()), labels)
        if more.families and not families.clash(written.families, more.families):
            families.add(more.families, more.texts)


def _add_streams(families: _Families, streams: Sequence[Latest]) -> None:
    newest: dict[bytes, int] = {}
    for stream in streams:
        labels = plan.text_labels({"host": stream.name[0], "collect": stream.name[1]})
        newest[labels] = max(stream.time_ms, newest.get(labels, 0))
    for labels, time_ms in newest.items():
        families.add(_STREAM_TIME, [_sample(STREAM_TIME, labels, time_ms / 1000)])


def _add_counts(families: _Families, counts: Counts) -> None:
    totals: dict[tuple[Family, bytes], float] = {}

    def add(family: Family, labels: dict[str, str], number: float) -> None:
        key = (family, plan.text_labels(labels))
        totals[key] = totals.get(key, 0) + number

    for (host, type_), number in counts.events.items():
        add(EVENTS, {"host": host, "type": type_}, number)
    for (host, collect, reason), (number, lasted_ms) in counts.gaps.items():
        labels = {"host": host, "collect": collect, "reason": reason}
        add(GAPS, labels, number)
        add(GAP_TIME, labels, lasted_ms / 1000)
    for (family, written), total in totals.items():
        families.add(_COUNTS[family.name], [_sample(family, written, total)])


def _sample(family: Family, labels: bytes, number: float) -> bytes:
    return b"%s{%s} %s\n" % (family.name.encode(), labels, repr(number).encode())
