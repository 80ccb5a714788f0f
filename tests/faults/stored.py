"""What the history has, beside what the stream had, and what comes of adding it up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import astuple

from domstat.model import Kind, Record, key_of, split_key
from domstat_sinks.sqlite import connect


def stored_otherwise(folder: Path, records: Sequence[Record]) -> int:
    """Count what the history has otherwise than the stream had it: guests' values and rates, events, gaps."""
    connection = connect(folder / "history.db")
    count = 0
    for view, said in (("samples", "params"), ("rates", "rates")):
        streamed = {
            (record.time_ms, record.host, record.domain.uuid, key): value
            for record in records
            if record.kind is Kind.GUEST and record.domain is not None
            for key, value in getattr(record, said).items()
        }
        rows = connection.execute(f"SELECT time_ms, host, uuid, field, device, value FROM {view} WHERE kind = 'guest'")
        stored = {(*series, key_of(field, device)): value for *series, field, device, value in rows}
        count += sum(streamed.get(key) != stored.get(key) for key in streamed.keys() | stored.keys())
    happened = {
        (record.time_ms, record.host, *astuple(record.domain), *astuple(record.event))
        for record in records
        if record.event is not None and record.domain is not None
    }
    rows = connection.execute("SELECT time_ms, host, uuid, domain, incarnation, type, reason, device FROM events")
    count += len(happened.symmetric_difference(rows))
    gaps = {(*astuple(record.gap), record.host, record.collect) for record in records if record.gap is not None}
    count += len(
        gaps.symmetric_difference(connection.execute("SELECT start_ms, end_ms, reason, host, collect FROM gaps"))
    )
    connection.close()
    return count


def integral(folder: Path, records: Sequence[Record], key: str, since_ms: float, until_ms: float) -> float:
    """Add up the stored rates of a guest's series, each times the time since the sample before.

    *records* are all of the guest's, from which that time is taken: it is measured by a clock that knows when, within
    a call, the guest had its turn. The samples that count were taken after *since_ms*, up to *until_ms*.
    """
    field, device = split_key(key)
    (uuid,) = {record.domain.uuid for record in records if record.domain is not None}
    connection = connect(folder / "history.db")
    rates = dict(
        connection.execute(
            "SELECT time_ms, value FROM rates WHERE kind = 'guest' AND uuid = ? AND field = ? AND device IS ?",
            (uuid, field, device),
        )
    )
    connection.close()
    total = elapsed_s = 0.0
    for record in records:
        elapsed_s += record.interval_s or 0.0
        if key in record.params:
            if since_ms < record.time_ms <= until_ms:
                total += rates.get(record.time_ms, 0.0) * elapsed_s
            elapsed_s = 0.0
    return total
