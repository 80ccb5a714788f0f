"""Made-up series of the kinds that capacity meets: the same every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from domstat.capacity.forecasting import FloatArray, Series

DAY_MS = 86_400_000
LENGTHS = {"5 min": (300_000, 21), "hour": (3_600_000, 60), "day": (DAY_MS, 365)}
"""The step, in ms, and the days of the made-up series, by what their step is called."""
EACH = 2
"""Series of each kind and step."""

Kind: TypeAlias = Callable[[np.random.Generator, FloatArray], FloatArray]
"""Makes values for the times given, in days."""


def generated(seed: int = 1, each: int = EACH) -> Iterator[tuple[str, Series]]:
    """Give all made-up series, by name."""
    for name, (step_ms, days) in LENGTHS.items():
        times = np.arange(days * DAY_MS // step_ms, dtype=np.float64) * (step_ms / DAY_MS)
        for kind, make in KINDS.items():
            for number in range(each):
                random = np.random.default_rng([seed, step_ms, *kind.encode(), number])
                yield f"{kind} {number + 1}, {name}", Series(0, step_ms, make(random, times))


def _step_days(times: FloatArray) -> float:
    return float(times[1] - times[0])


def _carried(random: np.random.Generator, count: int, share: float, sigma: float) -> FloatArray:
    """Return noise of which a share is carried on from step to step."""
    steps = random.normal(0, sigma, count)
    noise = np.empty(count)
    last = 0.0
    for place, step in enumerate(steps.tolist()):
        last = share * last + step
        noise[place] = last
    return noise


def _daily(times: FloatArray) -> FloatArray:
    """Return a wave of a day between 0 and 2, or none where a step is a day."""
    return np.zeros_like(times) if _step_days(times) >= 1 else 1 + np.sin(2 * np.pi * times - 2)


def _working(times: FloatArray) -> FloatArray:
    return np.where(np.floor(times) % 7 >= 5, 0.4, 1.0)


def _growth(random: np.random.Generator, times: FloatArray) -> FloatArray:
    line = random.uniform(20, 50) + random.uniform(0.1, 0.5) * times
    return np.asarray(line + _carried(random, len(times), 0.5, random.uniform(0.2, 1)))


def _busier(random: np.random.Generator, times: FloatArray) -> FloatArray:
    line = random.uniform(2, 4) + random.uniform(0.01, 0.05) * times
    return np.asarray(line * (1 + 0.7 * _daily(times)) * _working(times) + random.normal(0, 0.3, len(times)))


def _weekly(random: np.random.Generator, times: FloatArray) -> FloatArray:
    wave = random.uniform(2, 4) * (0.5 + _daily(times)) * _working(times)
    return np.asarray(wave * np.exp(random.normal(0, 0.15, len(times))))


def _shift(random: np.random.Generator, times: FloatArray) -> FloatArray:
    after = times >= times[-1] * random.uniform(0.2, 0.8)
    factor = random.choice([random.uniform(1.3, 3), random.uniform(0.3, 0.7)])
    return np.asarray(np.where(after, factor, 1.0) * (4 + _daily(times)) + _carried(random, len(times), 0.7, 0.3))


def _spikes(random: np.random.Generator, times: FloatArray) -> FloatArray:
    quiet = 1 + np.abs(_carried(random, len(times), 0.5, 0.2))
    return np.asarray(np.where(random.random(len(times)) < 0.03, random.uniform(5, 20), 1.0) * quiet)


def _idle(random: np.random.Generator, times: FloatArray) -> FloatArray:
    return np.asarray(np.round(np.abs(random.normal(0.02, 0.01, len(times))), 2), dtype=np.float64)


def _backup(random: np.random.Generator, times: FloatArray) -> FloatArray:
    quiet = 0.02 + np.abs(random.normal(0, 0.005, len(times)))
    nightly = (times % 1 < 0.08) & (_step_days(times) < 1)
    return np.asarray(quiet + np.where(nightly, np.exp(random.normal(0, 0.2, len(times))), 0.0))


def _walk(random: np.random.Generator, times: FloatArray) -> FloatArray:
    return np.asarray(np.abs(50 + np.cumsum(random.normal(0, np.sqrt(_step_days(times)), len(times)))))


def _noisy(random: np.random.Generator, times: FloatArray) -> FloatArray:
    return np.asarray(np.exp(random.normal(0, 0.8, len(times))))


def _holes(random: np.random.Generator, times: FloatArray) -> FloatArray:
    whole = 5 + _daily(times) * _working(times) + _carried(random, len(times), 0.95, 0.3)
    return np.asarray(np.where(random.random(len(times)) < 1 / 3, np.nan, whole))


def _drifting(random: np.random.Generator, times: FloatArray) -> FloatArray:
    return np.asarray(10 + _carried(random, len(times), 0.99, 0.2) + 0.5 * _daily(times))


def _stairs(random: np.random.Generator, times: FloatArray) -> FloatArray:
    steps = random.random(len(times)) < random.uniform(0.05, 0.3) * _step_days(times)
    return np.asarray(random.uniform(20, 50) + np.cumsum(steps) * random.uniform(0.5, 2))


KINDS: dict[str, Kind] = {
    "growth": _growth,
    "growth of a weekly pattern": _busier,
    "weekly pattern": _weekly,
    "level shift": _shift,
    "spikes": _spikes,
    "idle": _idle,
    "nightly backup": _backup,
    "random walk": _walk,
    "noise": _noisy,
    "a third missing": _holes,
    "drifting": _drifting,
    "growth by steps": _stairs,
}
