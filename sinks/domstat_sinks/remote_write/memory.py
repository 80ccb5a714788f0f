"""What records do not say themselves: labels between their travels, who was there a tick ago, what has happened so far.

A write that fails comes again, and what is made of it must be the very same then: counts that went on meanwhile would
be other values of one moment, which no store takes. So a write works on a copy, which is kept if the write is done.
"""

from __future__ import annotations

from msgspec import Struct

from domstat.model import Record
from domstat_sinks.prometheus.subjects import About, StreamName, Subject

SUBJECTS_MIN = 1_024
"""Guests and pools whose labels are remembered at least, before those that are gone are looked for."""

COUNTS_MAX = 4_096
"""Events and gaps counted apart, by host, type and reason; of what is beyond it nobody counts anything."""

STREAMS_MAX = 4_096
"""Streams remembered, one or two a host; beyond it all are forgotten, and nobody's end is noticed once."""

SPEAKS_FOR_MS = 5 * 60_000
"""How long a stream that has fallen silent still is the one to tell of a subject: as long as Prometheus looks back."""


class Told(Struct, frozen=True, gc=False):
    """What was last said of a guest or a pool beside its figures: labels of whole series, written."""

    infos: tuple[bytes, ...]
    """Those whose value is 1."""
    partial: bytes
    """The one that says whether something was left out; empty for a pool."""
    about: About
    name: str


class Ticks:
    """Who was in a stream's last whole tick, and who is in the one that is being told."""

    __slots__ = ("before", "now")

    def __init__(self) -> None:
        self.before: dict[Subject, Record] = {}
        self.now: dict[Subject, Record] = {}


class Memory:
    """See the module's text."""

    def __init__(self) -> None:
        self.told: dict[Subject, Told] = {}
        self.events: dict[tuple[str, str], int] = {}
        """How many, by host and type."""
        self.gaps: dict[tuple[str, str, str], tuple[int, int]] = {}
        """How many and how many milliseconds in all, by host, collect and reason."""
        self._abouts: dict[Subject, About] = {}
        self._abouts_max = SUBJECTS_MIN
        self._ticks: dict[StreamName, Ticks] = {}
        self._speakers: dict[Subject | str, tuple[StreamName, int]] = {}

    def copy(self) -> Memory:
        """Return one that goes on by itself."""
        other = Memory()
        other.told, other._abouts, other._speakers = self.told.copy(), self._abouts.copy(), self._speakers.copy()
        other.events, other.gaps, other._abouts_max = self.events.copy(), self.gaps.copy(), self._abouts_max
        for stream, ticks in self._ticks.items():
            copied = other._ticks[stream] = Ticks()
            # What was before is replaced as a whole, and never changed.
            copied.before, copied.now = ticks.before, ticks.now.copy()
        return other

    def ticks(self, stream: StreamName) -> Ticks:
        """Return what is known of a stream's ticks."""
        if len(self._ticks) >= STREAMS_MAX and stream not in self._ticks:
            self._ticks.clear()
        return self._ticks.setdefault(stream, Ticks())

    def speaks(self, subject: Subject | str, stream: StreamName, time_ms: int) -> bool:
        """Whether it is *stream* that tells what several could: two would tell it at times that are out of order."""
        speaker, last_ms = self._speakers.get(subject, (stream, time_ms))
        if speaker != stream and time_ms - last_ms <= SPEAKS_FOR_MS:
            return False
        self._speakers[subject] = (stream, time_ms)
        return True

    def about(self, subject: Subject, record: Record) -> About:
        """Return the labels and devices of what *record* is about; they may travel with it."""
        known = self._abouts.get(subject, _UNKNOWN)
        if record.labels is None and record.devices is None:
            return known
        said = About(
            known.labels if record.labels is None else record.labels,
            known.devices if record.devices is None else record.devices,
        )
        self._abouts[subject] = said
        if len(self._abouts) > self._abouts_max:
            self._forget()
        return said

    def gone(self, stream: StreamName) -> list[tuple[Subject, Record]]:
        """End a stream's tick; return who was in the one before and is in no stream any more."""
        ticks = self.ticks(stream)
        gone = [
            (subject, ticks.before[subject])
            for subject in ticks.before.keys() - ticks.now.keys()
            if not any(
                subject in each.before or subject in each.now for each in self._ticks.values() if each is not ticks
            )
        ]
        ticks.before, ticks.now = ticks.now, {}
        return sorted(gone, key=lambda one: one[0])

    def count(self, record: Record) -> None:
        """Count an event or a gap."""
        if record.event is not None:
            event = (record.host, record.event.type)
            if event in self.events or len(self.events) < COUNTS_MAX:
                self.events[event] = self.events.get(event, 0) + 1
        if record.gap is not None:
            gap = (record.host, record.collect, record.gap.reason)
            if gap in self.gaps or len(self.gaps) < COUNTS_MAX:
                number, lasted_ms = self.gaps.get(gap, (0, 0))
                self.gaps[gap] = (number + 1, lasted_ms + max(0, record.gap.end - record.gap.start))

    def _forget(self) -> None:
        """Forget the labels of whoever is in no stream any more, and who told of them."""
        there = {subject for ticks in self._ticks.values() for each in (ticks.before, ticks.now) for subject in each}
        self._abouts = {subject: about for subject, about in self._abouts.items() if subject in there}
        self._abouts_max = max(SUBJECTS_MIN, 2 * len(self._abouts))
        self._speakers = {key: said for key, said in self._speakers.items() if isinstance(key, str) or key in there}


_UNKNOWN = About(None, None)
