"""Figures that a run shows though the test passes, in whichever process of pytest's it does."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Show = Callable[[dict[str, Any]], None]
"""Show figures as one line of JSON."""

PROPERTY = "figures"
"""What they are called among a test's properties, which is how they come from one process to another."""


def noting(record_property: Callable[[str, object], None]) -> Show:
    """Note figures among a test's properties."""
    return lambda figures: record_property(PROPERTY, json.dumps(figures))


class Shown:
    """Shows the figures of each test once it has run."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call":
            return
        for name, figures in report.user_properties:
            if name == PROPERTY:
                self._terminal.write(f"\n{figures}\n")  # behind dots, or behind nothing
