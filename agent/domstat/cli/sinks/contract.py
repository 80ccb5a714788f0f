"""What pytest collects for ``domstat sinks test``: the suite, for the sink that was chosen."""

from __future__ import annotations

import time
from typing import ClassVar

import pytest

from domstat.cli.sinks.suite import CHOSEN
from domstat.testing import Keeps, SinkContract, Store

HOUR_MS = 3_600_000


class TestInstalledSink(SinkContract):
    """All of a sink's promises, as far as they can be judged without a look into its store."""

    # What a store makes of NaN is not known of one that cannot be read.
    keeps: ClassVar[Keeps] = Keeps(reports=False)
    # Some hours ago: a store in use may let go of what is older, and take nothing from the future.
    start_ms: ClassVar[int] = (time.time_ns() // 1_000_000 // HOUR_MS - 6) * HOUR_MS

    @pytest.fixture
    def store(self) -> Store:
        """Return the store that settings were given for."""
        return CHOSEN
