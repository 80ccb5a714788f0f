"""The agent's side of a worker: deadlines kept, workers killed and started anew, whatever they do."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from domstat.collect import wire
from domstat.collect.hypervisor import (
    ClosedError,
    CollectError,
    Hypervisor,
    OverdueError,
    RefusedError,
    UnreachableError,
    WorkerDiedError,
)
from heard import Log

ASK = wire.Ask(63, 1)
FAKE = (sys.executable, str(Path(__file__).with_name("fake_worker.py")))
STARTED_S = 15.0
"""More than a worker's start takes on a busy machine: for questions whose deadline is not the point."""

Make = Callable[..., Hypervisor]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Log) -> Iterator[Make]:
    """Make hypervisors whose fake workers behave as the plan says; all are closed in the end."""
    monkeypatch.setenv("DOMSTAT_FAKE_COUNT", str(tmp_path / "count"))
    made: list[Hypervisor] = []

    def make(plan: str, command: tuple[str, ...] = FAKE) -> Hypervisor:
        made.append(Hypervisor("kvm1", plan, log, command))
        return made[-1]

    yield make
    for hypervisor in made:
        hypervisor.close()


def ask(hypervisor: Hypervisor, seconds: float = STARTED_S) -> tuple[wire.Answer, dict[int, tuple[str, ...]]]:
    return hypervisor.ask(ASK, time.monotonic() + seconds)


def ask_in_vain(hypervisor: Hypervisor, seconds: float) -> threading.Thread:
    """Begin to ask, in a thread of its own, what will not be answered in time."""

    def asking() -> None:
        with pytest.raises(OverdueError):
            ask(hypervisor, seconds)

    thread = threading.Thread(target=asking)
    thread.start()
    return thread


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def eventually(holds: Callable[[], bool], seconds: float = STARTED_S) -> bool:
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def test_an_answer_comes_with_the_names_behind_its_shapes(make: Make) -> None:
    answer, shapes = ask(make("answer"))
    (guest,) = answer.guests
    assert dict(zip(shapes[guest.shape], guest.values, strict=True))["stats"] == 63


def test_shapes_are_remembered_for_later_answers(make: Make) -> None:
    hypervisor = make("answer,note")
    ask(hypervisor)
    answer, shapes = ask(hypervisor)
    assert answer.shapes == {}
    assert shapes[1] == ("stats", "pid")


def test_one_worker_serves_all_questions(make: Make) -> None:
    hypervisor = make("answer")
    pids = {ask(hypervisor)[0].guests[0].values[1] for _ in range(3)}
    assert pids == {hypervisor.worker_pid}
    assert hypervisor.workers_killed == 0


def test_xml_is_asked_for_by_uuid(make: Make) -> None:
    hypervisor = make("answer")
    descriptions = hypervisor.describe(("a", "b"), time.monotonic() + STARTED_S)
    assert [description.uuid for description in descriptions] == ["a", "b"]


def test_what_a_worker_notes_is_logged(make: Make, log: Log) -> None:
    ask(make("note"))
    assert log.facts("driver_note") == {"host": "kvm1", "note": "an odd driver"}


@pytest.mark.parametrize("what", ["hang", "hang-deaf", "trickle", "late"])
def test_the_deadline_is_kept_and_the_worker_killed(make: Make, what: str) -> None:
    hypervisor = make(f"answer,{what}")
    ask(hypervisor)
    pid = hypervisor.worker_pid
    assert pid is not None
    started = time.monotonic()
    with pytest.raises(OverdueError) as caught:
        ask(hypervisor, 0.2)
    assert 0.2 <= time.monotonic() - started < 1.2
    assert caught.value.reason == "deadline"
    assert not is_alive(pid)
    assert hypervisor.workers_killed == 1


def test_what_a_worker_started_is_killed_with_it(make: Make) -> None:
    hypervisor = make("answer,hang-deaf")
    ask(hypervisor)
    pid = hypervisor.worker_pid
    asking = ask_in_vain(hypervisor, 3.0)
    children = Path(f"/proc/{pid}/task/{pid}/children")
    assert eventually(lambda: bool(children.read_text()))
    child = int(children.read_text())
    asking.join()
    assert eventually(lambda: not is_alive(child))


def test_after_a_hung_worker_the_next_is_already_there_and_answers(make: Make) -> None:
    hypervisor = make("once:hang")
    with pytest.raises(OverdueError):
        ask(hypervisor, 1.5)
    assert hypervisor.worker_pid is not None
    answer, _ = ask(hypervisor)
    assert answer.guests[0].values[1] == hypervisor.worker_pid


