"""The latest of everything: of every stream its newest tick, of every guest what its devices are, and some counts.

Taking a tick in costs next to nothing: batches are kept as they come, and looked into only when somebody scrapes. A
large host's tick comes in several batches; until it is whole, those of its guests that have not come yet are shown as
they were in the last whole one. It is whole with the agent's own record, which is the last; a survey is one batch.

What a stream said is shown until it is stale: for as long as the sink's setting says, and for three of the stream's
own intervals if these are longer. The age of a tick is what its stamp says when it comes, since a tick that waited in
a journal is old already, and from then on by a clock that nobody sets.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence

from msgspec import Struct

from domstat.model import Batch, Kind, Record, Value
from domstat_sinks.prometheus.subjects import SURVEY, About, StreamName, Subject, subject_of

INTERVALS_SHOWN = 3
"""Intervals without a tick after which a stream is stale: two may be late, or be left out by a busy host."""

FIRST_SHOWN = 3
"""Times the staleness of the setting that a stream's first tick is shown: nobody knows its interval yet."""

STREAMS_MAX = 4_096
"""Streams remembered, one or two a host; beyond it the longest silent one is forgotten."""

PARTS_MAX = 1_024
"""Batches of one tick: as many as the largest host is asked in, 16 of 16,384 guests at a time."""

COUNTS_MAX = 4_096
"""Events and gaps counted apart, by host, type and reason; of what is beyond it nobody counts anything."""

ABOUTS_MIN = 1_024
"""Guests and pools whose labels are remembered at least, before those that are gone are looked for."""

AGENT_SAYS_FOR_MS = 15 * 60_000
"""How long a figure that the agent gives of itself only now and then (its cost, every 5 minutes) is shown."""


class Latest(Struct, frozen=True):
    """One stream as it is now: its newest tick, the oldest batch first; none of it once it is stale.

    *agent* is what the agent said of itself of late.
    """

    name: StreamName
    time_ms: int
    batches: tuple[Batch, ...]
    agent: dict[str, Value]


class Counts(Struct, frozen=True):
    """What has happened since the sink was opened."""

    events: dict[tuple[str, str], int]
    """By host and type."""
    gaps: dict[tuple[str, str, str], tuple[int, int]]
    """By host, collect and reason: how many, and milliseconds of them all."""


class Snapshot(Struct, frozen=True):
    """Everything at one moment; nothing in it changes any more.

    *fresh_until_s*: when the first stream in it gets stale, on the clock the store is told.
    """

    version: int
    fresh_until_s: float
    streams: tuple[Latest, ...]
    abouts: dict[tuple[StreamName, Subject], About]
    counts: Counts


class _Part(Struct, frozen=True):
    """One batch, and when it was new."""

    batch: Batch
    at_s: float


class Store:
    """Keeps the latest; one thread adds, any number looks."""

    def __init__(self, stale_after_s: float) -> None:
        self._stale_after_s = stale_after_s
        self._lock = threading.Lock()
        self._version = 0
        self._streams: dict[StreamName, _Stream] = {}
        self._abouts: dict[tuple[StreamName, Subject], About] = {}
        self._abouts_max = ABOUTS_MIN
        self._events: dict[tuple[str, str], int] = {}
        self._gaps: dict[tuple[str, str, str], tuple[int, int]] = {}

    @property
    def version(self) -> int:
        """Grows with everything that is added."""
        return self._version

    def add(self, batches: Sequence[Batch], now_s: float, now_ms: int) -> None:
        """Take *batches*, which came at *now_s* of a clock that is never set back and *now_ms* of the wall clock."""
        with self._lock:
            for batch in batches:
                occurred = self._note(batch)
                if occurred < len(batch.records) or not batch.records:
                    age_s = max(0.0, (now_ms - batch.stamp.time_ms) / 1000)
                    self._stream(batch).add(batch, now_s - age_s)
            if len(self._abouts) > self._abouts_max:
                self._forget_abouts()
            self._version += 1

    def snapshot(self, now_s: float) -> Snapshot:
        """Return everything as it is at *now_s*; what is stale by then is let go of."""
        with self._lock:
            for stream in self._streams.values():
                stream.let_go(now_s, self._stale_after_s)
            fresh_until = [stream.fresh_until_s(self._stale_after_s) for stream in self._streams.values()]
            return Snapshot(
                self._version,
                min(fresh_until, default=math.inf),
                tuple(stream.latest() for stream in self._streams.values()),
                self._abouts.copy(),
                Counts(self._events.copy(), self._gaps.copy()),
            )

    def _stream(self, batch: Batch) -> _Stream:
        stream = self._streams.get(batch.stream)
        if stream is None:
            if len(self._streams) >= STREAMS_MAX:
                del self._streams[min(self._streams, key=lambda name: self._streams[name].seen_s)]
            stream = self._streams[batch.stream] = _Stream(batch.stream)
        return stream

    def _note(self, batch: Batch) -> int:
        """Take note of what travels seldom and of what happened; return how many records are events and gaps."""
        occurred = 0
        for record in batch.records:
            if record.labels is not None or record.devices is not None:
                self._abouts[batch.stream, subject_of(record)] = About(record.labels, record.devices)
            elif record.event is not None or record.gap is not None:
                occurred += 1
                self._count(record)
        return occurred

    def _count(self, record: Record) -> None:
        if record.event is not None:
            event = (record.host, record.event.type)
            if event in self._events or len(self._events) < COUNTS_MAX:
                self._events[event] = self._events.get(event, 0) + 1
        if record.gap is not None:
            gap = (record.host, record.collect, record.gap.reason)
            if gap in self._gaps or len(self._gaps) < COUNTS_MAX:
                number, lasted_ms = self._gaps.get(gap, (0, 0))
                self._gaps[gap] = (number + 1, lasted_ms + max(0, record.gap.end - record.gap.start))

    def _forget_abouts(self) -> None:
        """Forget the labels and devices of whoever is in no stream any more."""
        there = {(stream.name, subject) for stream in self._streams.values() for subject in stream.subjects()}
        self._abouts = {key: about for key, about in self._abouts.items() if key in there}
        self._abouts_max = max(ABOUTS_MIN, 2 * len(self._abouts))


