"""Pure: what was written beside what the store holds, and in words what is different."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from domstat import forms
from domstat.catalog import DERIVED
from domstat.model import Batch, Record, Value, key_of, split_key
from domstat.testing.store import Keeps, Stored, subject
from domstat.text import printable

NAMED_MAX = 5
"""Differences that are said; a sink that loses everything loses it in one way."""

Identity: TypeAlias = tuple[str, str, str, int | None, str]
"""Kind, host, subject, time, collect; as far as the store keeps them."""

_REMARKS = ("event.", "gap.", "partial.")
_LABEL = "label."
"""Labels travel now and then; whether a sink remembers them in between is its own affair."""

_REQUIRED_REMARKS = frozenset({"event.reason", "gap.reason", "partial.missing"})


class Expected(Struct, frozen=True):
    """What the store should hold of one record.

    *values* must be there unless it was reported that they are not; what is there of *allowed*, these among them, must
    be so; what is there of *loose* is the sink's own affair.
    """

    record: Record
    values: Mapping[str, Value]
    allowed: Mapping[str, Value]
    loose: frozenset[str]
    name: str | None


def differences(
    written: Sequence[Batch], found: Iterable[Stored], keeps: Keeps, reported: Sequence[Record] = ()
) -> list[str]:
    """Say how what was *found* differs from what was *written*, at most some of it.

    *reported* are the records of which the sink has told that parts or all were not stored.
    """
    pieces = list(found)
    blind = _Blind.of(pieces)
    expected: dict[Identity, Expected] = {}
    for record in _last_of_each(written, keeps):
        identity = _identity_of(record, keeps, blind)
        expected[identity] = _merged(expected.get(identity), _expect(record, keeps))
    missed = {_identity_of(record, keeps, blind) for record in reported}
    held, twice = _put_together(pieces, blind)
    faults = [] if keeps.again else [f"{_say(identity)} has {key} twice" for identity, key in twice]
    faults += [f"{_say(identity)} is there, and nobody wrote it" for identity in held if identity not in expected]
    for identity, wanted in expected.items():
        if identity in held:
            faults += _compare(identity, wanted, held[identity], keeps, is_reported=identity in missed)
        elif identity not in missed:
            faults.append(f"{_say(identity)} is missing")
    more = len(faults) - NAMED_MAX
    return faults[:NAMED_MAX] + ([f"and {more} more"] if more > 0 else [])


def unwritable(written: Iterable[Batch]) -> list[Record]:
    """Return the records with a value that is no number, of which no store has all."""
    return [record for batch in written for record in batch.records if _has_no_number(record)]


def _has_no_number(record: Record) -> bool:
    return any(isinstance(value, float) and not math.isfinite(value) for value in record.params.values())


def order_of(records: Iterable[Record], keeps: Keeps) -> list[tuple[str, str, str, int | None]]:
    """Give the order in which records were written, to hold beside :func:`order_found`."""
    blind = _Blind(frozenset(), times=False)
    return [_identity_of(record, keeps, blind)[:4] for record in records if record.kind in keeps.kinds]


def order_found(found: Iterable[Stored]) -> list[tuple[str, str, str, int | None]]:
    """Give the order in which a store holds records; pieces of one beside each other count once."""
    order: list[tuple[str, str, str, int | None]] = []
    for piece in found:
        this = (str(piece.kind), piece.host, piece.subject, piece.time_ms)
        if not order or order[-1] != this:
            order.append(this)
    return order


class _Blind(Struct, frozen=True):
    """What the store does not tell records apart by: the collect block for some kinds, the time."""

    collects: frozenset[str]
    times: bool

    @classmethod
    def of(cls, pieces: Sequence[Stored]) -> _Blind:
        collects = frozenset(str(piece.kind) for piece in pieces if piece.collect is None)
        return cls(collects, any(piece.time_ms is None for piece in pieces))


class _Held(Struct):
    """A record's pieces, put together."""

    values: dict[str, Value]
    names: set[str]


def _last_of_each(written: Sequence[Batch], keeps: Keeps) -> Iterator[Record]:
    """Give the records that the store should hold, in the order of writing; of a store of the latest, each stream's."""
    latest = {batch.stream: i for i, batch in enumerate(written)}
    for i, batch in enumerate(written):
        if not keeps.latest or latest[batch.stream] == i:
            yield from (record for record in batch.records if record.kind in keeps.kinds)


def _identity_of(record: Record, keeps: Keeps, blind: _Blind) -> Identity:
    domain, pool, event = record.domain, record.pool, record.event
    about = subject(
        keeps.text(domain.uuid) if domain else None,
        keeps.text(pool.name) if pool else None,
        keeps.text(event.type) if event else None,
        keeps.text(event.device) if event and event.device else None,
    )
    kind = str(record.kind)
    return (
        kind,
        keeps.text(record.host),
        about,
        None if blind.times else record.time_ms,
        "" if kind in blind.collects else keeps.text(record.collect),
    )


