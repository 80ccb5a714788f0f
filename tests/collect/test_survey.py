"""Surveying a host: a process for each survey, and patience with hosts whose surveys hang."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from answers import stamp
from domstat.collect import survey, wire
from domstat.collect.errors import ClosedError, CollectError, OverdueError, RefusedError, UnreachableError
from domstat.collect.survey import FIRST_WAIT_S, WAIT_MAX_S, Patience, Survey
from domstat.model import Batch
from heard import Log

DAY_S = 86_400
LIBVIRTD_WORKERS = 20

FOUND = wire.Surveyed(stamp(10), [wire.PoolFigures("images", "dir", 2, 3, 2, 1, fresh=True)], [], ["a disk fails"])


# --- patience


def test_a_survey_is_due_until_one_hangs() -> None:
    patience = Patience()
    assert patience.due(0)
    patience.hang(100)
    assert not patience.due(100 + FIRST_WAIT_S - 1)
    assert patience.left_s(100 + FIRST_WAIT_S - 1) == 1
    assert patience.due(100 + FIRST_WAIT_S)
    assert patience.left_s(10**9) == 0


def test_each_hang_in_a_row_doubles_the_wait_up_to_its_limit() -> None:
    patience = Patience()
    waits = []
    for _ in range(20):
        patience.hang(0)
        waits.append(patience.left_s(0))
    assert waits[:4] == [FIRST_WAIT_S, 2 * FIRST_WAIT_S, 4 * FIRST_WAIT_S, 8 * FIRST_WAIT_S]
    assert waits[-1] == WAIT_MAX_S


def test_a_survey_that_answers_ends_the_waiting() -> None:
    patience = Patience()
    patience.hang(0)
    patience.hang(0)
    patience.succeed()
    assert patience.due(0)
    patience.hang(0)
    assert patience.left_s(0) == FIRST_WAIT_S


def test_storage_that_stays_away_for_half_a_year_does_not_cost_the_daemon_all_its_workers() -> None:
    patience, now_s, hangs = Patience(), 0.0, 0
    while now_s < 180 * DAY_S:
        hangs += 1
        patience.hang(now_s)
        now_s += patience.left_s(now_s)
    assert hangs < LIBVIRTD_WORKERS


# --- a survey, its process a stand-in


class Host:
    """Stands in for the agent's side of worker processes: gives the replies it was told, one a question."""

    def __init__(self, *replies: wire.Surveyed | CollectError, connecting: CollectError | None = None) -> None:
        self.replies = list(replies)
        self.connecting = connecting
        self.opened: list[dict[str, Any]] = []
        self.asked: list[wire.Question] = []
        self.closed = 0
        self.workers_killed = 0
        self.hold: threading.Event | None = None

    def __call__(self, name: str, uri: str, _log: Any, command: tuple[str, ...], *, writable: bool) -> Host:
        self.opened.append({"name": name, "uri": uri, "command": command, "writable": writable})
        self.workers_killed = 0
        return self

    def converse(self, question: wire.Question, expected: type, _deadline_at: float) -> Any:
        self.asked.append(question)
        if expected is wire.Descriptions:
            if self.connecting:
                raise self.connecting
            return wire.Descriptions([])
        if self.hold:
            self.hold.wait(60)
            raise ClosedError("the worker was stopped")
        reply = self.replies.pop(0)
        if isinstance(reply, CollectError):
            self.workers_killed += isinstance(reply, OverdueError)
            raise reply
        return reply

    def close(self) -> None:
        self.closed += 1
        if self.hold:
            self.hold.set()


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch, log: Log) -> Callable[..., Survey]:
    def on(host: Host, **options: Any) -> Survey:
        monkeypatch.setattr(survey, "Hypervisor", host)
        return Survey("kvm1", "qemu:///system", log, ("worker",), **options)

    return on


On = Callable[..., Survey]


def collect(surveyor: Survey) -> Batch:
    (batch,) = surveyor.collect(60, 0)
    return batch


def test_a_survey_is_a_batch_of_its_own_stream(on: On) -> None:
    batch = collect(on(Host(FOUND)))
    assert batch.stream == ("kvm1", "survey")
    assert [record.pool.name for record in batch.records if record.pool] == ["images"]


