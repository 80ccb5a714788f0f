"""The bulk call in all its forms, and what is done about answers that come short or are too large."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import filterfalse
from typing import Any

import libvirt
import pytest

from domstat import clock
from domstat.catalog import GROUPS, needs_the_monitor
from domstat.collect import wire
from domstat.collect.block import ACTIVE, BACKING, NOWAIT
from domstat.collect.worker import calls as module
from domstat.collect.worker.calls import MONITOR_FREE, BulkCalls
from standins import Daemon, Guest, Refused, too_many

STATE, BLOCK = GROUPS["state"], GROUPS["block"]
FLAGS = ACTIVE | NOWAIT
STRANGE = 1 << 20
"""A flag that a call by list does not know."""
LIMIT_S = 0.5
"""Waited for where a guest hangs; the others answer within it on a busy machine too."""

EVERYBODY = wire.Ask(STATE | BLOCK, FLAGS)
WHOLE = {"block_rd": 1, "block_wr": 2}


class Caller:
    """The calls of one worker, made to a daemon over one connection."""

    def __init__(self, daemon: Daemon, before_answer: Callable[[], None] = lambda: None) -> None:
        self.daemon = daemon
        self.connection, _ = daemon.connect()
        self.calls = BulkCalls(before_answer, lambda: daemon.connect()[0])

    def ask(self, ask: wire.Ask = EVERYBODY, **changes: Any) -> list[wire.Answer]:
        changed = wire.Ask(**({name: getattr(ask, name) for name in ask.__struct_fields__} | changes))
        return list(self.calls.answers(self.connection, changed))

    def one(self, ask: wire.Ask = EVERYBODY, **changes: Any) -> wire.Answer:
        (answer,) = self.ask(ask, **changes)
        return answer


def names(*answers: wire.Answer) -> list[list[str]]:
    return [[guest.name for guest in answer.guests] for answer in answers]


def made(daemon: Daemon) -> list[tuple[str, int]]:
    """Return which calls were made, and of how many guests."""
    return [(call, len(guests)) for call, guests, _, _ in daemon.calls]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_S", (0.0, 0.0))


# --- everything at once


def test_all_guests_are_one_call_and_one_answer() -> None:
    daemon = Daemon(Guest("web-1", **WHOLE), Guest("db-1"))
    before = clock.now()
    answer = Caller(daemon).one()
    assert daemon.calls == [("all", ("web-1", "db-1"), STATE | BLOCK, FLAGS)]
    assert (answer.more, answer.spared, answer.forgotten, answer.unasked) == (False, False, False, 0)
    web, db = answer.guests
    assert (web.uuid, web.name, web.id, web.values) == ("uuid-of-web-1", "web-1", 3, [1, 1, 2])
    assert answer.shapes == {web.shape: ("state.state", "block.rd", "block.wr"), db.shape: ("state.state",)}
    assert before.time_ms <= answer.stamp.time_ms <= clock.now().time_ms
    assert before.boot_ns <= answer.stamp.boot_ns <= clock.boot_ns()
    assert answer.stamp.boot_id == before.boot_id


def test_the_stamp_is_of_the_moment_before_the_call_and_says_how_long_that_took() -> None:
    daemon = Daemon("web-1")
    called: list[int] = []

    def dawdle() -> None:
        called.append(clock.boot_ns())
        time.sleep(0.02)

    daemon.before = dawdle
    stamp = Caller(daemon).one().stamp
    assert stamp.boot_ns <= called[0]
    assert 20e6 <= stamp.call_ns < 20e9


def test_a_shape_is_sent_with_the_first_answer_only() -> None:
    caller = Caller(Daemon("web-1"))
    first, second = caller.one(), caller.one()
    assert (len(first.shapes), len(second.shapes)) == (1, 0)
    assert first.guests[0].shape == second.guests[0].shape


def test_the_hypervisors_own_statistics_are_left_behind_unless_asked_for() -> None:
    caller = Caller(Daemon(Guest("web-1", vcpu_0_time=1, vcpu_0_exits_sum=2, vm_pages_cur=3)))
    without, with_them = caller.one(), caller.one(internals=True)
    assert without.guests[0].values == [1, 1]
    assert with_them.guests[0].values == [1, 1, 2, 3]


def test_every_answer_waits_for_the_events_before_it() -> None:
    said: list[str] = []
    daemon = Daemon("web-1", "db-1")
    daemon.before = lambda: said.append("call")
    caller = Caller(daemon, lambda: said.append("events"))
    said.extend("answer" for _ in caller.calls.answers(caller.connection, wire.Ask(STATE, FLAGS, chunk=1)))
    assert said == ["call", "events", "answer"] * 2


def test_a_note_goes_with_the_next_answer_and_with_no_other() -> None:
    caller = Caller(Daemon("web-1"))
    caller.calls.note("an odd driver")
    assert [caller.one().notes, caller.one().notes] == [["an odd driver"], []]


# --- flags that a driver does not know


def test_a_driver_that_does_not_know_nowait_is_asked_without_it_from_then_on() -> None:
    daemon = Daemon("web-1")
    daemon.unknown_flags = NOWAIT
    caller = Caller(daemon)
    first, second = caller.one(), caller.one()
    assert [flags for _, _, _, flags in daemon.calls] == [FLAGS, ACTIVE, ACTIVE]
    assert (len(first.notes), second.notes) == (1, [])


def failing_once(code: int) -> Caller:
    daemon = Daemon("web-1", "db-1")
    errors = [Refused(code)]

    def fail() -> None:
        if errors:
            raise errors.pop()

    daemon.before = fail
    return Caller(daemon)


@pytest.mark.parametrize("code", [libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_INTERNAL_ERROR])
def test_a_guest_that_dies_within_the_call_costs_the_others_nothing(code: int) -> None:
    assert len(failing_once(code).one().guests) == 2


def test_a_call_that_fails_for_another_reason_is_not_made_again() -> None:
    with pytest.raises(Refused):
        failing_once(libvirt.VIR_ERR_OPERATION_FAILED).one()


def test_an_argument_that_is_wrong_for_another_reason_is_refused() -> None:
    daemon = Daemon("web-1")
    daemon.unknown_flags = ACTIVE
    with pytest.raises(Refused, match=str(libvirt.VIR_ERR_INVALID_ARG)):
        Caller(daemon).ask(flags=ACTIVE)
    assert len(daemon.calls) == 1
    with pytest.raises(Refused, match=str(libvirt.VIR_ERR_INVALID_ARG)):
        Caller(daemon).ask()


def test_a_refusal_is_passed_on() -> None:
    daemon = Daemon("web-1")
    daemon.trouble["stats"] = Refused(libvirt.VIR_ERR_NO_SUPPORT)
    with pytest.raises(Refused, match=str(libvirt.VIR_ERR_NO_SUPPORT)):
        Caller(daemon).ask()


# --- chosen guests, and lists


def test_chosen_guests_are_asked_in_one_call_by_list_with_the_flags_that_such_a_call_knows() -> None:
    daemon = Daemon("web-1", "db-1", "web-2")
    answer = Caller(daemon).one(domains=wire.Globs(("web-*",)), flags=FLAGS | BACKING | STRANGE)
    assert names(answer) == [["web-1", "web-2"]]
    assert daemon.calls == [("list", ("web-1", "web-2"), STATE | BLOCK, FLAGS | BACKING)]


def test_no_guest_chosen_is_an_answer_without_a_call() -> None:
    daemon = Daemon("web-1")
    answer = Caller(daemon).one(domains=wire.Globs(("nobody",)))
    assert (answer.guests, answer.more) == ([], False)
    assert daemon.calls == []


def test_guests_that_are_done_are_not_asked_for() -> None:
    daemon = Daemon("web-1", "db-1", "web-2")
    assert names(Caller(daemon).one(done=("uuid-of-db-1", "uuid-of-nobody"))) == [["web-1", "web-2"]]
    assert made(daemon) == [("list", 2)]


def test_chunks_have_answers_and_stamps_of_their_own() -> None:
    daemon = Daemon(*(f"g{i}" for i in range(5)))
    answers = Caller(daemon).ask(chunk=2)
    assert names(*answers) == [["g0", "g1"], ["g2", "g3"], ["g4"]]
    assert [answer.more for answer in answers] == [True, True, False]
    times = [answer.stamp.boot_ns for answer in answers]
    assert times == sorted(set(times))


def test_a_guest_that_vanishes_on_the_way_is_left_out() -> None:
    daemon = Daemon("web-1", "db-1")
    caller = Caller(daemon)
    listed = caller.connection.listAllDomains

    def list_and_lose(flags: int) -> Any:
        found = listed(flags)
        daemon.guests[0].gone = True
        return found

    caller.connection.listAllDomains = list_and_lose  # type: ignore[method-assign]
    assert names(caller.one(chunk=5)) == [["db-1"]]


# --- answers that are too large


def test_lists_are_halved_at_libvirts_ceiling_and_stay_so() -> None:
    daemon = Daemon(*(f"g{i}" for i in range(10)))
    daemon.ceiling = 3
    caller = Caller(daemon)
    answers = caller.ask()
    assert [len(answer.guests) for answer in answers] == [3, 3, 3, 1]
    assert [name for part in names(*answers) for name in part] == [f"g{i}" for i in range(10)]
    assert [answer.more for answer in answers] == [True, True, True, False]
    (note,) = (note for answer in answers for note in answer.notes if "asking 3 at a time" in note)
    assert note == "5 guests are more than one answer can hold; asking 3 at a time"
    daemon.calls.clear()
    assert [len(answer.guests) for answer in caller.ask()] == [3, 3, 3, 1]
    assert made(daemon) == [("list", 3), ("list", 3), ("list", 3), ("list", 1)], "what is known is not tried again"


def test_a_chunk_that_is_larger_than_the_ceiling_is_cut_as_well() -> None:
    daemon = Daemon(*(f"g{i}" for i in range(6)))
    daemon.ceiling = 3
    caller = Caller(daemon)
    caller.ask()
    assert [len(answer.guests) for answer in caller.ask(chunk=5)] == [3, 3]
    assert [len(answer.guests) for answer in caller.ask(chunk=2)] == [2, 2, 2]


def test_one_guest_that_is_too_much_for_an_answer_is_refused() -> None:
    daemon = Daemon("web-1", "db-1")
    daemon.trouble["stats"] = too_many()
    with pytest.raises(Refused):
        Caller(daemon).ask()
    assert made(daemon) == [("all", 2), ("list", 2), ("list", 1)]


def test_a_connection_that_ended_is_not_taken_for_a_ceiling() -> None:
    daemon = Daemon("web-1", "db-1")
    caller = Caller(daemon)

    def end() -> None:
        caller.connection.alive = False
        raise too_many()

    daemon.before = end
    with pytest.raises(Refused):
        caller.ask()
    assert made(daemon) == [("all", 2)]


# --- guests that come short


@pytest.fixture
def passing_over() -> Callable[[Daemon, int], None]:
    """Have the next *count* calls pass over the first guest, as NOWAIT does one whose monitor is occupied."""

    def arrange(daemon: Daemon, count: int) -> None:
        guest = daemon.guests[0]
        whole = guest.params
        calls = len(daemon.calls)

        def choose() -> None:
            passed_over = len(daemon.calls) <= calls + count
            guest.params = {"state.state": 1} if passed_over else whole

        daemon.before = choose

    return arrange


PassingOver = Callable[[Daemon, int], None]


def two_guests() -> Daemon:
    return Daemon(Guest("web-1", **WHOLE), Guest("db-1", **WHOLE))


def test_a_guest_that_comes_short_is_asked_again_in_an_answer_of_its_own(passing_over: PassingOver) -> None:
    daemon = two_guests()
    caller = Caller(daemon)
    caller.one()
    passing_over(daemon, 1)
    first, second = caller.ask()
    assert names(first, second) == [["db-1"], ["web-1"]]
    assert (first.more, second.more) == (True, False)
    assert second.guests[0].values == [1, 1, 2]
    assert second.stamp.boot_ns > first.stamp.boot_ns + first.stamp.call_ns
    assert daemon.calls[-1] == ("list", ("web-1",), STATE | BLOCK, FLAGS)
    assert made(daemon)[1:] == [("all", 2), ("list", 1)], "once it is whole it is asked no more"
    assert len(caller.ask()) == 1


def test_it_is_asked_a_second_time_and_no_third(passing_over: PassingOver) -> None:
    daemon = two_guests()
    caller = Caller(daemon)
    caller.one()
    passing_over(daemon, 2)
    assert caller.ask()[1].guests[0].values == [1, 1, 2]
    passing_over(daemon, 100)
    daemon.calls.clear()
    assert caller.ask()[1].guests[0].values == [1]
    assert made(daemon) == [("all", 2), ("list", 1), ("list", 1)]
    assert len(caller.ask()) == 1, "what it lacks now is what it lacks"


def test_the_last_of_several_parts_stays_the_last(passing_over: PassingOver) -> None:
    daemon = two_guests()
    caller = Caller(daemon)
    caller.ask(chunk=1)
    passing_over(daemon, 1)
    answers = caller.ask(chunk=1)
    assert names(*answers) == [[], ["web-1"], ["db-1"]]
    assert [answer.more for answer in answers] == [True, True, False]


def test_asking_for_other_groups_is_no_coming_short() -> None:
    daemon = two_guests()
    caller = Caller(daemon)
    caller.one()
    daemon.guests[0].params = {"state.state": 1}
    assert len(caller.ask(stats=STATE)) == 1
    daemon.guests[0].params = {"state.state": 1, **WHOLE}
    assert len(caller.ask()) == 1


def test_a_guest_that_is_known_to_be_stuck_is_not_asked_again(passing_over: PassingOver) -> None:
    daemon = two_guests()
    caller = Caller(daemon)
    caller.one()
    passing_over(daemon, 100)
    assert len(caller.ask(watch=("uuid-of-web-1",))) == 1


def test_whose_lengths_are_known_is_bounded(monkeypatch: pytest.MonkeyPatch, passing_over: PassingOver) -> None:
    monkeypatch.setattr(module, "GUESTS_REMEMBERED_MAX", 1)
    daemon = two_guests()
    caller = Caller(daemon)
    caller.one()
    passing_over(daemon, 1)
    assert len(caller.ask()) == 1


# --- what needs no monitor


def test_the_groups_that_need_no_monitor_are_those_of_the_catalogue() -> None:
    assert {name for name, bit in GROUPS.items() if bit & MONITOR_FREE} == set(filterfalse(needs_the_monitor, GROUPS))


def test_a_spare_question_asks_for_those_groups_alone() -> None:
    daemon = two_guests()
    daemon.guests[0].hang()
    answer = Caller(daemon).one(spare=True)
    assert answer.spared
    assert [stats for _, _, stats, _ in daemon.calls] == [STATE]


def test_a_spare_question_for_none_of_them_asks_for_the_state_and_not_for_everything() -> None:
    daemon = two_guests()
    answer = Caller(daemon).one(stats=BLOCK, spare=True)
    assert [stats for _, _, stats, _ in daemon.calls] == [STATE]
    assert names(answer) == [["web-1", "db-1"]]
    assert [guest.values for guest in answer.guests] == [[], []], "the state was not asked for"


def test_what_a_spare_answer_lacks_is_no_coming_short_of_the_next() -> None:
    daemon = two_guests()
    caller = Caller(daemon)
    caller.one()
    whole = [dict(guest.params) for guest in daemon.guests]
    for guest in daemon.guests:
        guest.params = {"state.state": 1}
    assert len(caller.ask(spare=True)) == 1
    daemon.guests[0].params, daemon.guests[1].params = whole[0], {"state.state": 1}
    assert names(*caller.ask()) == [["web-1"], ["db-1"]]


# --- every guest by itself


@pytest.fixture
def stuck() -> Iterator[Daemon]:
    daemon = Daemon(*(Guest(f"g{i}", **WHOLE) for i in range(4)))
    daemon.guests[1].hang()
    yield daemon
    for guest in daemon.guests:
        guest.go_on()


def test_guests_that_all_answer_by_themselves_are_one_answer(stuck: Daemon) -> None:
    stuck.guests[1].go_on()
    answer = Caller(stuck).one(alone=2, limit_s=60.0, flags=FLAGS | STRANGE)
    assert sorted(names(answer)[0]) == ["g0", "g1", "g2", "g3"]
    assert (answer.stuck, answer.unasked, answer.spared, answer.more) == ((), 0, False, False)
    assert {flags for _, _, _, flags in stuck.calls} == {FLAGS}


def test_a_stuck_guest_comes_in_a_spared_answer_of_its_own(stuck: Daemon) -> None:
    caller = Caller(stuck)
    whole, spared = caller.ask(alone=2, limit_s=LIMIT_S)
    assert sorted(names(whole)[0]) == ["g0", "g2", "g3"]
    assert (whole.more, whole.spared, whole.stuck) == (True, False, ())
    assert names(spared) == [["g1"]]
    assert (spared.more, spared.spared, spared.stuck) == (False, True, ("uuid-of-g1",))
    assert stuck.calls[-1] == ("list", ("g1",), STATE, FLAGS)
    assert stuck.callers[-1] is caller.connection


def test_a_stuck_guest_of_which_nothing_can_be_asked_comes_without_values(stuck: Daemon) -> None:
    _, spared = Caller(stuck).ask(alone=2, limit_s=LIMIT_S, stats=BLOCK)
    assert spared.guests[0].values == []
    assert stuck.calls[-1][2] == STATE


def test_how_many_were_not_asked_is_said_with_the_last_answer(stuck: Daemon) -> None:
    stuck.guests[0].hang()
    whole, spared = Caller(stuck).ask(alone=2, limit_s=LIMIT_S)
    assert (names(whole), whole.more, whole.unasked) == ([[]], True, 0)
    assert (set(spared.stuck), spared.unasked) == ({"uuid-of-g0", "uuid-of-g1"}, 2)


def test_guests_that_are_done_or_not_chosen_are_not_asked_alone_either(stuck: Daemon) -> None:
    answer = Caller(stuck).one(alone=2, limit_s=60.0, done=("uuid-of-g1",), domains=wire.Globs(exclude=("g3",)))
    assert sorted(names(answer)[0]) == ["g0", "g2"]
