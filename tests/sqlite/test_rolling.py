"""What the sealer calls."""

from __future__ import annotations

import numpy as np
import pytest

from domstat_sinks.sqlite.rollups.keyfields import KEY_FIELDS, find_keyed
from domstat_sinks.sqlite.rollups.lastknown import LastKnown
from domstat_sinks.sqlite.rollups.rolling import Rolled, roll
from domstat_sinks.sqlite.rollups.rollup import FIVE_MINUTES_MS, HOUR_MS, merge
from domstat_sinks.sqlite.rollups.sketch import ERROR, quantile
from domstat_sinks.sqlite.rollups.sketch import merge as merge_sketches

from .histories import Rows, Tick, by_key, history, naive, rolled


def roll_all(ticks: list[Tick]) -> list[Rolled]:
    known, found = LastKnown(), []
    for run in Rows().runs(ticks):
        found.append(roll(run, known.before(run), find_keyed(run.plan)))
        known.after(run)
    return found


def test_a_run_comes_to_five_minute_statistics() -> None:
    ticks = history(3)
    found = merge([one.rollup for one in roll_all(ticks)], FIVE_MINUTES_MS)
    assert by_key(found) == by_key(merge(rolled(ticks, []), FIVE_MINUTES_MS))


def test_a_run_comes_to_sketches_by_hour_and_key_field() -> None:
    ticks = history(3, length=200)
    hours = [hour for one in roll_all(ticks) for hour in one.hours]
    starts = sorted({tick.stamp.time_ms // HOUR_MS * HOUR_MS for tick in ticks})
    assert sorted({hour.start_ms for hour in hours}) == starts
    assert set(hours[0].by_field) == set(KEY_FIELDS) & set(hours[0].by_field) > {"memory.used", "host.cpu.utilization"}
    one_by_one = naive(ticks, HOUR_MS)
    for start in starts:
        its = merge_sketches([hour.by_field["memory.used"] for hour in hours if hour.start_ms == start])
        for record in (1, 2, 3):
            subject = ("guest", f"uuid-{record - 1}", None)
            values = one_by_one[start, subject]["memory.used"].values
            exact = float(np.quantile(values, 0.9, method="lower"))
            assert its.counts[record] == len(values)
            assert quantile(its, 0.9)[record] == pytest.approx(exact, rel=ERROR)


def test_a_part_without_any_record_comes_to_nothing() -> None:
    (run,) = Rows().runs([Tick(history(3)[0].stamp, ())])
    rolled_up = roll(run, None, find_keyed(run.plan))
    assert rolled_up.rollup.ticks.shape == (1, 0)
    assert [hour.by_field for hour in rolled_up.hours] == [{}]
