"""A scenario's values as the sink's own roll-ups, many buckets at once.

The sink makes a bucket of the ticks that lie in it. Here each step of a scenario is one tick, which the sink's own
functions take increments, rates and derived values of; what comes of it counts for as many ticks as a step would have
had. So a bucket of a step is what ticks at an even pace make of it, but that rates and gauges keep their pace within
it: ``max_rate`` alone is set somewhat higher.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from domstat.catalog import look_up
from domstat.model import split_key
from domstat_bench.scenario_courses import Floats, Ints
from domstat_bench.scenario_values import Stream, Subject
from domstat_sinks.sqlite.heads.layout import Column, Entry
from domstat_sinks.sqlite.rollups.derived import derive
from domstat_sinks.sqlite.rollups.increments import Before, Run, Stamps, Taken, take
from domstat_sinks.sqlite.rollups.keyfields import find_keyed, key_values
from domstat_sinks.sqlite.rollups.recipes import COUNTERS, Sort
from domstat_sinks.sqlite.rollups.rollplan import Plan, Real, plan_part
from domstat_sinks.sqlite.rollups.rollstats import Counters, Levels, Rollup, Texts, Values
from domstat_sinks.sqlite.rollups.stretches import Part

PEAK = 1.25
"""How far the greatest rate of a bucket is above its mean."""

_NS_PER_MS = 1_000_000
_BEGUN = 10**9
"""What a counter says when its guest comes into sight."""


class Stretch(Struct, frozen=True):
    """Buckets in which nobody comes or goes, one a step.

    *values* are those of the key fields that sketches are made of, a row a bucket; *keyed* names them.
    """

    rollup: Rollup
    values: Real
    keyed: tuple[str, ...]


def columns_of(subject: Subject) -> tuple[Column, ...]:
    """Return a subject's columns as the sink knows them."""
    pairs = map(split_key, subject.keys)
    return tuple(Column(field, device, look_up(field).type) for field, device in pairs)


class _State:
    """One subject's counters as they stand: now, and in the last step that was seen, which ended at *seen_ms*."""

    def __init__(self, subject: Subject) -> None:
        self.columns = columns_of(subject)
        self.entry = Entry(subject.kind, subject.uuid, subject.name, None)
        self.is_counter = np.array([look_up(column.field).kind == "counter" for column in self.columns])
        self.counted = np.full(len(self.columns), _BEGUN, dtype=np.int64)
        self.seen = self.counted
        self.seen_ms = subject.from_ms

    def add_up(self, told: Ints) -> Ints:
        """Return what a subject says in some steps, of which *told* says by how much counters grow."""
        words = told.copy()
        words[:, self.is_counter] = np.cumsum(told[:, self.is_counter], axis=0) + self.counted[self.is_counter]
        self.counted = words[-1].copy()
        return words

    def see(self, last: Ints, ends_ms: int) -> None:
        """Take note of the last step that was seen."""
        self.seen, self.seen_ms = last, ends_ms


