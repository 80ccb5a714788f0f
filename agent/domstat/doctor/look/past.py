"""Looking back: what a history knows of the agent that wrote it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from domstat.config import SinkConfig
from domstat.doctor.scene import OutageSeen, Past
from domstat.history import Aggregate, HasHistory, History, HistoryError, Select, Series, Span
from domstat.model import Kind

DAY_MS = 86_400_000

OUTAGES_MS = 30 * DAY_MS
STEPS_MS = 7 * DAY_MS
CALLS_MS = DAY_MS
"""How far back is looked: for outages as long as ticks are kept, for the clock while it is of interest, for calls as
long as a host's load repeats itself."""

SHARE = 0.99
"""Of calls: one in a hundred may be late."""

TOLERANCE = 0.01
"""Roll-ups are near enough: a history of months is then read in a moment."""

LAG, BACKLOG, DROPPED = (
    "agent.sink.lag.time",
    "agent.sink.backlog",
    ("agent.sink.dropped.size", "agent.sink.dropped.age"),
)
STEPS, CALL = "agent.clock_steps", "agent.call.time"


def see_past(sinks: Sequence[SinkConfig], state_dir: Path) -> Past:
    """Ask the first history there is what it knows of the agent."""
    why = "no sink keeps a history"
    for sink in sinks:
        opener: Any = sink.sink
        if not isinstance(opener, HasHistory):
            continue
        try:
            with opener.history(sink.settings, state_dir) as history:
                return read_past(history, time.time_ns() // 1_000_000)
        except HistoryError as error:
            why = str(error)
    return Past(why)


def read_past(history: History, now_ms: int) -> Past:
    """Read what is of interest. Raises HistoryError."""
    worst = _by_sink(history, Aggregate.MAX, (LAG, BACKLOG), now_ms)
    dropped = _by_sink(history, Aggregate.INCREASE, DROPPED, now_ms)
    outages = tuple(
        OutageSeen(
            sink,
            figures.get(LAG, 0) / 1e9,
            int(figures.get(BACKLOG, 0)),
            int(sum(dropped.get(sink, {}).values())),
        )
        for sink, figures in sorted(worst.items())
    )
    steps = history.read(_select(Aggregate.INCREASE, (STEPS,), now_ms - STEPS_MS))
    return Past("", _calls(history, now_ms), outages, int(max(map(_largest, steps), default=0)))


def _select(aggregate: Aggregate | None, fields: tuple[str, ...], since_ms: int) -> Select:
    return Select(
        span=Span(since_ms=since_ms), kinds=(Kind.AGENT,), fields=fields, aggregate=aggregate, tolerance=TOLERANCE
    )


def _by_sink(
    history: History, aggregate: Aggregate, fields: tuple[str, ...], now_ms: int
) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for series in history.read(_select(aggregate, fields, now_ms - OUTAGES_MS)):
        figures = found.setdefault(series.device or "", {})
        figures[series.field] = max(figures.get(series.field, 0), _largest(series))
    return found


def _calls(history: History, now_ms: int) -> dict[tuple[str, str], float]:
    asked = history.quantiles(_select(None, (CALL,), now_ms - CALLS_MS), (SHARE,))
    return {(found.subject.host, found.subject.collect): found.values[0] / 1e9 for found in asked if found.count}


def _largest(series: Series) -> float:
    return float(max(series.values.tolist(), default=0))
