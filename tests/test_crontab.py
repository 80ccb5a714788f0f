"""Cron's five fields, in the machine's time zone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tzlocal import get_localzone

from domstat.crontab import crontab

SUNDAY_NOON = (2026, 11, 22, 12, 0)


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("0 6 * * *", (2026, 11, 23, 6, 0)),
        ("30 13 * * *", (2026, 11, 22, 13, 30)),
        ("0 6 1 * *", (2026, 12, 1, 6, 0)),
        ("*/15 * * * fri", (2026, 11, 27, 0, 0)),
    ],
)
def test_it_fires_at_the_machines_own_time(text: str, due: tuple[int, ...]) -> None:
    zone = get_localzone()
    now = datetime(*SUNDAY_NOON, tzinfo=zone).astimezone(UTC)
    assert crontab(text).get_next_fire_time(None, now) == datetime(*due, tzinfo=zone)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize("text", ["", "daily", "0 6 * *", "60 6 * * *", "0 24 * * *", "0 6 * * * *"])
def test_what_cron_would_not_take_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        crontab(text)
