"""How a series of words moves: its steps, in the largest unit that all of them are multiples of. Pure.

Steps are differences modulo 2^64, seen as signed: so a counter that begins anew makes one step down, which mostly is a
multiple of the same unit.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from domstat_sinks.sqlite.heads.row import Words
from domstat_sinks.sqlite.packed.codec import Steps

Indices: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"

UNIT_LIMIT: Final = 1 << 63
"""A unit is less, so that it is a step itself."""

SAMPLE: Final = 64
"""Steps from which a unit is guessed, before all are held against it."""

EXCEPTIONAL: Final = 128
"""One step in so many may be no multiple of the others' unit: a counter that falls leaves whatever it had."""


def steps_of(words: Words) -> Steps:
    """Return how much each word of a series differs from the one before."""
    return np.subtract(words[1:], words[:-1]).view(np.int64)


class Counted(NamedTuple):
    """Steps as *numbers* of a *unit*. *grain* is a larger unit, of which all but a few are multiples; else 1."""

    unit: int
    numbers: Steps
    grain: int = 1


def in_unit(steps: Steps) -> Counted:
    """Count *steps*, of which one moves, in the greatest unit that divides all, or find what divides nearly all."""
    unit = _guess(steps)
    while 1 < unit < UNIT_LIMIT:
        numbers = steps // unit
        rest = steps - numbers * unit
        unmet = rest[rest != 0]
        if not len(unmet):
            return Counted(unit, numbers)
        if len(unmet) <= len(steps) // EXCEPTIONAL:
            return Counted(1, steps, unit)
        unit = math.gcd(unit, int(np.gcd.reduce(unmet[:SAMPLE])))
    return Counted(1, steps)


def _guess(steps: Steps) -> int:
    """Return what divides some of the *steps*: rises, if there are any, since a counter falls by whatever it had."""
    some = steps[:: len(steps) // SAMPLE + 1]
    rises = some[some > 0]
    if not len(rises):
        rises = steps[steps != 0][:SAMPLE]
    return abs(int(np.gcd.reduce(rises)))


def in_units(steps: Steps, starts: Indices, sizes: Indices) -> tuple[Steps, Steps]:
    """Return a unit for each of several series that move, and their steps in it; they begin at *starts*.

    It is cheap to find, and nearly always the greatest: a power of two for each, times an odd number they all share.
    """
    bits: Any = np.bitwise_or.reduceat(steps, starts)
    powers: Steps = bits & -bits  # the lowest bit that is set in any
    numbers = steps >> np.repeat(np.log2(powers.view(np.uint64)).astype(np.int64), sizes)
    guess = _guess(steps)
    odd = guess // (guess & -guess)
    if odd == 1:
        return powers, numbers
    divided = numbers // odd
    same: Any = divided * odd == numbers
    if same.all():
        return powers * odd, divided
    met: Any = np.logical_and.reduceat(same, starts)
    units: Steps = np.where(met, powers * odd, powers)
    return units, np.where(np.repeat(met, sizes), divided, numbers)
