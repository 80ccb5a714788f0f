"""What every test may use: the option to rewrite golden files, a logger that remembers, figures that are shown."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

from heard import Log
from shown import Show, Shown, noting

# No test measures how fast examples run, and a busy machine must fail none. The same examples every time: a run that
# fails fails again, and one that does not says something of the next. To look for others: --hypothesis-profile=chance.
settings.register_profile(
    "domstat",
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("chance", settings.get_profile("domstat"), max_examples=1000, derandomize=False)
settings.load_profile("domstat")


# How wide a terminal is decides what tables look like; so do those who run tests several at once.
os.environ.pop("COLUMNS", None)

# A shell that runs tests in the background has them ignore interrupts, and so all that they start; some are sent one.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew instead of comparing")


@pytest.hookimpl(trylast=True)  # pytest's terminal is made in this hook as well
def pytest_configure(config: pytest.Config) -> None:
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:  # a process that pytest-xdist has started has none
        config.pluginmanager.register(Shown(terminal))


@pytest.fixture
def show(record_property: Callable[[str, object], None]) -> Show:
    return noting(record_property)


@pytest.fixture
def update_golden(pytestconfig: pytest.Config) -> bool:
    return bool(pytestconfig.getoption("--update-golden"))


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture(autouse=True)
def collector_as_it_was() -> Iterator[None]:
    """Undo what an agent that ran in this process has set: it would hold for all tests after it."""
    threshold = gc.get_threshold()
    yield
    if gc.get_threshold() != threshold:
        gc.set_threshold(*threshold)
        gc.unfreeze()
