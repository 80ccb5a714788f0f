"""What is known of counters when a run of ticks begins, whatever layouts the ticks before had. Pure.

A subject's record before is nearly always in the row above. Where it is not (the layout has changed, the slice begins)
:class:`LastKnown` has what the next rates are taken against, by the rules and the code of :mod:`domstat.rates`.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from domstat.catalog import ValueType
from domstat.model import Moment
from domstat.rates import Baseline, Breaks, Older, advance, elapsed_ns, shape_of
from domstat_sinks.sqlite.heads.layout import I64_MAX, value_of
from domstat_sinks.sqlite.heads.row import Words
from domstat_sinks.sqlite.rollups.increments import Before, Run, Stamps, moments
from domstat_sinks.sqlite.rollups.rollplan import ShapePlan
from domstat_sinks.sqlite.rollups.rollstats import Subject, subject_of


def cut_runs(layouts: Sequence[int], subjects: Mapping[int, frozenset[Subject]]) -> list[tuple[int, list[int]]]:
    """Cut a stream's rows, whose *layouts* are given in their order, into runs: (layout, which rows).

    In a run the record before of each record is in the row above; rows of other layouts that share no *subjects* with
    it may lie between. Runs that share subjects come in their order of time.
    """
    runs: list[tuple[int, list[int]]] = []
    open_: dict[int, list[int]] = {}
    for row, layout in enumerate(layouts):
        if layout not in open_:
            for other in [other for other in open_ if subjects[other] & subjects[layout]]:
                del open_[other]
            open_[layout] = []
            runs.append((layout, open_[layout]))
        open_[layout].append(row)
    return runs


U64_MAX = (1 << 64) - 1

SUBJECTS_MAX = 20_000
"""Subjects remembered, about 1 KB each: more guests than one answer can hold. Whoever comes back later begins anew."""


class _Last(Struct, frozen=True):
    """A subject's last record, and its counters that this lacked."""

    incarnation: int | None
    shape: ShapePlan
    words: Words
    moment: Moment
    older: dict[str, Older]

    def counters(self) -> dict[str, Older]:
        """Return what is known of each counter, and since when."""
        values = _counters(self.shape, self.words)
        return self.older | {key: Older(value, self.moment) for key, value in values.items()}

    def baseline(self) -> Baseline:
        """Return the same as what rates are taken against."""
        counters = shape_of(tuple(self.shape.counters))
        values = counters.pick(_counters(self.shape, self.words))
        return Baseline(self.incarnation, self.moment, counters, values, self.older)


class LastKnown:
    """The last known values of all counters of one stream, followed from run to run."""

    def __init__(self) -> None:
        self._last: OrderedDict[Subject, _Last] = OrderedDict()

    def before(self, run: Run) -> Before:
        """Return what is known of the counters of *run* before its first tick."""
        plan = run.plan
        words = run.words[0].copy()  # a counter that nothing is known of has not changed
        spans_ns = np.zeros(len(plan.places), dtype=np.int64)
        known: list[tuple[int, _Last]] = []
        for record, (entry, moment) in enumerate(zip(plan.scope.entries, _moments(run, 0), strict=True)):
            last = self._last.get(subject_of(entry))
            if last is None or last.incarnation != entry.incarnation:
                continue
            if last.shape is plan.shapes[record] and not last.older:
                start = plan.starts[record]
                words[start : start + len(last.words)] = last.words
                spans_ns[record] = elapsed_ns(last.moment, moment)
            else:
                known.append((record, last))
        before = Before(words, spans_ns[plan.counter_records])
        for record, last in known:
            _fill(before, run, record, last.counters())
        return before

    def after(self, run: Run) -> None:
        """Take notice of a run. Runs that share subjects must come in their order of time."""
        plan = run.plan
        partial = {record for _, record in run.missing}
        for record, (entry, moment) in enumerate(zip(plan.scope.entries, _moments(run, -1), strict=True)):
            subject, shape = subject_of(entry), plan.shapes[record]
            older = self._older(run, record) if record in partial else {}
            start = plan.starts[record]
            words = run.words[-1, start : start + len(shape.columns)].copy()
            self._last[subject] = _Last(entry.incarnation, shape, words, moment, older)
            self._last.move_to_end(subject)
        while len(self._last) > SUBJECTS_MAX:
            self._last.popitem(last=False)

    def retain(self, subjects: Container[Subject]) -> None:
        """Forget all other subjects."""
        for subject in [subject for subject in self._last if subject not in subjects]:
            del self._last[subject]

    def _older(self, run: Run, record: int) -> dict[str, Older]:
        """Return the counters that a record lacked in the end: tick by tick, from the last one on that lacked none."""
        plan, entry = run.plan, run.plan.scope.entries[record]
        shape, start = plan.shapes[record], plan.starts[record]
        last = self._last.get(subject_of(entry))
        baseline = last.baseline() if last else None
        ticks = len(run.words)
        shape_known = shape_of(tuple(shape.counters))
        whole = [tick for tick in range(ticks) if (tick, record) not in run.missing]
        for tick in range(whole[-1] if whole else 0, ticks):
            counters = _counters(shape, run.words[tick, start : start + len(shape.columns)])
            breaks = Breaks(frozenset(run.missing.get((tick, record), ())), frozenset(run.anew.get((tick, record), ())))
            moment = _moments(run, tick)[record]
            _, baseline = advance(baseline, shape_known, counters, moment, entry.incarnation, breaks)
        return baseline.older if baseline else {}


def _counters(shape: ShapePlan, words: Words) -> dict[str, Any]:
    """Return a record's counters as numbers, by key."""
    return {key: value_of(shape.columns[i].type, int(words[i]), {}) for key, i in shape.counters.items()}


def _fill(before: Before, run: Run, record: int, known: Mapping[str, Older]) -> None:
    """Write down what is *known* of a record's counters."""
    plan, moment = run.plan, _moments(run, 0)[record]
    for key, position in plan.shapes[record].counters.items():
        at = plan.starts[record] + position
        last = known.get(key)
        word = None if last is None else _word_of(plan.types[at], last.value)
        if last is not None and word is not None:
            before.words[at] = word
            before.spans_ns[plan.counter_of[at]] = elapsed_ns(last.moment, moment)


def _word_of(type_: ValueType, value: float) -> int | None:
    """Return a number as a word of *type_*; None where the type has changed and the number does not fit the new one."""
    if type_ is ValueType.F64:
        return int.from_bytes(struct.pack("<d", value), "little")
    is_signed = type_ is ValueType.I64
    least, most = (-I64_MAX - 1, I64_MAX) if is_signed else (0, U64_MAX)
    return int(value) % (U64_MAX + 1) if least <= value <= most and int(value) == value else None


def _moments(run: Run, tick: int) -> list[Moment]:
    """Return when each record of a tick was read."""
    at = slice(tick, None if tick == -1 else tick + 1)
    stamps = run.stamps
    one = Stamps(stamps.times_ms[at], stamps.boots_ns[at], stamps.boots[at], stamps.calls_ns[at])
    by_boot, by_wall = moments(run.plan, one)
    boot = str(one.boots[0]) if one.boots[0] else ""
    return [Moment(*both, boot) for both in zip(by_wall[0].tolist(), by_boot[0].tolist(), strict=True)]