def test_an_answer_within_the_deadline_is_in_time(make: Make) -> None:
    hypervisor = make("late")
    assert ask(hypervisor)[0].guests
    assert hypervisor.workers_killed == 0


@pytest.mark.parametrize("what", ["die", "half", "rubbish", "not-utf8", "huge", "wrong"])
def test_a_worker_that_dies_or_talks_rubbish_is_replaced(make: Make, what: str) -> None:
    hypervisor = make(f"once:{what}")
    with pytest.raises(WorkerDiedError) as caught:
        ask(hypervisor)
    assert caught.value.reason == "worker-died"
    assert hypervisor.workers_killed == 1
    assert ask(hypervisor)[0].guests


def test_a_reply_of_4_gib_is_refused_before_any_of_it_is_read(make: Make) -> None:
    with pytest.raises(WorkerDiedError, match="4294967295 bytes"):
        ask(make("huge"))


@pytest.mark.parametrize(("what", "error"), [("refuse", RefusedError), ("unreachable", UnreachableError)])
def test_a_refusal_is_said_and_kills_nobody(make: Make, what: str, error: type[CollectError]) -> None:
    hypervisor = make(what)
    for _ in range(2):
        with pytest.raises(error):
            ask(hypervisor)
    assert hypervisor.workers_killed == 0


@pytest.mark.parametrize("command", [("/nonexistent/python",), ("false",)])
def test_a_worker_that_cannot_be_started_is_an_error_like_any_other(make: Make, command: tuple[str, ...]) -> None:
    hypervisor = make("answer", command)
    for _ in range(3):
        with pytest.raises(WorkerDiedError):
            ask(hypervisor)


def test_a_deadline_that_has_passed_asks_nobody_for_long(make: Make) -> None:
    started = time.monotonic()
    with pytest.raises(OverdueError):
        ask(make("hang"), -5.0)
    assert time.monotonic() - started < 1.0


def test_what_workers_print_is_logged_in_pieces(make: Make, log: Log) -> None:
    ask(make("complain"))
    assert eventually(lambda: log.events("debug").count("worker_said") >= 3)
    assert log.facts("worker_said")["text"] == "libvirt: something is odd"
    assert all(len(facts["text"]) <= 2_000 for _, _, facts in log.said)


def test_two_streams_take_turns(make: Make) -> None:
    hypervisor = make("answer,late,answer")
    ask(hypervisor)
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(ask(hypervisor))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 3


def test_a_stream_whose_turn_does_not_come_before_its_deadline_says_so(make: Make) -> None:
    hypervisor = make("answer,hang")
    ask(hypervisor)
    hanging = ask_in_vain(hypervisor, 0.6)
    assert eventually(hypervisor._turn.locked)
    with pytest.raises(OverdueError, match="busy with another"):
        ask(hypervisor, 0.1)
    hanging.join()
    assert hypervisor.workers_killed == 1


def test_close_ends_a_question_that_hangs(make: Make) -> None:
    hypervisor = make("answer,hang")
    ask(hypervisor)
    pid = hypervisor.worker_pid
    caught: list[CollectError] = []

    def asking() -> None:
        try:
            ask(hypervisor, 60)
        except CollectError as error:
            caught.append(error)

    thread = threading.Thread(target=asking)
    thread.start()
    assert eventually(hypervisor._turn.locked)
    time.sleep(0.05)
    started = time.monotonic()
    hypervisor.close()
    thread.join(5)
    assert not thread.is_alive()
    assert time.monotonic() - started < 2
    assert [type(error) for error in caught] == [ClosedError]
    assert hypervisor.worker_pid is None
    assert pid is not None
    assert not is_alive(pid)


def test_close_kills_an_idle_worker_and_may_come_twice(make: Make) -> None:
    hypervisor = make("answer")
    ask(hypervisor)
    pid = hypervisor.worker_pid
    assert pid is not None
    hypervisor.close()
    hypervisor.close()
    assert not is_alive(pid)
    with pytest.raises(ClosedError):
        ask(hypervisor)


def test_nothing_is_started_after_close(make: Make) -> None:
    hypervisor = make("answer")
    hypervisor.close()
    with pytest.raises(ClosedError):
        ask(hypervisor)
    assert hypervisor.worker_pid is None


def test_replacing_workers_leaks_no_descriptors(make: Make) -> None:
    hypervisor = make("die")

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(2):
        with pytest.raises(WorkerDiedError):
            ask(hypervisor)
    before = descriptors()
    for _ in range(5):
        with pytest.raises(WorkerDiedError):
            ask(hypervisor)
    assert eventually(lambda: descriptors() <= before + 1)
