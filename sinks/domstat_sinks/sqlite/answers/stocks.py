"""What the tiers of a stream have, looked up in the file."""

from __future__ import annotations

import sqlite3

from domstat.history import EVER_MS, Span
from domstat_sinks.sqlite.answers.plan import Stock
from domstat_sinks.sqlite.rollups.rollup import FIVE_MINUTES_MS, HOUR_MS

RAW = "raw"
TIERS = {1: ("five_minutes", FIVE_MINUTES_MS), 2: ("hours", HOUR_MS)}
"""By tier, what it is called in the settings, and how long its buckets are."""

_FIRST = (
    "SELECT min(first) FROM (SELECT min(start_ms) AS first FROM segment WHERE stream = ?1"
    " UNION ALL SELECT min(time_ms) FROM head WHERE stream = ?1 AND id > (SELECT sealed FROM stream WHERE id = ?1))"
)


def ticks_of(connection: sqlite3.Connection, stream: int) -> Stock | None:
    """Return what there is of a stream's ticks, None for nothing."""
    (first,) = connection.execute(_FIRST, (stream,)).fetchone()
    return None if first is None else Stock(RAW, stream, 1, Span(first, EVER_MS))


def buckets_of(connection: sqlite3.Connection, stream: int) -> list[Stock]:
    """Return what its tiers have, coarsest first.

    A tick that is not sealed may be of any bucket, where a clock was set back: buckets before the oldest of these are
    complete, unless they are open still.
    """
    found = connection.execute(
        "SELECT min(r.open_ms, ifnull((SELECT min(h.time_ms) FROM head h WHERE h.stream = s.id AND h.id > s.sealed),"
        " r.open_ms)) FROM stream s JOIN rolled r ON r.stream = s.id WHERE s.id = ?",
        (stream,),
    ).fetchone()
    if found is None:
        return []
    tiers = connection.execute(
        "SELECT t.tier, t.id FROM stream s JOIN stream t ON t.host = s.host AND t.collect = s.collect AND t.tier > 0"
        " WHERE s.id = ? ORDER BY t.tier DESC",
        (stream,),
    ).fetchall()
    stocks = []
    for tier, number in tiers:
        name, width_ms = TIERS[tier]
        (first,) = connection.execute(_FIRST, (number,)).fetchone()
        if first is not None:
            span = Span(first // width_ms * width_ms, found[0] // width_ms * width_ms)
            stocks.append(Stock(name, number, width_ms, span))
    return stocks
