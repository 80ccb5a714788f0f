"""Derived series, all at once."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from domstat.catalog import DERIVED
from domstat.model import key_of, split_key
from domstat_sinks.sqlite.rollups.derived import derive
from domstat_sinks.sqlite.rollups.increments import take
from domstat_sinks.sqlite.rollups.lastknown import LastKnown
from domstat_sinks.sqlite.rollups.rollstats import subject_of

from .histories import Rows, history, naive

NOT_ROLLED_UP = {"memory.age", "pool.age"}
"""How old figures are says nothing of the time that they are looked at."""


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_derived_series_are_to_the_last_bit_what_the_stream_derives(seed: int) -> None:
    ticks = history(seed)
    known, found = LastKnown(), {}
    for run in Rows().runs(ticks):
        before = known.before(run)
        known.after(run)
        derived = derive(run, take(run, before).rates)
        names = [
            (run.plan.scope.entries[record], name)
            for of in run.plan.derived
            for record, name in zip(of.columns.records.tolist(), of.columns.names, strict=True)
        ]
        for time_ms, row in zip(run.stamps.times_ms.tolist(), derived.tolist(), strict=True):
            for (entry, name), value in zip(names, row, strict=True):
                if not math.isnan(value):
                    found[time_ms, subject_of(entry), key_of(*name)] = value
    expected = {
        (time_ms, subject, key): its.values[0]
        for (time_ms, subject), series in naive(ticks, 1).items()
        for key, its in series.items()
        if split_key(key)[0] in DERIVED
    }
    assert found == expected


def test_everything_that_the_catalogue_derives_is_rolled_up() -> None:
    names = {name[0] for run in Rows().runs(history(3)) for of in run.plan.derived for name in of.columns.names}
    assert names >= DERIVED.keys() - NOT_ROLLED_UP - {"block.fl.latency"}
