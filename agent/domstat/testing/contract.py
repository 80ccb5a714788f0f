"""The suite: :class:`SinkContract`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from domstat.testing.cases.again import Again
from domstat.testing.cases.configuration import Configuration
from domstat.testing.cases.contents import Contents
from domstat.testing.cases.delivery import Delivery
from domstat.testing.cases.lifecycle import Lifecycle
from domstat.testing.cases.troubles import Troubles
from domstat.testing.records import START_MS
from domstat.testing.rig import Rig
from domstat.testing.store import Keeps, Store


class SinkContract(Lifecycle, Again, Contents, Troubles, Delivery, Configuration):
    """Everything a sink promises, as tests that are named after it. Give it a fixture ``store``, and it runs them all.

    *keeps* says what the sink does by its nature, *start_ms* when the first tick is (milliseconds since 1970): a store
    that lets go of what is old, or is shown nothing old, says a time of today.
    """

    keeps: ClassVar[Keeps] = Keeps()
    start_ms: ClassVar[int] = START_MS

    @pytest.fixture
    def store(self) -> Store:
        """Return an empty store; to be overridden."""
        pytest.fail(
            f"{type(self).__name__} has no fixture: @pytest.fixture def store(self, tmp_path) -> Store: …",
            pytrace=False,
        )

    @pytest.fixture
    def rig(self, store: Store, tmp_path: Path) -> Iterator[Rig]:
        """Handle sinks to *store*; whatever is opened is closed at the end."""
        state_dir = tmp_path / "state"
        state_dir.mkdir(exist_ok=True)
        rig = Rig(store, state_dir, self.keeps, self.start_ms)
        yield rig
        rig.close_all()
