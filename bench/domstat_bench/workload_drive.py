"""What drives the made-up guests: when they are read, how busy they are, and what wanders slowly about its mean.

Everything goes on from one hour to the next, so that hours must be asked for in their order.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct

from domstat_bench.workload_kinds import KINDS, kind_names

Ints: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

TICK_S = 10
HOUR_TICKS = 3600 // TICK_S
DAY_HOURS, WEEK_HOURS = 24, 168

GAP_HOUR = 1
"""The hour of every week in which the agent is away for a while."""
GAP_TICKS = range(120, 150)
"""The ticks that are missing then: five minutes."""

_JITTER_SHAPE, _JITTER_NS = 2.0, 4e6
"""A tick is late by 8 ms on average …"""
_LATE_EVERY, _LATE_NS = 500, 150e6
"""… and now and then by much more."""
_CALL_NS_A_GUEST = 550e3
"""How long libvirt takes for a guest."""
_BOOTED_NS = 12 * 86_400 * 10**9
"""How long the host had been up when it all begins."""
_SLEW_NS = 2_000.0
"""By how much the wall clock is set right in a tick, against the boot-time clock."""


class Traits:
    """The attributes of Kind for each guest, as columns that go with a row of ticks."""

    def __init__(self, guests: int) -> None:
        self._kinds = [KINDS[name] for name in kind_names(guests)]

    def __getitem__(self, attribute: str) -> Floats:
        """Return one attribute as an array of (guests, 1)."""
        return np.array([[float(getattr(kind, attribute))] for kind in self._kinds])


class Ticks(Struct, frozen=True):
    """When the calls of an hour were made (see :class:`domstat.model.Stamp`), and the hour of the week of each.

    *since_s* is, by guest and tick, the time since that guest's values were last read.
    """

    time_ms: Ints
    boot_ns: Ints
    call_ns: Ints
    hour: Floats
    since_s: Floats


class Clock:
    """Makes the ticks of one hour after the other; the first is *begin_ms*, the beginning of a Monday."""

    def __init__(self, rng: np.random.Generator, guests: int, begin_ms: int) -> None:
        self._rng, self._guests, self._begin_ns = rng, guests, begin_ms * 10**6
        self._place = (np.arange(guests)[:, None] + 0.5) / max(guests, 1)
        self._slewed = 0.0
        self._last = (self._begin_ns - TICK_S * 10**9, _CALL_NS_A_GUEST * guests)

    def hour(self, number: int) -> Ticks:
        """Make the ticks of an hour."""
        rng, kept = self._rng, np.arange(HOUR_TICKS)
        if number % WEEK_HOURS == GAP_HOUR:
            kept = np.delete(kept, GAP_TICKS)
        count = len(kept)
        jitter = rng.gamma(_JITTER_SHAPE, _JITTER_NS, count)
        jitter += np.where(rng.random(count) < 1 / _LATE_EVERY, rng.exponential(_LATE_NS, count), 0)
        wall = self._begin_ns + (number * HOUR_TICKS + kept) * TICK_S * 10**9 + jitter.astype(np.int64)
        slew = self._slewed + np.cumsum(rng.normal(0, _SLEW_NS, count))
        call = _CALL_NS_A_GUEST * self._guests * (1 + rng.gamma(2, 0.03, count))
        wall_before = np.concatenate([[self._last[0]], wall[:-1]])
        call_before = np.concatenate([[self._last[1]], call[:-1]])
        self._slewed, self._last = float(slew[-1]), (int(wall[-1]), float(call[-1]))
        since_ns = (wall - wall_before) + self._place * (call - call_before)
        return Ticks(
            time_ms=wall // 10**6,
            boot_ns=wall - self._begin_ns + _BOOTED_NS + slew.astype(np.int64),
            call_ns=call.astype(np.int64),
            hour=(number + kept / HOUR_TICKS) % WEEK_HOURS,
            since_s=since_ns / 1e9,
        )


WANDERING = {
    "pace": 60, "split": 30, "system": 90, "contention": 20, "waiting": 200, "haltpoll": 60, "rx_size": 40,
    "tx_size": 40, "rd_pages": 25, "wr_pages": 25, "rd_ms": 15, "wr_ms": 15, "faults": 30,
}  # fmt: skip
"""What wanders about its mean, by how many ticks it takes to forget where it was; each with deviation 1."""

WALKING = ("unused", "caches", "slab")
"""What goes its own way for long, in steps of deviation 1."""
_WALK_BACK = 1 / 2000
"""What it comes back by in a tick, so that it stays within some 30 steps."""

_SPIKE_HEIGHT, _SPIKE_FADES = 2.5, 0.93
"""How many times the ordinary load a spike adds on average, and what a tick leaves of it."""
_RESTARTS_A_DAY = 0.25
_JOB_HOURS = (0.6, 2.5)
"""How long a job of the night takes, at the least and the most; one in between takes a tenth."""
_JOB_EVERY_H = 4
_OUTSIDE_JOBS = 0.006
"""The load between jobs."""


class Drive(Struct, frozen=True):
    """What an hour is like, by guest and tick: *pace* is the load, 1 being ordinary; *restarted* where one begins anew.

    *wander* and *walk* are what WANDERING and WALKING name.
    """

    pace: Floats
    restarted: Any
    wander: dict[str, Floats]
    walk: dict[str, Floats]


class Driver:
    """Makes what an hour is like, one after the other."""

    def __init__(self, rng: np.random.Generator, guests: int, traits: Traits) -> None:
        self._rng, self._traits, self._guests = rng, traits, guests
        self._lives = traits["wakeups"][:, 0] > 0
        self._wander = rng.standard_normal((len(WANDERING), guests))
        self._walk = rng.standard_normal((len(WALKING), guests)) * np.sqrt(0.5 / _WALK_BACK)
        self._spike = np.zeros(guests)
        self._peak_h = rng.normal(14, 2, (guests, 1))
        self._growth = np.clip(rng.normal(0.002, 0.0015, (guests, 1)), -0.001, 0.006)
        self._job_h = rng.uniform(0, 5, (guests, 1))
        self._job_long_h = rng.uniform(*_JOB_HOURS, (guests, 1))
        self._days = 0.0

    def hour(self, ticks: Ticks) -> Drive:
        """Make what an hour is like."""
        rng, count, guests = self._rng, len(ticks.time_ms), self._guests
        restarted = rng.random((count, guests)) < self._lives * (_RESTARTS_A_DAY / DAY_HOURS / HOUR_TICKS)
        begun = rng.random((count, guests)) < self._traits["spikes"][:, 0] / DAY_HOURS / HOUR_TICKS
        heights = begun * rng.exponential(_SPIKE_HEIGHT, (count, guests)) + restarted
        keeps = np.exp(-1 / np.array(list(WANDERING.values()), dtype=float))[:, None]
        pushes = rng.standard_normal((count, len(WANDERING), guests)) * np.sqrt(1 - keeps**2)
        steps = rng.standard_normal((count, len(WALKING), guests))
        spikes = np.empty((count, guests))
        for i in range(count):  # each goes on from the tick before
            self._wander = pushes[i] = self._wander * keeps + pushes[i]
            self._walk = steps[i] = self._walk * (1 - _WALK_BACK) + steps[i]
            self._spike = spikes[i] = self._spike * _SPIKE_FADES + heights[i]
        wander = {name: np.ascontiguousarray(pushes[:, i].T) for i, name in enumerate(WANDERING)}
        walk = {name: np.ascontiguousarray(steps[:, i].T) for i, name in enumerate(WALKING)}
        pace = self._rhythm(ticks) * np.exp(self._traits["drift"] * wander["pace"]) * (1 + spikes.T)
        self._days += 1 / DAY_HOURS
        return Drive(pace=pace, restarted=restarted.T, wander=wander, walk=walk)

    def _rhythm(self, ticks: Ticks) -> Floats:
        """Return the load that day, week and growth make."""
        of_day = ticks.hour % DAY_HOURS
        daily = np.exp(self._traits["swing"] * np.cos((of_day - self._peak_h) * (2 * np.pi / DAY_HOURS)))
        weekly = np.where(ticks.hour >= 5 * DAY_HOURS, self._traits["weekend"], 1.0)
        into_night = (of_day - self._job_h) % DAY_HOURS
        works = (into_night < self._job_long_h) | (into_night % _JOB_EVERY_H < self._job_long_h / 10)
        at_work = np.where(self._traits["jobs"] > 0, np.where(works, 1.0, _OUTSIDE_JOBS), 1.0)
        rhythm: Floats = daily * weekly * at_work * np.exp(self._growth * self._days)
        return rhythm