def test_every_survey_has_a_process_of_its_own_which_ends_with_it(on: On) -> None:
    host = Host(FOUND, FOUND)
    surveyor = on(host)
    collect(surveyor)
    assert (len(host.opened), host.closed) == (1, 1)
    collect(surveyor)
    assert (len(host.opened), host.closed) == (2, 2)
    assert host.opened[0] == {"name": "kvm1", "uri": "qemu:///system", "command": ("worker",), "writable": False}


def test_only_refreshing_needs_a_connection_that_may_write(on: On) -> None:
    host = Host(FOUND)
    globs = wire.Globs(("web-*",))
    collect(on(host, refresh=True, domains=globs))
    assert host.opened[0]["writable"]
    assert host.asked[-1] == wire.Survey(refresh=True, domains=globs)


def test_a_survey_that_hangs_is_killed_and_the_next_is_not_tried_for_a_while(
    on: On, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    host = Host(OverdueError("no answer"), FOUND, OverdueError("no answer"))
    surveyor = on(host)
    with pytest.raises(OverdueError, match="tried in 15 min"):
        collect(surveyor)
    assert surveyor.tally.workers_killed == 1
    now_s += FIRST_WAIT_S - 60
    with pytest.raises(OverdueError, match="hung; the next is tried in 1 min"):
        collect(surveyor)
    assert len(host.opened) == 1, "no process for what is not tried"
    now_s += 60
    assert collect(surveyor).records
    assert surveyor.tally.workers_killed == 1
    with pytest.raises(OverdueError, match="tried in 15 min"):
        collect(surveyor)


@pytest.mark.parametrize("error", [OverdueError("x"), UnreachableError("x")])
def test_a_host_that_cannot_be_reached_is_tried_again_at_once(on: On, error: CollectError) -> None:
    host = Host(FOUND, connecting=error)
    surveyor = on(host)
    with pytest.raises(type(error)):
        collect(surveyor)
    host.connecting = None
    assert collect(surveyor).records
    assert host.closed == 2


@pytest.mark.parametrize("error", [RefusedError("x"), UnreachableError("x")])
def test_a_survey_that_is_refused_is_tried_again_at_once(on: On, error: CollectError) -> None:
    surveyor = on(Host(error, FOUND))
    with pytest.raises(type(error)):
        collect(surveyor)
    assert collect(surveyor).records


def test_what_could_not_be_looked_at_is_logged_when_it_is_new(on: On, log: Log) -> None:
    without = wire.Surveyed(stamp(20), [], [])
    surveyor = on(Host(FOUND, FOUND, without, FOUND))
    said = []
    for _ in range(4):
        collect(surveyor)
        said.append(log.events("warning").count("survey_note"))
    assert said == [1, 1, 1, 2]
    assert log.facts("survey_note") == {"host": "kvm1", "note": "a disk fails"}


def test_a_survey_says_how_it_went(on: On, log: Log) -> None:
    collect(on(Host(FOUND)))
    assert log.facts("survey") == {"host": "kvm1", "pools": 1, "guests_off": 0, "took_ms": 0.0}


def test_stopping_ends_a_survey_that_hangs(on: On) -> None:
    host = Host()
    host.hold = threading.Event()
    surveyor = on(host)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            collect(surveyor)
        except CollectError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    until = time.monotonic() + 60
    while len(host.asked) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    surveyor.close()
    thread.join(60)
    assert [type(error) for error in errors] == [ClosedError]


def test_after_stopping_nothing_is_begun(on: On) -> None:
    host = Host(FOUND)
    surveyor = on(host)
    surveyor.close()
    with pytest.raises(ClosedError):
        collect(surveyor)
    assert host.opened == []


# --- with a process


def test_a_real_worker_surveys_a_real_driver(log: Log) -> None:
    batch = collect(Survey("kvm1", "test:///default", log))
    (record,) = batch.records
    assert record.pool
    assert record.pool.name == "default-pool"
    assert record.params["pool.capacity"] == 107374182400
    assert record.derived == {}
    assert record.labels == {"type": "dir", "path": "/default-pool"}
    assert log.events("warning") == []


def test_a_host_that_is_not_there_is_unreachable(log: Log) -> None:
    with pytest.raises(UnreachableError):
        collect(Survey("kvm1", "qemu+unix:///system?socket=/nonexistent/sock", log))
