"""Cron's five fields, in the machine's time zone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from domstat.crontab import crontab

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)  # a Sunday


@pytest.fixture(autouse=True)
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("0 6 * * *", datetime(2026, 11, 23, 5, 0, tzinfo=UTC)),
        ("30 13 * * *", datetime(2026, 11, 22, 12, 30, tzinfo=UTC)),
        ("0 6 1 * *", datetime(2026, 12, 1, 5, 0, tzinfo=UTC)),
        ("*/15 * * * fri", datetime(2026, 11, 26, 23, 0, tzinfo=UTC)),
    ],
)
def test_it_fires_at_the_machines_own_time(text: str, due: datetime) -> None:
    assert crontab(text).get_next_fire_time(None, NOON) == due


@pytest.mark.parametrize("text", ["", "daily", "0 6 * *", "60 6 * * *", "0 24 * * *", "0 6 * * * *"])
def test_what_cron_would_not_take_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        crontab(text)
