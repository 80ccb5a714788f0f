"""What the sealer calls: a run of ticks in, statistics of its buckets and sketches of its key fields out. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from domstat_sinks.sqlite.rollups.derived import derive
from domstat_sinks.sqlite.rollups.increments import Before, Run, take
from domstat_sinks.sqlite.rollups.keyfields import Keyed, key_values
from domstat_sinks.sqlite.rollups.rollstats import Rollup
from domstat_sinks.sqlite.rollups.rollup import FIVE_MINUTES_MS, HOUR_MS, roll_up
from domstat_sinks.sqlite.rollups.sketch import Sketches, sketch


class HourSketches(Struct, frozen=True):
    """The sketches of an hour that begins at *start_ms*, by key field; a row a record of the part."""

    start_ms: int
    by_field: dict[str, Sketches]


class Rolled(Struct, frozen=True):
    """What a run of ticks comes to: five-minute buckets, and hours of sketches, to be merged with what there is."""

    rollup: Rollup
    hours: Sequence[HourSketches]


def roll(run: Run, before: Before | None, keyed: Keyed) -> Rolled:
    """Roll up a run of ticks; *before* is what was known of its counters before, *keyed* the key fields it has."""
    of_ticks = run.stamps.times_ms // HOUR_MS * HOUR_MS
    hours = []
    with np.errstate(over="ignore", invalid="ignore"):  # what is beyond the range of doubles is infinite, or no number
        taken = take(run, before)
        derived = derive(run, taken.rates)
        values = key_values(keyed, run, taken.rates, derived)
        for start_ms in sorted(set(of_ticks.tolist())):
            its = values[of_ticks == start_ms]
            hours.append(HourSketches(start_ms, dict(zip(keyed.fields, sketch(its, len(keyed.fields)), strict=True))))
        return Rolled(roll_up(run, taken, derived, FIVE_MINUTES_MS), hours)
