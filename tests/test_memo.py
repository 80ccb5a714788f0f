"""What is remembered goes with those who need it, and not before."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest

from domstat.memo import ROUNDS, Lately, Shared


class Made:
    """What is made of a key."""

    def __init__(self, *key: object) -> None:
        self.key = key


def counting(made: list[int]) -> Callable[[int], str]:
    """Return what makes texts of numbers, and notes of which."""

    def make(number: int) -> str:
        made.append(number)
        return str(number)

    return make


def test_who_asks_for_one_key_is_given_one_object() -> None:
    shared = Shared(Made)
    one = shared("a", 1)
    assert shared("a", 1) is one
    assert one.key == ("a", 1)
    assert shared("a", 2) is not one


def test_what_nobody_holds_is_not_remembered() -> None:
    shared = Shared(Made)
    held = [shared(number) for number in range(10)]
    assert len(shared) == 10
    del held[1:]
    gc.collect()
    assert len(shared) == 1


def test_what_is_asked_for_again_and_again_is_made_once() -> None:
    made: list[int] = []
    lately = Lately(counting(made), 100)
    for _ in range(3 * ROUNDS):
        assert [lately(number) for number in range(50)] == [str(number) for number in range(50)]
    assert made == list(range(50))


@pytest.mark.parametrize("rounds", [20, 4])
def test_keys_that_come_and_go_are_forgotten_while_others_stay(rounds: int) -> None:
    """Also where they come quickly, or others are asked for seldom: then every twentieth ask is for one that is new."""
    made: list[int] = []
    lately = Lately(counting(made), 10_000)
    most = 0
    for passing in range(100, 1_100):
        for _ in range(rounds):
            for number in range(5):
                lately(number)
        lately(passing)
        most = max(most, len(lately))
    assert len(made) == 5 + 1_000, "none that stays was made twice"
    assert most < 100, "of a thousand that passed"


def test_a_generation_never_has_more_than_it_may() -> None:
    lately = Lately(str, 10)
    for number in range(1_000):
        lately(number)
    assert len(lately) <= 20