class _Stream:
    """A stream's newest tick, and what of the ticks before is shown while that is not whole."""

    def __init__(self, name: StreamName) -> None:
        self.name = name
        self.seen_s = -math.inf
        """When the newest batch was new, on the clock that the store is told."""
        self._parts: list[_Part] = []
        self._whole = True
        """Whether these are a whole tick."""
        self._seen: set[Subject] = set()
        """Who is in them, if they are not."""
        self._before: list[_Part] = []
        """The last whole tick, if they are not."""
        self._cut: list[_Part] = []
        """A newer one that never was whole: its last calls failed."""
        self._newest_ms = 0
        self._began_ms: int | None = None
        self._intervals_s: tuple[float, ...] = ()
        """The newest two, as far as known: one of them may be an outage."""
        self._agent: dict[str, tuple[Value, int]] = {}

    def add(self, batch: Batch, at_s: float) -> None:
        """Take a batch that was new at *at_s*."""
        last = batch.records[-1] if batch.records else None
        ended = last is None or last.kind is Kind.AGENT or self.name[1] == SURVEY
        subjects = set() if ended and self._whole else {subject_of(record) for record in batch.records}
        if self._whole or not self._seen.isdisjoint(subjects) or len(self._parts) >= PARTS_MAX:
            self._begin(batch.stamp.time_ms)
        self._parts.append(_Part(batch, at_s))
        self._whole = ended
        if ended:
            self._before, self._cut, self._seen = [], [], set()
        else:
            self._seen |= subjects
        if last is not None and last.kind is Kind.AGENT:
            self._hear_agent(last)
        self.seen_s, self._newest_ms = at_s, batch.stamp.time_ms

    def let_go(self, now_s: float, stale_after_s: float) -> None:
        """Let go of what is stale."""
        since_s = now_s - self._shown_for_s(stale_after_s)
        for parts in (self._before, self._cut, self._parts):
            parts[:] = [part for part in parts if part.at_s > since_s]
        if not self._parts:
            self._agent = {}

    def fresh_until_s(self, stale_after_s: float) -> float:
        """Return when the first batch of those that are shown gets stale, on the clock that the store is told."""
        return min((part.at_s for part in self._shown()), default=math.inf) + self._shown_for_s(stale_after_s)

    def latest(self) -> Latest:
        """Return what is shown."""
        agent = {key: value for key, (value, _) in self._agent.items()}
        return Latest(self.name, self._newest_ms, tuple(part.batch for part in self._shown()), agent)

    def subjects(self) -> Iterator[Subject]:
        """Name everybody who is shown."""
        return (subject_of(record) for part in self._shown() for record in part.batch.records)

    def _shown(self) -> list[_Part]:
        return [*self._before, *self._cut, *self._parts]

    def _shown_for_s(self, stale_after_s: float) -> float:
        if not self._intervals_s:
            return FIRST_SHOWN * stale_after_s
        return max(stale_after_s, INTERVALS_SHOWN * min(self._intervals_s))

    def _begin(self, time_ms: int) -> None:
        """Begin the tick of which the first batch is of *time_ms*."""
        if self._whole:
            self._before = self._parts
        else:
            self._cut = self._parts
        self._parts, self._seen = [], set()
        if self._began_ms is not None and time_ms > self._began_ms:
            self._intervals_s = (*self._intervals_s[-1:], (time_ms - self._began_ms) / 1000)
        self._began_ms = time_ms

    def _hear_agent(self, record: Record) -> None:
        since_ms = record.time_ms - AGENT_SAYS_FOR_MS
        self._agent = {key: said for key, said in self._agent.items() if said[1] >= since_ms}
        self._agent |= {key: (value, record.time_ms) for key, value in record.params.items()}
