"""When ticks are due: APScheduler, one job per stream, aligned to the interval.

A tick that is still running when the next is due lets it pass: the next is skipped and counted, never queued up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger


def next_aligned(now_s: float, interval_s: float) -> float:
    """Return the first multiple of *interval_s* since 1970 that is not before *now_s*, in seconds."""
    return math.ceil(now_s / interval_s) * interval_s


class Schedule:
    """Runs jobs at aligned times, each in a thread of its own, never twice at once."""

    def __init__(self, on_skipped: Callable[[str], None]) -> None:
        """Call *on_skipped* with a job's name whenever one of its ticks is skipped."""
        self._scheduler: Any = None
        self._on_skipped = on_skipped
        self._jobs: list[tuple[str, float, Callable[[], None]]] = []

    def add(self, name: str, interval_s: float, job: Callable[[], None]) -> None:
        """Have *job* run every *interval_s* seconds once the schedule has started."""
        self._jobs.append((name, interval_s, job))

    def start(self) -> None:
        """Begin; each job's first tick is at its next aligned time."""
        executor = ThreadPoolExecutor(max_workers=max(1, len(self._jobs)))
        self._scheduler = BackgroundScheduler(executors={"default": executor}, timezone=UTC, daemon=True)
        self._scheduler.add_listener(self._skipped, EVENT_JOB_MAX_INSTANCES | EVENT_JOB_MISSED)
        for name, interval_s, job in self._jobs:
            first = datetime.fromtimestamp(next_aligned(time.time(), interval_s), UTC)
            self._scheduler.add_job(
                job,
                IntervalTrigger(seconds=interval_s, start_date=first, timezone=UTC),  # parts of a second are fine
                id=name,
                next_run_time=first,
                max_instances=1,
                coalesce=True,
                # A tick that starts later than this is as good as the next one, which it would push out of line.
                misfire_grace_time=max(1, math.ceil(interval_s)),
            )
        self._scheduler.start()

    def stop(self) -> None:
        """Begin no more ticks; does not wait for the running ones."""
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=False)

    def _skipped(self, event: Any) -> None:
        self._on_skipped(event.job_id)
