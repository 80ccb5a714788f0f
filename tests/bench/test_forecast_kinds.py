"""The made-up series."""

from __future__ import annotations

import numpy as np

from domstat_bench.forecast_kinds import KINDS, LENGTHS, generated


def test_they_are_the_same_every_time_and_others_with_another_seed() -> None:
    one, again, other = (dict(generated(seed, 1)) for seed in (1, 1, 2))
    assert all(np.array_equal(one[name].values, again[name].values, equal_nan=True) for name in one)
    assert not any(np.array_equal(one[name].values, other[name].values, equal_nan=True) for name in one)


def test_there_is_every_kind_at_every_step_as_often_as_asked() -> None:
    names = [name for name, _ in generated(1, 2)]
    assert len(set(names)) == len(names) == 2 * len(KINDS) * len(LENGTHS)


def test_they_have_the_length_they_should_and_only_a_third_is_ever_missing() -> None:
    for name, series in generated(1, 1):
        step_ms, days = LENGTHS[name.rsplit(", ", 1)[1]]
        assert len(series.values) * step_ms == days * 86_400_000
        missing = np.isnan(series.values).mean()
        assert (0.2 < missing < 0.45) if "missing" in name else missing == 0


def test_none_is_negative() -> None:
    assert all(np.nanmin(series.values) >= 0 for name, series in generated(1, 1) if "growth of a weekly" not in name)
