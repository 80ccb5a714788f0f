"""The suite that tells whether a sink keeps what :mod:`domstat.sink` asks of it. Needs pytest: ``domstat[testing]``.

::

    import pytest
    from domstat.testing import SinkContract, Stored

    class MyStore:                              # how the suite finds your sink, and reads what it has stored
        sink = MySink

        def __init__(self, folder):
            self.path = folder / "mine.db"
            self.settings = {"path": str(self.path)}

        def read(self):
            return [Stored(host=…, kind=…, subject=…, time_ms=…, values={…}) for … in …]

    class TestMySink(SinkContract):
        @pytest.fixture
        def store(self, tmp_path):
            return MyStore(tmp_path)

:mod:`domstat.testing.store` says what else a store can do for the suite (be away, be slow, refuse), and
:class:`Keeps` what a sink may say it does not do by its nature. :mod:`domstat.testing.records` makes records for tests
of your own.
"""

try:
    import pytest  # noqa: F401 - looked for here, so that its absence is said in words
except ImportError as error:
    raise ImportError("domstat.testing needs pytest: pip install 'domstat[testing]'") from error

from domstat.testing.contract import SinkContract
from domstat.testing.rig import Rig
from domstat.testing.store import (
    CanBeAway,
    CanBeHopeless,
    CanBeSlow,
    CanRead,
    CanRefuse,
    Keeps,
    Store,
    Stored,
    stored,
    subject,
)

__all__ = [
    "CanBeAway",
    "CanBeHopeless",
    "CanBeSlow",
    "CanRead",
    "CanRefuse",
    "Keeps",
    "Rig",
    "SinkContract",
    "Store",
    "Stored",
    "stored",
    "subject",
]
