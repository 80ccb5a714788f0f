"""What goes into a projection and comes out of it."""

from __future__ import annotations

import numpy as np

from domstat.capacity.forecasting import Projection, Refused, Series, project

DAY_MS = 86_400_000


def test_a_projection_begins_one_step_after_its_series_ends_whatever_holes_that_ends_with() -> None:
    values = np.arange(60.0)
    values[-3:] = np.nan
    found = project(Series(0, DAY_MS, values), 10)
    assert isinstance(found, Projection)
    assert found.start_ms == 60 * DAY_MS
    assert (found.step_ms, len(found.low), len(found.middle), len(found.high)) == (DAY_MS, 10, 10, 10)


def test_a_refusal_says_why() -> None:
    found = project(Series(0, DAY_MS, np.zeros(0)), 10)
    assert found == Refused("no history")
