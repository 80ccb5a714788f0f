"""What every test may use: the option to rewrite golden files, a logger that remembers."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from heard import Log

# No test measures how fast examples run, and a busy machine must fail none.
settings.register_profile("domstat", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("domstat")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew instead of comparing")


@pytest.fixture
def update_golden(pytestconfig: pytest.Config) -> bool:
    return bool(pytestconfig.getoption("--update-golden"))


@pytest.fixture
def log() -> Log:
    return Log()
