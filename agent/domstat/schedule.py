"""When ticks are due: APScheduler, one job per stream, at multiples of the interval since 1970.

A tick that is still running when the next is due lets it pass: the next is skipped and counted, never queued up.

APScheduler trusts the wall clock. So whatever a jump forward has made overdue is one tick here, the latest, and a guard
compares the wall clock with the machine's own: when it was set, jobs are put in line again, and when the machine has
slept, they are run at once rather than when an old waiting time has passed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from typing import Any

from apscheduler.events import EVENT_JOB_MAX_INSTANCES
from apscheduler.executors.base import BaseExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from domstat.crontab import crontab
from domstat.shifts import MACHINE, Clocks, Reading, shift_between

GUARD_S_MAX = 5.0
"""The guard looks at least this often: a slow stream's tick is then at most a second late after a step."""

GUARD_S_MIN = 0.05
"""And at most this often, however short the interval. A look takes 0.1 ms of CPU, waking up included: 0.01 % at one a
second, 0.2 % at this. Below an interval of 100 ms, half of which is shorter, a step may cost more than one tick."""

EARLY_SHARE = 0.1
"""Of the interval: so much earlier than an interval after the last a tick may come after a step, since a step is known
only as exactly as the clocks are read; a tick is not given up for a millisecond."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_us(moment: datetime) -> int:
    """Return a time with a zone as whole microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """Return microseconds since 1970 as a time in UTC."""
    return _EPOCH + timedelta(microseconds=us)


def latest_aligned(now_us: int, interval_us: int) -> int:
    """Return the last multiple of *interval_us* that is not after *now_us*, in microseconds since 1970."""
    return now_us // interval_us * interval_us


def in_line_again(next_us: int, now_us: int, shifted_us: int, interval_us: int) -> int | None:
    """Return when a job is to run instead of *next_us*; None if that is right, or past and due to be run at once.

    *shifted_us* is by how much the wall clock was just set, so that the job's moment is found again on the new clock:
    the tick comes an interval after the last or up to one later, at an aligned time; at once if that has passed.
    """
    moment_us = next_us + shifted_us
    is_past, is_near = next_us <= now_us, max(next_us - now_us, -shifted_us) <= interval_us
    if (moment_us <= now_us) if is_past else is_near:
        return None
    # A shift that was not seen must not make it wait for the old time: hence the bound.
    earliest_us = min(moment_us, now_us + interval_us) - int(interval_us * EARLY_SHARE)
    return latest_aligned(earliest_us - 1, interval_us) + interval_us


