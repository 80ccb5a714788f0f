"""Times as cron's five fields say them; a module of its own, since only who has a schedule loads what reads it."""

from __future__ import annotations

from apscheduler.triggers.cron import CronTrigger


def crontab(text: str) -> CronTrigger:
    """Return what fires at those times, in the machine's time zone. Raises ValueError."""
    return CronTrigger.from_crontab(text)
