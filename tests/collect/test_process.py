"""One worker process: what it says reaches whoever asked, and it ends when it is told to, whatever it is doing."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from domstat.collect import wire
from domstat.collect.errors import ClosedError, CollectError, WorkerDiedError
from domstat.collect.process import STDERR_LINE_MAX, Mailbox, WorkerProcess
from domstat.model import Stamp
from domstat_bench.measure import children
from faked import FAKE, STARTED_S, descriptors, eventually, is_alive, is_reaped, number_workers
from heard import Log

ASK = wire.Ask(63, 1)
LOOK = wire.Look()

Make = Callable[..., WorkerProcess]


@pytest.fixture
def happened() -> list[wire.Happened]:
    """What the workers of the test said unasked."""
    return []


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, log: Log, happened: list[wire.Happened]) -> Iterator[Make]:
    """Start workers that behave as the plan says; all are killed in the end."""
    number_workers(monkeypatch)
    made: list[WorkerProcess] = []

    def make(plan: str, on_happened: Callable[[wire.Happened], Any] = happened.append) -> WorkerProcess:
        made.append(WorkerProcess(FAKE, wire.Open(plan), log, on_happened))
        return made[-1]

    yield make
    for process in made:
        process.kill()


def reply(mailbox: Mailbox) -> wire.Reply:
    got = mailbox.get(STARTED_S)
    assert got is not None
    return got


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("worker-", "stderr-"))]


def names(answer: wire.Reply) -> list[str]:
    assert isinstance(answer, wire.Answer)
    return [guest.name for guest in answer.guests]


# --- questions and replies


def test_a_reply_comes_into_its_questions_mailbox(make: Make) -> None:
    process = make("answer:a,answer:b")
    first, second = process.ask(ASK), process.ask(ASK)
    assert (names(reply(second)), names(reply(first))) == (["b"], ["a"])


def test_several_replies_to_one_question_come_in_their_order(make: Make) -> None:
    mailbox = make("part:a+part:b+answer:c").ask(ASK)
    assert [names(reply(mailbox)) for _ in range(3)] == [["a"], ["b"], ["c"]]


def test_a_look_is_answered_while_a_call_hangs(make: Make) -> None:
    process = make("hang;looks=busy:a=50")
    hanging = process.ask(ASK)
    assert reply(process.ask(LOOK)) == wire.Looked([wire.Occupied("a", "a", 50)], connected=True)
    assert hanging.get(0) is None


def test_what_does_not_come_in_time_is_none_and_may_come_later(make: Make) -> None:
    process = make("sleep:0.2+answer")
    mailbox = process.ask(ASK)
    for _ in range(2):
        assert mailbox.get(0) is None
    assert mailbox.get(-5) is None
    assert mailbox.get_until(time.monotonic() - 5) is None
    assert mailbox.get_until(time.monotonic() + STARTED_S) is not None


def test_what_comes_when_nobody_waits_any_more_is_thrown_away(make: Make) -> None:
    process = make("answer:a,answer:b")
    process.ask(ASK).close()
    mailbox = process.ask(ASK)
    assert names(reply(mailbox)) == ["b"]
    mailbox.close()
    assert process._mail == {}


def test_a_reply_to_a_question_that_nobody_asked_is_thrown_away(make: Make) -> None:
    assert names(reply(make("other-number+answer").ask(ASK))) == ["web-1"]


# --- what is said unasked


def test_what_happens_is_told_before_the_answer_that_follows_it(make: Make, happened: list[wire.Happened]) -> None:
    reply(make("connected+event:a+answer").ask(ASK))
    assert happened == [
        wire.Happened([], missed=True),
        wire.Happened([wire.Change("lifecycle", "a", "a", 3, (2, 0))], boot_id="boot"),
    ]


def test_something_else_said_unasked_is_thrown_away(make: Make, happened: list[wire.Happened]) -> None:
    assert names(reply(make("odd-unasked+answer").ask(ASK))) == ["web-1"]
    assert happened == []


def test_a_worker_that_says_rubbish_unasked_has_ended(make: Make) -> None:
    process = make("rubbish-unasked+answer")
    with pytest.raises(WorkerDiedError):
        reply(process.ask(ASK))
    assert process.has_ended


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_ever_because_an_event_could_not_be_taken(make: Make) -> None:
    def fail(_happened: wire.Happened) -> None:
        raise KeyError

    process = make("event:a+answer", fail)
    with pytest.raises(WorkerDiedError, match="could not be taken"):
        reply(process.ask(ASK))
    assert eventually(lambda: f"worker-{process.pid}" not in threads())


# --- its end


@pytest.mark.parametrize(
    ("what", "why"), [("die", "closed its end"), ("half", "closed its end"), ("huge", "4294967295 bytes")]
)
def test_the_end_of_a_worker_is_told_to_all_who_wait_and_stays_the_end(make: Make, what: str, why: str) -> None:
    process = make(f"{what};looks=hang")
    look, ask = process.ask(LOOK), process.ask(ASK)
    for mailbox in (ask, look, ask, process.ask(LOOK)):
        with pytest.raises(WorkerDiedError, match=why):
            reply(mailbox)
    assert process.has_ended


@pytest.mark.parametrize("what", ["rubbish", "not-utf8"])
def test_a_reply_that_cannot_be_read_is_the_workers_fault(make: Make, what: str) -> None:
    with pytest.raises(WorkerDiedError, match="nonsense"):
        reply(make(what).ask(ASK))


def test_a_worker_that_cannot_even_begin_tells_at_the_first_question(log: Log) -> None:
    process = WorkerProcess(("false",), wire.Open("x"), log, lambda _: None)
    with pytest.raises(WorkerDiedError):
        reply(process.ask(ASK))
    process.kill()
    assert is_reaped(process.pid)


def test_why_a_worker_ended_is_told_in_its_own_last_words(log: Log) -> None:
    command = (sys.executable, "-c", "import nothing_of_that_name")
    process = WorkerProcess(command, wire.Open("x"), log, lambda _: None)
    with pytest.raises(WorkerDiedError, match="it said last: ModuleNotFoundError: No module named"):
        reply(process.ask(ASK))
    process.kill()


def test_a_worker_has_the_agents_environment_and_none_of_its_secrets(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = ("AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "INFLUX_TOKEN", "CREDENTIALS_DIRECTORY", "OUR_API_KEY", "KEY")
    needed = ("SSH_AUTH_SOCK", "KRB5CCNAME", "XDG_RUNTIME_DIR", "LIBVIRT_DEBUG", "KEYBOARD")
    for name in (*secrets, *needed):
        monkeypatch.setenv(name, "hidden")
    process = WorkerProcess((sys.executable, "-c", "import os; exit(' '.join(os.environ))"), wire.Open("x"), log, print)
    with pytest.raises(WorkerDiedError) as caught:
        reply(process.ask(ASK))
    process.kill()
    given = set(str(caught.value).split())
    assert given >= set(needed)
    assert not given & set(secrets)


@pytest.mark.parametrize(("given", "passed_on"), [("-I", "-I"), ("-P", "-P"), ("-B", "-P")])
def test_a_worker_is_never_loaded_from_the_current_directory_nor_from_where_the_agent_is_not(
    given: str, passed_on: str
) -> None:
    code = "from domstat.collect.process import WORKER_COMMAND; print(WORKER_COMMAND[1])"
    done = subprocess.run([sys.executable, given, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == passed_on


def test_a_program_that_is_not_there_is_an_oserror_and_leaves_nothing_open(log: Log) -> None:
    before = descriptors()
    with pytest.raises(FileNotFoundError):
        WorkerProcess(("/nonexistent/python",), wire.Open("x"), log, lambda _: None)
    assert descriptors() <= before


def test_a_killed_worker_is_gone_and_reaped(make: Make) -> None:
    process = make("hang")
    mailbox = process.ask(ASK)
    assert not process.has_ended
    process.kill()
    assert is_reaped(process.pid)
    with pytest.raises(WorkerDiedError):
        reply(mailbox)
    process.kill()


def test_what_a_worker_started_is_killed_with_it(make: Make) -> None:
    process = make("hang-deaf")
    process.ask(ASK)
    assert eventually(lambda: bool(children(process.pid)))
    (child,) = children(process.pid)
    process.kill()
    assert eventually(lambda: not is_alive(child))


def test_whoever_waits_while_the_agent_stops_is_told_so(make: Make) -> None:
    process = make("hang")
    mailbox = process.ask(ASK)
    caught: list[CollectError] = []

    def wait() -> None:
        try:
            mailbox.get(STARTED_S)
        except CollectError as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    process.kill(closing=True)
    thread.join(STARTED_S)
    assert [type(error) for error in caught] == [ClosedError]


def test_a_kill_that_comes_later_does_not_make_a_stopping_agent_look_like_a_death(make: Make) -> None:
    process = make("hang")
    mailbox = process.ask(ASK)
    process.kill(closing=True)
    process.kill()
    with pytest.raises(ClosedError):
        reply(mailbox)


def test_workers_leave_no_descriptors_and_no_threads(make: Make) -> None:
    def start_and_end(plan: str) -> None:
        process = make(plan)
        process.ask(ASK).get(STARTED_S if plan == "answer" else 0)
        process.kill()

    start_and_end("answer")
    assert eventually(lambda: not threads())
    before = descriptors()
    for plan in ("answer", "hang", "silence"):
        start_and_end(plan)
    assert eventually(lambda: not threads() and descriptors() <= before)


# --- what it prints, and its shapes


def test_what_a_worker_prints_is_logged_in_pieces(make: Make, log: Log) -> None:
    process = make("complain+answer")
    reply(process.ask(ASK))
    assert eventually(lambda: log.events("debug").count("worker_said") >= 4)
    said = [facts for _, event, facts in log.said if event == "worker_said"]
    assert said[0] == {"pid": process.pid, "text": "libvirt: something is odd"}
    assert "".join(facts["text"] for facts in said[1:]) == "x" * 5000
    assert max(len(facts["text"]) for facts in said) == STDERR_LINE_MAX


def test_bytes_that_are_no_text_are_logged_as_far_as_they_are(log: Log) -> None:
    command = (sys.executable, "-c", "import os; os.write(2, b'a\\xffb\\n')")
    process = WorkerProcess(command, wire.Open("x"), log, lambda _: None)
    assert eventually(lambda: "worker_said" in log.events())
    assert log.facts("worker_said")["text"] == "a\ufffdb"
    process.kill()


def shaped(shapes: dict[int, tuple[str, ...]], forgotten: bool = False) -> wire.Answer:
    return wire.Answer(Stamp(0, 0, "boot", 0), [], shapes, forgotten)


def test_shapes_are_learnt_and_remembered(make: Make) -> None:
    process = make("answer")
    assert process.learn(shaped({1: ("a",)})) == {1: ("a",)}
    assert process.learn(shaped({2: ("b",)})) == {1: ("a",), 2: ("b",)}
    assert process.learn(shaped({})) == {1: ("a",), 2: ("b",)}


def test_shapes_that_the_worker_forgot_still_serve_the_answer_that_says_so(make: Make) -> None:
    process = make("answer")
    process.learn(shaped({1: ("a",)}))
    assert process.learn(shaped({2: ("b",)}, forgotten=True)) == {1: ("a",), 2: ("b",)}
    assert process.shapes == {2: ("b",)}
