"""The agent's side of a host: it asks in turns, replaces workers that fail and says outages."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from collect.asking import ASK, SHORT_S, GiveUp, Make, ask, asked, in_a_thread, in_seconds, names, pid
from domstat.collect import hypervisor as hypervisor_module
from domstat.collect import wire
from domstat.collect.errors import (
    CollectError,
    OverdueError,
    RefusedError,
    UnreachableError,
    WorkerDiedError,
)
from domstat.collect.hypervisor import Collected
from faked import FAKE, STARTED_S, eventually, is_alive, is_reaped
from heard import Log

# --- a tick


def test_an_answer_comes_with_the_names_behind_its_shapes(make: Make) -> None:
    ((answer, shapes),) = make("answer").ask(ASK, STARTED_S)
    (guest,) = answer.guests
    assert shapes[guest.shape] == ("asked", "pid")
    assert asked(answer) == ASK


def test_shapes_are_remembered_for_later_answers(make: Make) -> None:
    hypervisor = make("answer,no-shapes")
    ask(hypervisor)
    ((answer, shapes),) = hypervisor.ask(ASK, STARTED_S)
    assert answer.shapes == {}
    assert shapes[1] == ("asked", "pid")


def test_one_worker_serves_all_questions(make: Make) -> None:
    hypervisor = make("answer")
    pids = {pid(answer) for _ in range(3) for answer in ask(hypervisor)}
    assert pids == {hypervisor.worker_pid}
    assert hypervisor.workers_killed == 0


def test_answers_in_parts_are_given_as_they_come(make: Make, go_on: Callable[[], None]) -> None:
    hypervisor = make("part:a&b+part:c+wait+answer:d")
    collected: Iterator[Collected] = hypervisor.ask(ASK, STARTED_S)
    first, second = next(collected), next(collected)
    go_on()
    (last,) = collected
    answers = [first[0], second[0], last[0]]
    assert names(answers) == [["a", "b"], ["c"], ["d"]]
    assert [answer.more for answer in answers] == [True, True, False]


def test_every_part_has_the_whole_deadline(make: Make, log: Log) -> None:
    hypervisor = make(f"answer,{'sleep:0.25+part:a+' * 8}answer:b;looks=die")
    ask(hypervisor)
    assert names(ask(hypervisor, 1.8)) == [*[["a"]] * 8, ["b"]], "in 2 s"


def test_what_a_worker_notes_is_logged(make: Make, log: Log) -> None:
    ask(make("note"))
    assert log.facts("driver_note") == {"host": "kvm1", "note": "an odd driver"}


def test_what_happens_is_passed_on_and_every_connection_but_the_first_is_a_reconnect(
    make: Make, happened: list[wire.Happened]
) -> None:
    hypervisor = make("connected+event:a+answer,connected+answer")
    assert hypervisor.reconnects == 0
    ask(hypervisor)
    assert hypervisor.reconnects == 0
    ask(hypervisor)
    assert hypervisor.reconnects == 1
    assert [what.missed for what in happened] == [True, False, True]


def test_whoever_stops_hearing_halfway_does_not_hold_up_the_next_nor_take_its_shapes(make: Make) -> None:
    hypervisor = make("part:a+answer/no-shapes,answer")
    collected = hypervisor.ask(ASK, STARTED_S)
    assert isinstance(collected, Iterator)
    next(collected)
    collected.close()  # type: ignore[attr-defined]
    assert hypervisor.workers_killed == 1, "what the rest would have said is lost, new shapes with it"
    assert len(ask(hypervisor)) == 1


# --- overdue for good


def test_a_call_that_nobody_works_on_is_given_up_and_its_worker_replaced(make: Make, log: Log, give_up: GiveUp) -> None:
    give_up("STALL_S")
    hypervisor = make("answer,hang/answer")
    ask(hypervisor)
    old = hypervisor.worker_pid
    assert old is not None
    started = time.monotonic()
    with pytest.raises(OverdueError, match="no guest is why") as caught:
        ask(hypervisor, SHORT_S)
    assert time.monotonic() - started > 0.25
    assert caught.value.reason == "deadline"
    assert is_reaped(old)
    assert hypervisor.workers_killed == 1
    assert hypervisor.worker_pid not in {None, old}, "the next is already there"
    assert log.said == [], "not an outage: whoever asked says what it means"
    assert pid(ask(hypervisor)[0]) == hypervisor.worker_pid


def test_a_daemon_that_does_not_even_answer_a_look_hangs(make: Make, log: Log, give_up: GiveUp) -> None:
    give_up("HUNG_S")
    hypervisor = make("answer,hang;looks=silence")
    ask(hypervisor)
    with pytest.raises(UnreachableError, match="its daemon hangs"):
        ask(hypervisor, SHORT_S)
    assert hypervisor.workers_killed == 1
    assert log.events() == ["host_lost"]


def test_a_connection_that_does_not_come_about_is_given_up_with_its_worker(
    make: Make, log: Log, give_up: GiveUp
) -> None:
    give_up("CONNECT_S")
    hypervisor = make("hang;looks=connecting/answer")
    with pytest.raises(UnreachableError, match=r"could not be connected to in 0\.25 s"):
        ask(hypervisor, SHORT_S)
    assert hypervisor.workers_killed == 1, "else it would make every call it was asked for, once it came through"
    assert log.facts("host_lost")["reason"] == "host-down"
    assert len(ask(hypervisor)) == 1


def test_a_worker_that_dies_while_it_is_waited_for_is_told(make: Make) -> None:
    with pytest.raises(WorkerDiedError):
        ask(make("sleep:0.3+die"), SHORT_S)


@pytest.mark.parametrize("looks", ["die", "wrong", "rubbish"])
def test_a_look_that_goes_wrong_costs_the_worker(make: Make, looks: str) -> None:
    hypervisor = make(f"hang;looks={looks}/answer")
    with pytest.raises(WorkerDiedError):
        ask(hypervisor, SHORT_S)
    assert hypervisor.workers_killed == 1
    assert len(ask(hypervisor)) == 1


def test_a_deadline_that_has_passed_waits_no_longer_for_that(make: Make, give_up: GiveUp) -> None:
    give_up("STALL_S")
    started = time.monotonic()
    with pytest.raises(OverdueError):
        ask(make("hang"), -5.0)
    assert time.monotonic() - started < STARTED_S


# --- workers that fail, and hosts that are lost


@pytest.mark.parametrize("what", ["die", "half", "rubbish", "not-utf8", "huge", "wrong"])
def test_a_worker_that_dies_or_talks_rubbish_is_replaced(make: Make, what: str) -> None:
    hypervisor = make(f"{what}/answer")
    with pytest.raises(WorkerDiedError) as caught:
        ask(hypervisor)
    assert caught.value.reason == "worker-died"
    assert hypervisor.workers_killed == 1
    assert len(ask(hypervisor)) == 1


def test_a_worker_that_dies_between_two_parts_leaves_the_first(make: Make) -> None:
    hypervisor = make("part:a+die/answer")
    collected = hypervisor.ask(ASK, STARTED_S)
    assert names([next(collected)[0]]) == [["a"]]
    with pytest.raises(WorkerDiedError):
        next(collected)
    assert names(ask(hypervisor)) == [["web-1"]]


def test_a_worker_that_died_while_nobody_asked_is_replaced_unnoticed_and_reaped(make: Make, log: Log) -> None:
    hypervisor = make("answer+sleep:0.05+die/answer")
    ask(hypervisor)
    old = hypervisor.worker_pid
    assert old is not None
    assert eventually(lambda: not is_alive(old))
    assert eventually(lambda: hypervisor._process is None or hypervisor._process.has_ended)
    assert len(ask(hypervisor)) == 1
    assert is_reaped(old)
    assert log.said == []


def test_a_worker_that_lives_but_cannot_be_heard_any_more_is_not_left_behind(make: Make) -> None:
    hypervisor = make("answer+sleep:0.05+rubbish-unasked/answer")
    ask(hypervisor)
    old = hypervisor.worker_pid
    assert old is not None
    assert eventually(lambda: hypervisor._process is not None and hypervisor._process.has_ended)
    ask(hypervisor)
    assert is_reaped(old)


@pytest.mark.parametrize("command", [("/nonexistent/python",), ("false",)])
def test_a_worker_that_cannot_be_started_is_an_error_like_any_other(make: Make, command: tuple[str, ...]) -> None:
    hypervisor = make("answer", command)
    for _ in range(3):
        with pytest.raises(WorkerDiedError):
            ask(hypervisor)


def test_a_next_worker_that_cannot_be_started_at_once_is_tried_again_with_the_next_tick(make: Make, log: Log) -> None:
    hypervisor = make("die,answer/answer")
    hypervisor._running()
    hypervisor._command = ("/nonexistent/python",)
    with pytest.raises(WorkerDiedError, match="ended"):
        ask(hypervisor)
    assert log.events() == ["worker_not_started", "host_lost"]
    with pytest.raises(WorkerDiedError, match="can be started"):
        ask(hypervisor)
    hypervisor._command = FAKE
    assert len(ask(hypervisor)) == 1


def test_an_outage_is_said_once_and_so_is_its_end(make: Make, log: Log) -> None:
    hypervisor = make("unreachable,unreachable,die/unreachable,answer,answer,unreachable,answer")
    for _ in range(4):
        with pytest.raises((UnreachableError, WorkerDiedError)):
            ask(hypervisor)
    for _ in range(2):
        ask(hypervisor)
    assert [event for event in log.events() if event != "worker_said"] == ["host_lost", "host_back"]
    assert log.facts("host_lost") == {"host": "kvm1", "reason": "host-down", "error": "cannot connect"}
    assert log.facts("host_back")["after_s"] >= 0
    with pytest.raises(UnreachableError):
        ask(hypervisor)
    ask(hypervisor)
    assert log.events().count("host_lost") == log.events().count("host_back") == 2


def test_a_refusal_is_said_is_no_outage_and_kills_nobody(make: Make, log: Log) -> None:
    hypervisor = make("refuse")
    for _ in range(2):
        with pytest.raises(RefusedError, match="unsupported") as caught:
            ask(hypervisor)
    assert caught.value.reason == "refused"
    assert (hypervisor.workers_killed, log.said) == (0, [])


def test_a_host_that_is_lost_kills_no_worker_that_says_so(make: Make) -> None:
    hypervisor = make("unreachable,answer")
    with pytest.raises(UnreachableError):
        ask(hypervisor)
    assert (len(ask(hypervisor)), hypervisor.workers_killed) == (1, 0)


# --- backing off


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """Between what the waits after failures were drawn; none of them is waited for."""
    bounds: list[tuple[float, float]] = []

    def draw(least: float, most: float) -> float:
        bounds.append((least, most))
        return 0.0

    monkeypatch.setattr(hypervisor_module, "BACKOFF_S", 0.5)
    monkeypatch.setattr(random, "uniform", draw)
    return bounds


def test_after_a_failure_the_host_is_left_alone_for_a_while(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypervisor_module, "BACKOFF_S", 30.0)
    monkeypatch.setattr(random, "uniform", lambda _least, most: most / 2)
    hypervisor = make("unreachable,answer")
    began = time.monotonic()
    with pytest.raises(UnreachableError, match="cannot connect"):
        ask(hypervisor)
    assert began + 15 <= hypervisor._not_before <= time.monotonic() + 15
    monkeypatch.setattr(hypervisor, "_not_before", time.monotonic() + 1000)
    with pytest.raises(UnreachableError, match=r"the next attempt is in (1000|9\d\d)\.\d s"):
        ask(hypervisor)
    monkeypatch.setattr(hypervisor, "_not_before", time.monotonic())
    assert len(ask(hypervisor)) == 1


@pytest.mark.parametrize(
    ("uri", "waits"),
    [
        ("fake:///unreachable", [0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0]),
        ("unreachable", [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0]),
    ],
)
def test_the_wait_doubles_to_its_end_and_a_random_part_of_it_is_waited(
    make: Make, drawn: list[tuple[float, float]], uri: str, waits: list[float]
) -> None:
    hypervisor = make(uri)
    for _ in waits:
        with pytest.raises(UnreachableError):
            ask(hypervisor)
    assert drawn == [(0, most) for most in waits]


def test_who_was_reached_waits_but_a_little_the_next_time(make: Make, drawn: list[tuple[float, float]]) -> None:
    hypervisor = make("unreachable,unreachable,answer,unreachable")
    for expected in (1, 2, 2, 3):
        with suppress(UnreachableError):
            ask(hypervisor)
        assert len(drawn) == expected
    assert drawn == [(0, 0.5), (0, 1.0), (0, 0.5)]


def test_however_many_attempts_fail_the_wait_stays_a_number(make: Make) -> None:
    hypervisor = make("answer")
    for _ in range(5000):
        hypervisor._back_off()
    assert hypervisor._not_before <= in_seconds(60)


# --- questions on their own


def test_a_connection_is_examined(make: Make) -> None:
    assert make("answer").examine(in_seconds(STARTED_S)).driver == "fake"


def test_a_question_on_its_own_is_killed_at_its_deadline(make: Make) -> None:
    hypervisor = make("hang;looks=busy:a=1/answer")
    started = time.monotonic()
    with pytest.raises(OverdueError, match="before the deadline"):
        hypervisor.converse(wire.Survey(), wire.Surveyed, in_seconds(0.2))
    assert 0.2 <= time.monotonic() - started < STARTED_S
    assert hypervisor.workers_killed == 1
    assert hypervisor.converse(wire.Survey(), wire.Surveyed, in_seconds(STARTED_S)).pools == []


@pytest.mark.parametrize(
    ("what", "error", "killed"),
    [
        ("unreachable", UnreachableError, 0),
        ("refuse", RefusedError, 0),
        ("wrong", WorkerDiedError, 0),
        ("die", WorkerDiedError, 1),
        ("rubbish", WorkerDiedError, 1),
    ],
)
def test_a_question_on_its_own_may_fail(make: Make, what: str, error: type[CollectError], killed: int) -> None:
    hypervisor = make(f"{what},answer/answer")
    with pytest.raises(error):
        hypervisor.examine(in_seconds(STARTED_S))
    assert hypervisor.workers_killed == killed
    assert hypervisor.examine(in_seconds(STARTED_S)).guests == 1


# --- turns


def test_streams_take_turns(make: Make) -> None:
    hypervisor = make("answer,sleep:0.1+part:a+sleep:0.1+answer:b,answer")
    ask(hypervisor)
    answers: list[list[list[str]]] = []
    threads = [in_a_thread(lambda: answers.append(names(ask(hypervisor))))[0] for _ in range(3)]
    for thread in threads:
        thread.join()
    assert sorted(answers) == [[["a"], ["b"]], [["web-1"]], [["web-1"]]]


def test_a_stream_whose_turn_does_not_come_says_so(make: Make, give_up: GiveUp) -> None:
    give_up("STALL_S")
    hypervisor = make("part:a+answer")
    collected = hypervisor.ask(ASK, STARTED_S)
    next(collected)
    with pytest.raises(OverdueError, match="busy with another"):
        ask(hypervisor)
    assert len(list(collected)) == 1
    assert hypervisor.workers_killed == 0


@pytest.mark.parametrize("what", ["refuse", "unreachable", "die"])
def test_whoever_fails_gives_up_its_turn(make: Make, what: str) -> None:
    hypervisor = make(f"{what}/answer")
    with pytest.raises(CollectError):
        ask(hypervisor)
    assert not hypervisor._turn.locked()
