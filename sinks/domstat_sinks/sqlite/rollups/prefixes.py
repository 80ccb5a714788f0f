"""Which sketches make up a range of days. Pure.

Beside each day's sketches there are, now and then, *cumulative* ones, of all days before a day. So a long range is the
difference of two cumulative sketches, each brought up to its day by the few days between: what that costs does not
grow with the range.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

CUMULATIVE_EVERY_DAYS = 30
"""From one cumulative sketch to the next: a range needs at most two of these and fifteen days at either end."""


class Term(Struct, frozen=True, order=True):
    """Sketches to be added (*sign* 1) or subtracted (-1).

    Those of *day*, or with *is_cumulative* those of all days before it.
    """

    sign: int
    day: int
    is_cumulative: bool = False


def terms(since: int, until: int, cumulative: Sequence[int]) -> list[Term]:
    """Choose the fewest sketches that make up the days from *since* on and before *until*, numbered from 1970.

    *cumulative* are the days, ascending, that have cumulative sketches.
    """
    days = _each(1, since, until)
    choices = [days]
    for end in _ways_to(until, cumulative):
        choices += [_difference(end, start) for start in _ways_to(since, cumulative)]
    return min(choices, key=len)


def _each(sign: int, since: int, until: int) -> list[Term]:
    return [Term(sign, day) for day in range(since, until)]


def _ways_to(day: int, cumulative: Sequence[int]) -> list[list[Term]]:
    """Give the ways to all days before *day*: up from the cumulative sketches before it, and down from those after."""
    ways = []
    before, after = bisect_right(cumulative, day) - 1, bisect_left(cumulative, day)
    if before >= 0:
        base = cumulative[before]
        ways.append([Term(1, base, is_cumulative=True), *_each(1, base, day)])
    if after < len(cumulative):
        base = cumulative[after]
        ways.append([Term(1, base, is_cumulative=True), *_each(-1, day, base)])
    return ways


def _difference(end: Sequence[Term], start: Sequence[Term]) -> list[Term]:
    """Subtract one sum of sketches from another; what is in both is in neither any more."""
    signs: Counter[tuple[int, bool]] = Counter()
    for terms_, sign in ((end, 1), (start, -1)):
        for term in terms_:
            signs[term.day, term.is_cumulative] += sign * term.sign
    return [Term(sign, day, is_cumulative) for (day, is_cumulative), sign in sorted(signs.items()) if sign]