def _identity(piece: Stored, blind: _Blind) -> Identity:
    kind = str(piece.kind)
    return (
        kind,
        piece.host,
        piece.subject,
        None if blind.times else piece.time_ms,
        "" if kind in blind.collects or piece.collect is None else piece.collect,
    )


def _expect(record: Record, keeps: Keeps) -> Expected:
    whole: dict[str, Value] = {**forms.flat(record), **record.params}
    rates = {*_rate_keys(record), *record.derived}
    remarks = {key for key in whole if key.startswith(_REMARKS)}
    texts = {key for key, value in whole.items() if isinstance(value, str)}
    loose = {
        *(() if keeps.rates else {*rates, "interval_s"}),
        *(() if keeps.remarks else remarks),
        *(() if keeps.texts else texts),
    }
    required = {*record.params, *rates, *_REQUIRED_REMARKS.intersection(remarks)} - loose
    name = keeps.text(record.domain.name) if record.domain else None
    return Expected(
        record,
        _written({key: whole[key] for key in whole if key in required}, keeps),
        _written({key: whole[key] for key in whole if key not in loose}, keeps),
        frozenset(_key_written(key, keeps) for key in loose),
        name,
    )


def _rate_keys(record: Record) -> Iterator[str]:
    for key in record.rates:
        field, device = split_key(key)
        yield key_of(field + forms.RATE, device)


def _written(values: Mapping[str, Any], keeps: Keeps) -> dict[str, Value]:
    """Write keys and texts as the store does."""
    return {
        _key_written(key, keeps): keeps.text(value) if isinstance(value, str) else value
        for key, value in values.items()
    }


def _key_written(key: str, keeps: Keeps) -> str:
    field, device = split_key(key)
    return key if device is None else f"{field}[{keeps.text(device)}]"


def _merged(before: Expected | None, now: Expected) -> Expected:
    """Put together what is one record to a store that does not keep the time or the collect block."""
    if before is None or before.record.collect == now.record.collect:
        return now
    return Expected(
        now.record,
        {**before.values, **now.values},
        {**before.allowed, **now.allowed},
        before.loose | now.loose,
        now.name,
    )


def _put_together(pieces: Sequence[Stored], blind: _Blind) -> tuple[dict[Identity, _Held], list[tuple[Identity, str]]]:
    held: dict[Identity, _Held] = {}
    twice: list[tuple[Identity, str]] = []
    for piece in pieces:
        identity = _identity(piece, blind)
        so_far = held.get(identity)
        if so_far is None:
            so_far = held[identity] = _Held({}, set())
        elif not piece.values:
            twice.append((identity, "itself"))
        twice += ((identity, key) for key in piece.values if key in so_far.values)
        so_far.values.update(piece.values)
        if piece.name is not None:
            so_far.names.add(piece.name)
    return held, twice


def _compare(identity: Identity, wanted: Expected, held: _Held, keeps: Keeps, *, is_reported: bool) -> Iterator[str]:
    for key, value in held.values.items():
        if key in wanted.allowed:
            given = wanted.allowed[key]
            if not _alike(given, value, keeps):
                yield f"{_say(identity)} has {printable(key)} = {_show(value)}, written was {_show(given)}"
        elif key not in wanted.loose and not key.startswith(_LABEL) and (keeps.rates or not _is_taken(key)):
            yield f"{_say(identity)} has {printable(key)} = {_show(value)}, and nobody wrote it"
    lost = [key for key in wanted.values if key not in held.values]
    if lost and not is_reported:
        yield f"{_say(identity)} lacks {printable(', '.join(lost))}, and the sink did not report it"
    if wanted.name is not None and held.names and held.names != {wanted.name}:
        yield f"{_say(identity)} is named {printable(', '.join(sorted(held.names)))}, not {printable(wanted.name)}"


def _is_taken(key: str) -> bool:
    """Whether a value is a rate or derived: a store that takes these itself may have more of them than were written."""
    field = split_key(key)[0]
    return field in DERIVED or field.endswith(forms.RATE)


def _alike(written: Value, found: Value, keeps: Keeps) -> bool:
    """Compare exactly, numbers as numbers; what is no number is like itself."""
    if isinstance(written, str) or isinstance(found, str):
        return written == found
    if written != written:  # noqa: PLR0124 - NaN
        return found != found  # noqa: PLR0124
    return written == found or (
        keeps.tolerance > 0 and math.isclose(float(written), float(found), rel_tol=keeps.tolerance)
    )


def _say(identity: Identity) -> str:
    kind, host, about, time_ms, _collect = identity
    return printable(f"the {kind} {about or host!r} at {time_ms}" if time_ms is not None else f"the {kind} {about!r}")


def _show(value: Value) -> str:
    return printable(repr(value), 80)
