"""What counters did between neighbouring ticks, all of a part at once. Pure.

The rules are those of :mod:`domstat.rates`, and the figures equal its to the last bit: nothing across a fall, where
all that begins anew with the counter is left out; nothing of a guest whose own CPU time fell; nothing of devices that
were plugged anew; nothing over no time. A counter in doubles that moves to or from what is no number is left out too.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from msgspec import Struct

from domstat.model import whole_device
from domstat_sinks.sqlite.heads.row import Words
from domstat_sinks.sqlite.rollups.recipes import Sort
from domstat_sinks.sqlite.rollups.rollplan import Flags, Plan, Real, Whole

_NS_PER_MS = 1_000_000


class Stamps(Struct, frozen=True):
    """The stamps of ticks, as :class:`domstat.model.Stamp` has them; *boots* are numbers, 0 for a boot not known."""

    times_ms: Whole
    boots_ns: Whole
    boots: Whole
    calls_ns: Whole


class Run(Struct, frozen=True):
    """Neighbouring ticks of a part: the record before of each record is in the row above.

    *words* has a row a tick. *anew* and *missing* are what the records say besides, by (row, record): devices plugged
    anew, stats groups left out.
    """

    plan: Plan
    stamps: Stamps
    words: Words
    anew: Mapping[tuple[int, int], tuple[str, ...]] = {}
    missing: Mapping[tuple[int, int], tuple[str, ...]] = {}


class Before(Struct, frozen=True):
    """What was known of a run's counters before its first tick, as the words that they would be in the part.

    *spans_ns* is, by counter, the time from then to the first tick: 0 or less where nothing is to be taken.
    """

    words: Words
    spans_ns: Whole


class Taken(Struct, frozen=True):
    """What was taken, a row a tick and a column a counter (see :class:`~.rollplan.Scope`).

    *deltas* are in the counters' own units, those of doubles in *real_deltas*; 0 where nothing was taken. *rates* are
    per second in base units, and what is not a number there was not taken. *spans_ns* is the time over which, 0 where
    nothing was taken.
    """

    deltas: Words
    real_deltas: Real
    rates: Real
    spans_ns: Whole


def take(run: Run, before: Before | None) -> Taken:
    """Take what the counters of *run* did, its first tick against *before*."""
    plan = run.plan
    counts = _with_row_above(run.words, plan.words[Sort.COUNT], before)
    reals = _with_row_above(run.words, plan.words[Sort.REAL_COUNT], before).view(np.float64)
    spans = _spans(run, before)
    deltas = counts[1:] - counts[:-1]
    rates = np.empty(spans.shape)
    rates[:, : deltas.shape[1]] = deltas
    with np.errstate(invalid="ignore"):
        real_deltas = reals[1:] - reals[:-1]
    rates[:, deltas.shape[1] :] = real_deltas
    lost = _lost(run, spans, _fallen(plan, counts, reals), real_deltas)
    rates *= plan.factors
    if lost is None:
        rates /= spans
        return Taken(deltas, real_deltas, rates, spans)
    np.copyto(spans, 1, where=lost)
    rates /= spans
    np.copyto(spans, 0, where=lost)
    np.copyto(rates, np.nan, where=lost)
    integers = deltas.shape[1]
    deltas[lost[:, :integers]] = 0
    real_deltas[lost[:, integers:]] = 0.0
    return Taken(deltas, real_deltas, rates, spans)


def _with_row_above(words: Words, columns: Whole, before: Before | None) -> Words:
    """Pick *columns*, with what was before as the first row; without that, the first row twice."""
    picked: Words = np.empty((len(words) + 1, len(columns)), dtype=np.uint64)
    np.take(words, columns, axis=1, out=picked[1:], mode="clip")  # "raise" would go through a copy
    picked[0] = picked[1] if before is None else before.words[columns]
    return picked


def moments(plan: Plan, stamps: Stamps) -> tuple[Whole, Whole]:
    """Return when each record was read, by the boot-time clock in ns and by the wall clock in ms, a row a tick.

    As :func:`domstat.model.moment_within` has it.
    """
    offsets = stamps.calls_ns[:, None] * (2 * plan.places + 1) // (2 * plan.guests)
    return stamps.boots_ns[:, None] + offsets, stamps.times_ms[:, None] + offsets // _NS_PER_MS


def elapsed_ns(plan: Plan, stamps: Stamps) -> Whole:
    """Return the time from each tick to the next, a column a record, as :func:`domstat.rates.elapsed_ns` has it."""
    by_boot, by_wall = moments(plan, stamps)
    is_same = (stamps.boots[1:] == stamps.boots[:-1]) & (stamps.boots[1:] != 0)
    return np.where(is_same[:, None], np.diff(by_boot, axis=0), np.diff(by_wall, axis=0) * _NS_PER_MS)


def _spans(run: Run, before: Before | None) -> Whole:
    """Return the time to each tick, a column a counter; 0 for the first tick where nothing was before."""
    spans = np.zeros((len(run.words), len(run.plan.counter_records)), dtype=np.int64)
    if before is not None:
        spans[0] = before.spans_ns
    elapsed = elapsed_ns(run.plan, run.stamps)
    np.take(elapsed, run.plan.counter_records, axis=1, out=spans[1:], mode="clip")
    return spans


def _fallen(plan: Plan, counts: Words, reals: Real) -> Flags:
    """Say which counters fell at which tick."""
    if plan.flips.any():
        counts = counts ^ plan.flips
    fallen = counts[1:] < counts[:-1]
    return np.hstack([fallen, reals[1:] < reals[:-1]]) if reals.size else fallen


def _lost(run: Run, spans: Whole, fallen: Flags, real_deltas: Real) -> Flags | None:
    """Say which counters have nothing to be taken at which tick; None if all have."""
    lost: Flags | None = None
    if spans.size and spans.min() <= 0:
        lost = spans <= 0
    if not np.isfinite(real_deltas).all():
        lost = np.zeros(spans.shape, dtype=np.bool_) if lost is None else lost
        lost[:, -real_deltas.shape[1] :] |= ~np.isfinite(real_deltas)
    if run.anew or fallen.any():
        anew = _begun_anew(run, fallen)
        lost = anew if lost is None else lost | anew
    return lost


def _begun_anew(run: Run, fallen: Flags) -> Flags:
    """Say which counters began anew at which tick: with one that fell, with their guest, or with their device."""
    plan = run.plan
    epochs = np.zeros((len(fallen), len(plan.epochs)), dtype=np.bool_)
    guests = np.zeros((len(fallen), len(plan.places)), dtype=np.bool_)
    ticks, counters = np.nonzero(fallen)
    epochs[ticks, plan.epoch_of[counters]] = True
    is_whole = plan.whole_guests[counters]
    guests[ticks[is_whole], plan.counter_records[counters[is_whole]]] = True
    for (tick, record), devices in run.anew.items():
        plugged = {whole_device(device) for device in devices}
        epochs[tick] |= np.array([of == record and device in plugged for of, device in plan.epochs], dtype=bool)
    anew: Flags = epochs[:, plan.epoch_of] | guests[:, plan.counter_records]
    return anew