class Aligned(BaseTrigger):  # type: ignore[misc] # APScheduler has no types
    """Fires at the multiples of an interval since 1970; of those that are overdue only at the latest.

    APScheduler's own would list every one that a jump of the clock has made overdue, and in memory: 2.6 million for a
    month at 1 s, and 180 million for a machine that starts in 1970.
    """

    def __init__(self, interval_us: int) -> None:
        self.interval_us = interval_us

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the latest aligned time that is not after *now*, if *previous_fire_time* was before it; or the next.

        APScheduler asks again until it is given a time after *now*: so twice at most, and the due time that it hands
        to the job is the latest, however late it wakes up.
        """
        latest_us = latest_aligned(to_us(now), self.interval_us)
        overdue = previous_fire_time is not None and to_us(previous_fire_time) < latest_us
        return from_us(latest_us if overdue else latest_us + self.interval_us)


class JobThreads(BaseExecutor):  # type: ignore[misc] # APScheduler has no types
    """Runs each job in a daemon thread of its own: one that hangs holds up no other, nor the end of the process.

    APScheduler's own threads would be waited for at the end. A job is called with the time at which it was due, in
    milliseconds since 1970.
    """

    def __init__(self) -> None:
        super().__init__()
        self._due: dict[str, SimpleQueue[int | None]] = {}
        """By job. Bounded by APScheduler, which submits none that is still running."""

    def shutdown(self, wait: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 - APScheduler's signature
        """Let every thread end after the job that it is running."""
        for name in list(self._due):
            self.end(name)

    def end(self, name: str) -> None:
        """Let a job's thread end after what it has been given."""
        due = self._due.pop(name, None)
        if due is not None:
            due.put(None)

    def _do_submit_job(self, job: Any, run_times: list[datetime]) -> None:
        if job.id not in self._due:
            due: SimpleQueue[int | None] = SimpleQueue()
            threading.Thread(target=self._work, args=(job, due), name=f"tick {job.id}", daemon=True).start()
            self._due[job.id] = due
        self._due[job.id].put(to_us(run_times[-1]) // 1000)

    def _work(self, job: Any, due: SimpleQueue[int | None]) -> None:
        while (due_ms := due.get()) is not None:
            try:
                job.func(due_ms)
            except Exception as error:  # noqa: BLE001 - whatever it was, the next tick is due all the same
                self._run_job_error(job.id, error, error.__traceback__)
            else:
                self._run_job_success(job.id, [])


class Schedule:
    """Runs jobs at aligned times, each in a daemon thread of its own, never twice at once."""

    def __init__(
        self,
        on_skipped: Callable[[str], None],
        on_step: Callable[[float], None] | None = None,
        on_suspend: Callable[[float], None] | None = None,
        clocks: Clocks = MACHINE,
    ) -> None:
        """Call *on_skipped* with a job's name whenever one of its ticks is skipped.

        *on_step* is called with the seconds by which the wall clock was found to have been set, *on_suspend* with the
        seconds for which the machine slept; by then the jobs are in line again. None of them may raise or take long:
        they are called in the schedule's own threads.
        """
        self._on_skipped = on_skipped
        self._on_step = on_step
        self._on_suspend = on_suspend
        self._clocks = clocks
        self._seen: Reading | None = None
        self._steps = 0
        self._threads = JobThreads()
        self._scheduler = BackgroundScheduler(executors={"default": self._threads}, timezone=UTC, daemon=True)
        self._wanted: dict[str, tuple[BaseTrigger, Callable[[int], None]]] = {}
        """Jobs that were added before the start, by name."""
        self._jobs: dict[str, Any] = {}
        self._stopped = threading.Event()

    @property
    def steps(self) -> int:
        """How many times the wall clock was set since the start."""
        return self._steps

    def add(self, name: str, interval_s: float, job: Callable[[int], None]) -> None:
        """Have *job* run every *interval_s* seconds, to the microsecond, once the schedule has started.

        It is called with the time at which it was due, in milliseconds since 1970: after a step or where it comes late
        for another reason, the latest that it could have been due at. What it raises ends that tick and no more.

        A job of that name gives its place to this one: what was due by now is run once, by the one or by the other,
        and as long as the old one still runs, ticks of the new one are skipped.
        """
        self._add(name, Aligned(round(interval_s * 1e6)), job)

    def add_crontab(self, name: str, text: str, job: Callable[[int], None]) -> None:
        """Have *job* run at the times of cron's five fields, once however many of them have passed meanwhile."""
        self._add(name, crontab(text), job)

    def remove(self, name: str) -> None:
        """Run a job no more; if it runs, it comes to its end. One that is not there is none that runs."""
        self._wanted.pop(name, None)
        if self._jobs.pop(name, None) is None:
            return
        with self._scheduler._jobstores_lock:  # noqa: SLF001 - or one more tick could be given to a thread that ends
            self._scheduler.remove_job(name)
            self._threads.end(name)

    def start(self) -> None:
        """Begin; each job's first tick is at its next aligned time."""
        self._seen = self._clocks.read()
        self._scheduler.add_listener(self._skipped, EVENT_JOB_MAX_INSTANCES)
        wanted, self._wanted = self._wanted, {}
        self._jobs = {name: self._begin(name, trigger, job) for name, (trigger, job) in wanted.items()}
        self._scheduler.start()
        threading.Thread(target=self._guard, name="clock guard", daemon=True).start()

    def _add(self, name: str, trigger: BaseTrigger, job: Callable[[int], None]) -> None:
        if self._seen is None and not self._scheduler.running:
            self._wanted[name] = (trigger, job)
        elif name in self._jobs:
            self._give_place(self._jobs[name], trigger, job)
        else:
            self._jobs[name] = self._begin(name, trigger, job)

    def _begin(self, name: str, trigger: BaseTrigger, job: Callable[[int], None]) -> Any:
        return self._scheduler.add_job(
            job,
            trigger,
            args=(0,),  # what it is called with; the due time takes its place
            id=name,
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,  # late is better than never, and no tick is later than an interval
        )

    def _give_place(self, old: Any, trigger: BaseTrigger, job: Callable[[int], None]) -> None:
        with self._scheduler._jobstores_lock:  # noqa: SLF001 - or a tick that is due just now is run twice, or not at all
            now = datetime.now(UTC)
            due = old.next_run_time if old.next_run_time <= now else trigger.get_next_fire_time(None, now)
            old.modify(func=job, trigger=trigger, next_run_time=due)

    def stop(self) -> None:
        """Begin no more ticks; does not wait for the running ones."""
        self._stopped.set()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def _skipped(self, event: Any) -> None:
        self._on_skipped(event.job_id)

    def _guard(self) -> None:
        while not self._stopped.wait(self._guard_s()):
            self._look()

    def _guard_s(self) -> float:
        triggers = (job.trigger for job in tuple(self._jobs.values()))
        shortest_us = min((trigger.interval_us for trigger in triggers if isinstance(trigger, Aligned)), default=0)
        return max(GUARD_S_MIN, min(GUARD_S_MAX, shortest_us / 2e6)) if shortest_us else GUARD_S_MAX

    def _look(self) -> None:
        """See what became of the clocks since the last look, and act upon it."""
        now = self._clocks.read()
        if now is None:
            return
        shift = shift_between(self._seen or now, now)
        self._seen = now
        self._put_in_line(now.wall_ns // 1000, shift.wall_ns // 1000)
        if shift.step_s or shift.suspend_s:
            self._scheduler.wakeup()  # what is overdue is run at once
        if shift.step_s:
            self._steps += 1
            if self._on_step is not None:
                self._on_step(shift.step_s)
        if shift.suspend_s and self._on_suspend is not None:
            self._on_suspend(shift.suspend_s)

    def _put_in_line(self, now_us: int, shifted_us: int) -> None:
        """Correct every job whose next tick is too far away.

        Also when no step was seen: one that is too small to be called so, or that fell into APScheduler's own
        arithmetic, must not stop a job either.
        """
        for job in tuple(self._jobs.values()):
            trigger = job.trigger
            if isinstance(trigger, Aligned):
                due_us = in_line_again(to_us(job.next_run_time), now_us, shifted_us, trigger.interval_us)
                if due_us is not None:
                    _put(job, from_us(due_us))
                continue
            due = trigger.get_next_fire_time(None, from_us(now_us))
            if due is not None and due < job.next_run_time:  # after a step back
                _put(job, due)


def _put(job: Any, due: datetime) -> None:
    with suppress(JobLookupError):  # the schedule was stopped meanwhile
        job.modify(next_run_time=due)
