"""When a scenario's daily peaks reach a limit: the truth that a runway of CPU or memory is held to. Pure.

A day's peak is the 95th percentile of its hourly means, chance and all. So it is above what is expected of the day, and
more so where steps differ more from each other; what it is *expected* to be is therefore the mean over many draws of
what may happen, each with the same courses. Days on which less is done (weekends) have peaks of their own: what counts
is the first day on which the limit is reached.
"""

from __future__ import annotations

import numpy as np

from domstat_bench.scenario_courses import DAY_MS, HOUR_MS, Course, Floats, Ints
from domstat_bench.scenario_values import QEMU, TOUCHED
from domstat_bench.scenario_world import Guest, Host, World

DRAWS = 64
"""Of so many the mean peak is known to a quarter of a percent, which is a quarter of a day's growth."""

SHARE = 0.95
"""What is not exceeded for such a share of a day's hours is its peak."""


def peaks_cross_ms(world: World, host: Host, resource: str, limit: float, within_days: int = 365) -> int | None:
    """Return when the day begins on which a host's ``cpu`` (cores) or ``memory`` (bytes) is to peak at a limit.

    All is as at the scenario's end from then on. None where that is not *within_days*.
    """
    times_ms = np.arange(world.end_ms, world.end_ms + within_days * DAY_MS, world.step_ms)
    draws = [_peaks(_used(world, host, resource, times_ms, seed), world.step_ms) for seed in range(DRAWS)]
    reached = np.flatnonzero(np.mean(draws, axis=0) >= limit)
    return world.end_ms + int(reached[0]) * DAY_MS if len(reached) else None


def _peaks(values: Floats, step_ms: int) -> Floats:
    """Return the peak of each day."""
    hours = values.reshape(-1, HOUR_MS // step_ms).mean(axis=1).reshape(-1, 24)
    place = int(np.ceil(SHARE * 24)) - 1
    peaks: Floats = np.sort(hours, axis=1)[:, place]
    return peaks


def _used(world: World, host: Host, resource: str, times_ms: Ints, seed: int) -> Floats:
    """Return what a host and the guests that are there at the end use, as one of many possible courses of events."""

    def happens(course: Course, whose: str) -> Floats:
        return course.values(times_ms, world.begin_ms, f"{host.name}/{whose}", seed)

    own, of = {"cpu": (host.own_cores, _cores), "memory": (host.own_memory, _memory)}[resource]
    used = happens(own, "own")
    for guest in host.guests:
        if guest.until_ms >= world.end_ms:
            course, most, times, more = of(guest)
            used = used + np.minimum(happens(course, guest.uuid) * times + more, most)
    return used


def _cores(guest: Guest) -> tuple[Course, float, float, float]:
    return guest.cores, float(guest.vcpus), 1.0, 0.0


def _memory(guest: Guest) -> tuple[Course, float, float, float]:
    return guest.memory, guest.memory_kib * 1024.0, TOUCHED, float(QEMU)
