"""Whose turn it is: one thread at a time, in the order in which they ask, and nobody waits for who has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from domstat_sinks.sqlite.keeping import turns
from domstat_sinks.sqlite.keeping.turns import HOLD_S, Turns


class Hours:
    """A clock that is set by hand, and threads told apart by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s, self.thread = 1000.0, 1
        monkeypatch.setattr(turns, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(turns, "get_ident", lambda: self.thread)

    def of(self, thread: int, does: Callable[[], object]) -> object:
        self.thread = thread
        return does()


@pytest.fixture
def hours(monkeypatch: pytest.MonkeyPatch) -> Hours:
    return Hours(monkeypatch)


def test_one_has_a_turn_and_goes_on_with_it_while_the_others_wait(hours: Hours) -> None:
    own = Turns()
    assert [hours.of(thread, own.take) for thread in (1, 2, 1, 3, 1)] == [True, False, True, False, True]


def test_turns_are_given_in_the_order_in_which_they_were_asked_for(hours: Hours) -> None:
    own = Turns()
    assert [hours.of(thread, own.take) for thread in (1, 2, 3)] == [True, False, False]
    hours.of(1, own.give)
    assert [hours.of(thread, own.take) for thread in (1, 3, 2, 3)] == [False, False, True, False]
    hours.of(2, own.give)
    assert [hours.of(thread, own.take) for thread in (1, 3)] == [False, True]


def test_a_turn_that_nobody_goes_on_with_is_over_and_so_is_a_place_among_those_who_wait(hours: Hours) -> None:
    own = Turns()
    assert [hours.of(thread, own.take) for thread in (1, 2)] == [True, False]
    hours.now_s += HOLD_S / 2
    assert hours.of(1, own.take)
    hours.now_s += HOLD_S / 2
    assert not hours.of(3, own.take), "the first has gone on meanwhile"
    hours.now_s += HOLD_S / 2
    assert hours.of(3, own.take), "nobody has, and the second has not asked again"


def test_whoever_no_longer_waits_is_waited_for_by_nobody(hours: Hours) -> None:
    own = Turns()
    assert [hours.of(thread, own.take) for thread in (1, 2, 3)] == [True, False, False]
    hours.of(2, own.give)
    assert not hours.of(3, own.take), "what the second gives is not the first's turn"
    hours.of(1, own.give)
    assert hours.of(3, own.take)


def test_threads_are_told_apart() -> None:
    own, found = Turns(), list[bool]()
    assert own.take()
    thread = threading.Thread(target=lambda: found.append(own.take()))
    thread.start()
    thread.join()
    assert found == [False]