class Stretches:
    """Makes stretches of one stream, window by window, in their order."""

    def __init__(
        self, stream: Stream, gaps: Sequence[tuple[int, int]], step_ms: int, tick_ms: int, begin_ms: int
    ) -> None:
        """*gaps* are when nobody looked, *tick_ms* is how far ticks are apart, *begin_ms* where the first window is."""
        self._stream, self._gaps = stream, gaps
        self._step_ms, self._tick_ms = step_ms, tick_ms
        self._states = [_State(subject) for subject in stream.subjects]
        for state in self._states:
            state.seen_ms = max(state.seen_ms, begin_ms)
        self._parts: dict[tuple[int, ...], Part] = {}

    def window(self, from_ms: int, until_ms: int) -> Iterator[Stretch]:
        """Give the stretches of a window, which the last one's follow on."""
        times_ms = np.arange(from_ms, until_ms, self._step_ms, dtype=np.int64)
        told = self._stream.told(times_ms, self._step_ms)
        is_seen = self._is_seen(times_ms)
        for since_ms, to_ms in self._cuts(from_ms, until_ms):
            rows = slice((since_ms - from_ms) // self._step_ms, (to_ms - from_ms) // self._step_ms)
            present = self._present(since_ms, to_ms)
            words = [self._states[i].add_up(told[i][rows]) for i in present]
            kept = np.flatnonzero(is_seen[rows])
            if present and len(kept):
                yield self._stretch(present, [of[kept] for of in words], times_ms[rows][kept])

    def ticks(self, from_ms: int, until_ms: int) -> Iterator[tuple[int, list[tuple[int, list[int]]]]]:
        """Give single ticks, each with (subject, values) of all who are there; what windows made is followed on."""
        times_ms = np.arange(from_ms, until_ms, self._tick_ms, dtype=np.int64)
        told = self._stream.told(times_ms, self._tick_ms)
        is_seen = self._is_seen(times_ms)
        for since_ms, to_ms in self._cuts(from_ms, until_ms):
            rows = slice(-(-(since_ms - from_ms) // self._tick_ms), -(-(to_ms - from_ms) // self._tick_ms))
            present = self._present(since_ms, to_ms)
            words = {i: self._restarted(i, self._states[i].add_up(told[i][rows]), times_ms[rows]) for i in present}
            for row, time_ms in enumerate(times_ms[rows].tolist()):
                if present and is_seen[rows][row]:
                    yield time_ms, [(i, words[i][row]) for i in present]

    def _restarted(self, number: int, words: Ints, times_ms: Ints) -> list[list[int]]:
        """Let a subject's counters begin at 0 again where it was started anew."""
        is_counter = self._states[number].is_counter
        for at in self._stream.subjects[number].resets:
            row = int(np.searchsorted(times_ms, at))
            if 0 < row < len(times_ms):
                words[row:, is_counter] -= words[row, is_counter]
        said: list[list[int]] = words.tolist()
        return said

    def _is_seen(self, times_ms: Ints) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        is_seen = np.ones(len(times_ms), dtype=np.bool_)
        for from_ms, until_ms in self._gaps:
            is_seen &= (times_ms < from_ms) | (times_ms >= until_ms)
        return is_seen

    def _cuts(self, from_ms: int, until_ms: int) -> list[tuple[int, int]]:
        """Cut a window where anybody comes or goes."""
        edges = {from_ms, until_ms}
        edges.update(at for of in self._stream.subjects for at in (of.from_ms, of.until_ms) if from_ms < at < until_ms)
        return list(pairwise(sorted(edges)))

    def _present(self, since_ms: int, to_ms: int) -> list[int]:
        subjects = enumerate(self._stream.subjects)
        return [i for i, subject in subjects if subject.from_ms <= since_ms and subject.until_ms >= to_ms]

    def _stretch(self, present: list[int], words: list[Ints], times_ms: Ints) -> Stretch:
        states = [self._states[i] for i in present]
        part = self._part(present)
        ends_ms = times_ms + self._step_ms
        before = Before(
            np.concatenate([state.seen for state in states]).view(np.uint64),
            np.array([(int(ends_ms[0]) - state.seen_ms) * _NS_PER_MS for state in states])[part.plan.counter_records],
        )
        for state, said in zip(states, words, strict=True):
            state.see(said[-1].copy(), int(ends_ms[-1]))
        one_boot = np.ones(len(times_ms), dtype=np.int64)
        stamps = Stamps(ends_ms, ends_ms * _NS_PER_MS, one_boot, np.zeros(len(times_ms), dtype=np.int64))
        run = Run(part.plan, stamps, np.concatenate(words, axis=1).view(np.uint64))
        taken = take(run, before)
        derived = derive(run, taken.rates)
        weight = max(self._step_ms // self._tick_ms, 1)
        rollup = _rollup(run, taken, derived, times_ms, weight)
        anew = self._begun_anew(present, times_ms)
        return Stretch(
            _with_resets(rollup, part.plan, anew, self._step_ms, self._tick_ms) if anew else rollup,
            key_values(part.keyed, run, taken.rates, derived),
            part.keyed.fields,
        )

    def _part(self, present: list[int]) -> Part:
        key = tuple(present)
        if key not in self._parts:
            states = [self._states[i] for i in present]
            entries, columns = [state.entry for state in states], [state.columns for state in states]
            self._parts = {key: _whole_part(entries, columns)}
        return self._parts[key]

    def _begun_anew(self, present: list[int], times_ms: Ints) -> list[tuple[int, int]]:
        """Return (bucket, record) of all who were started anew in a bucket."""
        found = []
        for record, i in enumerate(present):
            for at in self._stream.subjects[i].resets:
                bucket = int(np.searchsorted(times_ms, at, side="right")) - 1
                if bucket >= 0 and at < times_ms[bucket] + self._step_ms:
                    found.append((bucket, record))
        return found


def _whole_part(entries: list[Entry], columns: list[tuple[Column, ...]]) -> Part:
    """Prepare records as one part, however many they are: their call takes no time, so that none has a place in it."""
    plan = plan_part(entries, columns, [0] * len(entries), 1)
    return Part(plan, find_keyed(plan))


def _rollup(run: Run, taken: Taken, derived: Floats, starts_ms: Ints, weight: int) -> Rollup:
    """Make buckets of a tick each, which counts as *weight* ticks; as :func:`.rollup.roll_up` does."""
    unsigned, signed, reals = (
        np.take(run.words, run.plan.words[sort], axis=1) for sort in (Sort.UNSIGNED, Sort.SIGNED, Sort.REAL)
    )
    nothing = np.zeros((len(starts_ms), 0), dtype=np.int64)
    return Rollup(
        scope=run.plan.scope,
        starts_ms=starts_ms,
        ticks=np.broadcast_to(np.int64(weight), (len(starts_ms), len(run.plan.places))),
        levels=(
            _levels(unsigned, weight),
            _levels(signed.view(np.int64), weight),
            _levels(np.hstack([reals.view(np.float64), derived]), weight),
        ),
        texts=Texts(nothing, nothing.view(np.uint64)),
        counters=Counters(taken.deltas, taken.real_deltas, taken.rates * PEAK, taken.spans_ns),
    )


def _levels(values: Values, weight: int) -> Levels:
    if values.dtype != np.float64:
        counts = np.broadcast_to(np.int64(weight), values.shape)
        return Levels(counts, values, values, values.astype(np.float64) * weight, values)
    is_there = ~np.isnan(values)
    return Levels(is_there * np.int64(weight), values, values, np.where(is_there, values, 0.0) * weight, values)


def _with_resets(rollup: Rollup, plan: Plan, anew: Sequence[tuple[int, int]], step_ms: int, tick_ms: int) -> Rollup:
    """Leave out what counters did in the one tick in which their guest was started anew."""
    increments, covered_ns = rollup.counters.increments.copy(), rollup.counters.covered_ns.copy()
    integers = rollup.scope.series[COUNTERS[0]].records
    for bucket, record in anew:
        increments[bucket, integers == record] = increments[bucket, integers == record] * (1 - tick_ms / step_ms)
        covered_ns[bucket, plan.counter_records == record] -= tick_ms * _NS_PER_MS
    return replace(rollup, counters=replace(rollup.counters, increments=increments, covered_ns=covered_ns))
