"""What the words mean, with the settings that hold."""

from __future__ import annotations

from domstat.capacity.settings import Capacity
from domstat.report.definitions import definitions
from domstat.settings import Duration


def test_every_term_is_explained_in_sentences() -> None:
    found = dict(definitions(Capacity()))
    assert len(found) == 14
    assert all(meaning.endswith(".") and "{" not in meaning for meaning in found.values())


def test_definitions_say_which_settings_were_used() -> None:
    found = dict(definitions(Capacity(cpu_buffer=0.125, warning=Duration(86_400), off_after=Duration(3600))))
    assert "12.5 % of CPU" in found["capacity, usable"]
    assert "Short is less than 1 day by" in found["time remaining"]
    assert found["off, idle"].startswith("Off: for more than 1 hours. Idle: for 95 % of the hours below 5 %")
    assert "below 100 kB a second of disk" in found["off, idle"]
