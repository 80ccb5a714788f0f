"""Records as rows, before names have numbers. Pure.

What PostgreSQL cannot hold is found here, so that no write fails of it. A character NUL and half a surrogate pair are
in no text of its: they are written in ways that show, see :func:`shown`; whatever has a name so is told apart by a hash
of the name itself. Years beyond 9999 are no time that others can read. What is no number (NaN, infinity) is left out:
it is in no sum that anybody wants.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec
from msgspec import Struct

from domstat.forms import INT64_MAX
from domstat.model import Batch, Kind, Record, Value

TIME_MS_MAX = 253_402_300_799_999
"""The last millisecond of the year 9999; the first that is taken is that of 1970."""

NULL = "NULL"
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")

Keys: TypeAlias = tuple[str, ...]
Source: TypeAlias = tuple[Batch, Record]


class SubjectName(NamedTuple):
    """Whom a record is about."""

    host: str
    collect: str
    kind: str
    uuid: str | None
    pool: str | None


class Arrays(NamedTuple):
    """A record's values as PostgreSQL writes arrays, None for one with nothing in it; places are those of its keys."""

    ints: str | None
    floats: str | None
    texts: str | None
    rates: str | None


class Row(NamedTuple):
    """One record, for the tables that it has something for.

    *more* is what goes into ``event``, ``gap`` or ``detail``: the table's own columns, in their order.
    """

    subject: SubjectName
    time_ms: int
    domain: str | None
    keys: Keys
    arrays: Arrays | None
    event: tuple[str, str | None, str | None] | None = None
    gap: tuple[int, int, str] | None = None
    detail: tuple[str | None, str | None] | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """What the row replaces if it comes again."""
        return (self.subject, self.time_ms, self.event and self.event[:2])


class Rows(Struct):
    """What becomes of records: the *rows* to be stored, each with where it came from, and what cannot be."""

    rows: list[tuple[Row, Source]]
    rejected: list[tuple[Batch, Record, str]]
    left_out: list[tuple[Record, str]]


def rows_of(batches: Iterable[Batch]) -> Rows:
    """Make rows of all of *batches*; of a record that comes twice the last one."""
    found: dict[tuple[Any, ...], tuple[Row, Source]] = {}
    made = Rows([], [], [])
    for batch in batches:
        for record in batch.records:
            if fault := _fault(record):
                made.rejected.append((batch, record, fault))
                continue
            row = _row(record, made.left_out)
            found[row.key] = (row, (batch, record))
    made.rows.extend(found.values())
    return made


def digest(*parts: str | int | None) -> bytes:
    """Return 16 bytes that stand for *parts* alone."""
    return hashlib.blake2b(ascii(parts).encode(), digest_size=16).digest()


def _fault(record: Record) -> str:
    """Say why a record cannot be stored at all."""
    if 0 <= record.time_ms <= TIME_MS_MAX:
        return ""
    return f"its time is {record.time_ms} ms since 1970, which is in none of the years to 9999"


def _subject(record: Record) -> SubjectName:
    domain, pool = record.domain, record.pool
    uuid = domain.uuid if domain is not None else None
    return SubjectName(record.host, record.collect, str(record.kind), uuid, pool.name if pool is not None else None)


def _row(record: Record, left_out: list[tuple[Record, str]]) -> Row:
    keys, arrays = _figures(record, left_out)
    event, gap = record.event, record.gap
    has_more = event is not None or gap is not None
    has_details = record.labels is not None or record.devices is not None
    return Row(
        subject=_subject(record),
        time_ms=record.time_ms,
        domain=record.domain.name if record.domain is not None else None,
        keys=keys,
        arrays=arrays if keys or not has_more else None,
        event=(event.type, event.device, event.reason) if event is not None else None,
        gap=(gap.start, gap.end, gap.reason) if gap is not None else None,
        detail=(_json(record.labels), _json(record.devices)) if record.kind is Kind.GUEST and has_details else None,
    )


def _json(said: Any) -> str | None:
    return None if said is None else msgspec.json.encode(_all_shown(said), order="sorted").decode()


def _figures(record: Record, left_out: list[tuple[Record, str]]) -> tuple[Keys, Arrays]:
    params, derived = record.params, record.derived
    values: list[Value] = [*params.values(), *derived.values()]
    keys: Keys = (*params, *derived)
    texts: dict[int, str] = {}
    floats: dict[int, str] = {}
    ints = [NULL] * len(keys)
    for at, value in enumerate(values):
        kind = type(value)
        if kind is int and -INT64_MAX <= value <= INT64_MAX:  # type: ignore[operator]  # an int
            ints[at] = str(value)
        else:
            fault = _odd(value, at, ints, floats, texts)
            if fault:
                left_out.append((record, f"{keys[at]}: {fault}"))
    if record.partial is not None:
        at, keys = len(keys), (*keys, "partial")
        _odd(",".join(record.partial.missing), at, ints, floats, texts)
        if record.partial.age_s is not None:
            _odd(record.partial.age_s, at, ints, floats, texts)
    rates = _rates(record, keys, left_out)
    return keys, Arrays(_array(ints), _sparse(floats), _sparse(texts), _array(rates))


def _odd(value: Value, at: int, ints: list[str], floats: dict[int, str], texts: dict[int, str]) -> str:
    """Put a value where it belongs that is no usual whole number, or say why it cannot be."""
    if isinstance(value, str):
        texts[at] = _quoted(shown(value))
    elif isinstance(value, float):
        if not math.isfinite(value):
            return f"{value} is no number"
        floats[at] = repr(value)
    elif -INT64_MAX - 1 <= value <= INT64_MAX:
        ints[at] = str(int(value))
    else:
        texts[at] = str(value)
        floats[at] = repr(float(value))
    return ""


def _rates(record: Record, keys: Keys, left_out: list[tuple[Record, str]]) -> list[str]:
    rates = record.rates
    if not rates:
        return []
    get = rates.get
    if math.isfinite(sum(rates.values())):
        return [NULL if (rate := get(key)) is None else repr(rate) for key in keys]
    wrong = {key for key in keys if not math.isfinite(get(key, 0.0))}
    left_out.extend((record, f"{key}: its rate is no number") for key in wrong)
    return [NULL if (rate := get(key)) is None or key in wrong else repr(rate) for key in keys]


def _array(items: Sequence[str]) -> str | None:
    """Write an array, without what is missing at its end; what is behind the end is missing too."""
    count = len(items)
    while count and items[count - 1] is NULL:
        count -= 1
    return "{" + ",".join(items[:count]) + "}" if count else None


def _sparse(items: dict[int, str]) -> str | None:
    if not items:
        return None
    return _array([items.get(at, NULL) for at in range(max(items) + 1)])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def shown(text: str) -> str:
    r"""Write what PostgreSQL's texts cannot hold so that it is seen: NUL as U+2400, half a surrogate pair as \udc80."""
    return _UNSTORABLE.sub(_stand_in, text)


def _stand_in(found: re.Match[str]) -> str:
    return "\N{SYMBOL FOR NULL}" if found[0] == "\0" else ascii(found[0])[1:-1]


def _all_shown(said: Any) -> Any:
    if isinstance(said, dict):
        return {shown(name): _all_shown(value) for name, value in said.items()}
    return shown(said)
