"""Key fields."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domstat.catalog import DERIVED, FIELDS
from domstat.model import split_key, whole_device
from domstat_sinks.sqlite.rollups.derived import derive
from domstat_sinks.sqlite.rollups.increments import take
from domstat_sinks.sqlite.rollups.keyfields import KEY_FIELDS, find_keyed, key_values
from domstat_sinks.sqlite.rollups.lastknown import LastKnown
from domstat_sinks.sqlite.rollups.rollstats import subject_of

from .histories import Rows, Series, history, naive


def test_every_key_field_stands_in_the_catalogue() -> None:
    assert [field for field in KEY_FIELDS if field not in FIELDS and field not in DERIVED] == []


@settings(max_examples=10)
@given(st.integers(0, 2**32))
def test_a_key_field_has_one_value_a_record_made_of_all_its_devices(seed: int) -> None:
    known = LastKnown()
    ticks = history(seed)
    seen = 0
    for run in Rows().runs(ticks):
        before = known.before(run)
        known.after(run)
        taken = take(run, before)
        keyed = find_keyed(run.plan)
        values = key_values(keyed, run, taken.rates, derive(run, taken.rates))
        values = values.reshape(len(run.words), len(keyed.fields), len(run.plan.places))
        for row, stamp in enumerate(run.stamps.times_ms.tolist()):
            last = [tick.stamp.time_ms for tick in ticks].index(stamp)
            one_by_one = naive(ticks[: last + 1], 1)
            for record, entry in enumerate(run.plan.scope.entries):
                its = dict(zip(keyed.fields, values[row, :, record].tolist(), strict=True))
                assert its == pytest.approx(expected(keyed.fields, one_by_one[stamp, subject_of(entry)]), nan_ok=True)
                seen += 1
    assert seen == sum(len(tick.records) for tick in ticks)


def expected(fields: tuple[str, ...], series: Mapping[str, Series]) -> dict[str, float]:
    found = {}
    for field in fields:
        own = [its for key, its in series.items() if split_key(key)[0] == field]
        whole = [its for key, its in series.items() if split_key(key)[0] == field and is_whole(key)]
        assert len(own) >= len(whole)
        values = [its.rates[-1] if its.rates else its.values[-1] * scale_of(field) for its in whole]
        found[field] = (max if field.endswith("latency") else sum)(values) if values else np.nan
    return found


def is_whole(key: str) -> bool:
    device = split_key(key)[1]
    return device == whole_device(device)


def scale_of(field: str) -> float:
    return FIELDS[field].unit.scale if field in FIELDS else 1.0
