"""What systemd hears of an agent: exactly what is specified; and of one in which something hangs, nothing any more."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from domstat import config, herald
from domstat.deliver.journal import FILE
from domstat.herald import headline
from domstat.notify import Notifier
from domstat.service import Service
from hanging import PATIENCE_S, Sink, Step, held_before, using_sink
from heard import Log
from test_service import running, until

WATCHDOG_S = 3.0
"""Short for a test, and longer than a busy machine keeps a healthy agent from anything."""


@pytest.fixture(autouse=True)
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with using_sink(monkeypatch):
        yield


class Manager:
    """A socket such as systemd's, and all that was said to it."""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self.notifier = Notifier(str(folder / "notify"), WATCHDOG_S)
        self.said: list[tuple[float, dict[str, str]]] = []
        threading.Thread(target=self._hear, daemon=True).start()

    def _hear(self) -> None:
        while message := self._socket.recv(4096):
            pairs = (line.split("=", 1) for line in message.decode().splitlines())
            self.said.append((time.monotonic(), dict(pairs)))

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def count(self, name: str) -> int:
        return sum(name in message for _, message in self.said)

    def last(self, name: str) -> float:
        return max(at for at, message in self.said if name in message)

    @property
    def states(self) -> list[str]:
        """What was said, in order, without what is said all the time."""
        names = (name for _, message in list(self.said) for name in message)
        return [name for name in names if name not in {"WATCHDOG", "STATUS"}]

    @property
    def statuses(self) -> list[str]:
        return [message["STATUS"] for _, message in list(self.said) if "STATUS" in message]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.close()


@pytest.fixture
def service(tmp_path: Path, log: Log, manager: Manager) -> Service:
    file = tmp_path / "domstat.toml"
    file.write_text(
        f'[agent]\nstate_dir = "{tmp_path}"\ninterval = "100ms"\n[[sinks]]\ntype = "s"\n'
        '[[hosts]]\nuri = "test:///default"\nname = "h"\nsurvey = { enabled = false }\n'
    )
    return Service(config.load(file), log, notifier=manager.notifier)


def test_an_agent_says_when_it_is_ready_that_it_lives_and_when_it_stops(service: Service, manager: Manager) -> None:
    with running(service):
        until(lambda: manager.count("WATCHDOG") >= 3)
        assert service._spool.commits
    assert manager.states == ["READY", "STOPPING"]
    assert "All is well: 1 host, 1 sink, journal" in " ".join(manager.statuses)
    alive = [at for at, message in manager.said if "WATCHDOG" in message]
    ready = next(at for at, message in manager.said if "READY" in message)
    assert alive[0] >= ready
    assert manager.statuses[-1] == "Stopping"


def test_it_is_not_ready_before_the_first_commit(service: Service, manager: Manager) -> None:
    committing = Step()
    committing.hangs = True
    opened = service._spool.open

    def open_and_hold() -> None:
        opened()
        journal: Any = service._spool.journal
        journal.append = held_before(committing, journal.append)

    service._spool.open = open_and_hold  # type: ignore[method-assign]
    with running(service):
        assert committing.is_at_it.wait(PATIENCE_S)
        assert "READY" not in manager.states
        committing.let_go.set()
        until(lambda: "READY" in manager.states)


def test_a_disk_that_is_full_is_no_reason_never_to_be_ready(service: Service, manager: Manager, tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with running(service):
        until(lambda: "READY" in manager.states)
        until(lambda: any("the journal cannot be written" in status for status in manager.statuses))
        until(lambda: manager.count("WATCHDOG") >= 2)


def test_a_reload_is_told_with_its_time_and_its_end(service: Service, manager: Manager, tmp_path: Path) -> None:
    with running(service):
        until(lambda: "READY" in manager.states)
        service.reload()
        until(lambda: manager.count("READY") == 2)
        (tmp_path / "domstat.toml").write_text("[[hosts")
        service.reload()
        until(lambda: manager.count("READY") == 3)
    reloading = ["RELOADING", "MONOTONIC_USEC", "READY"]
    assert manager.states == ["READY", *reloading, *reloading, "STOPPING"]
    at, message = next((at, message) for at, message in manager.said if "RELOADING" in message)
    assert 0 <= at - int(message["MONOTONIC_USEC"]) / 1e6 < PATIENCE_S
    assert "Configuration read again" in manager.statuses
    assert any(status.startswith("Configuration refused: ") for status in manager.statuses)


def test_while_a_sink_opens_before_the_first_commit_more_time_is_asked_for(
    service: Service, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(herald, "EXTEND_EVERY_S", 0.1)
    Sink.opening.hangs = True
    held = threading.Event()
    spool: Any = service._spool
    spool.start, spool.stop = held.set, lambda _timeout_s: True
    with running(service):
        until(lambda: manager.count("EXTEND_TIMEOUT_USEC") >= 2)
        Sink.opening.let_go.set()
    assert next(message for _, message in manager.said)["EXTEND_TIMEOUT_USEC"] == "30000000"
    assert manager.statuses[0] == "Opening the sink s"
    assert "READY" not in manager.states


def hang_collecting(service: Service) -> Step:
    held = Step()
    held.hangs = True
    stream: Any = service._hosts._watched["h"].streams["default"]
    stream.collect = held_before(held, stream.collect)
    return held


def hang_committing(service: Service) -> Step:
    held = Step()
    held.hangs = True
    journal: Any = service._spool.journal
    journal.append = held_before(held, journal.append)
    return held


def hang_writing(_service: Service) -> Step:
    Sink.writing.hangs = True
    return Sink.writing


@pytest.mark.parametrize("hang", [hang_collecting, hang_committing, hang_writing])
def test_the_watchdog_hears_nothing_more_within_a_period_of_what_hangs(
    service: Service, manager: Manager, log: Log, hang: Callable[[Service], Step]
) -> None:
    with running(service):
        until(lambda: manager.count("WATCHDOG") >= 1)
        held = hang(service)
        assert held.is_at_it.wait(PATIENCE_S)
        hung_at = time.monotonic()
        until(lambda: "agent_hangs" in log.events())
        noticed, said = time.monotonic(), manager.count("WATCHDOG")
        until(lambda: manager.statuses[-1].startswith("Hangs: the "))
        until(lambda: time.monotonic() > noticed + WATCHDOG_S)
        assert manager.count("WATCHDOG") == said
        # It was told for the last time when it had hung for a period at most, whatever the machine was busy with.
        assert noticed - hung_at >= WATCHDOG_S * 0.9
        assert manager.last("WATCHDOG") - hung_at <= WATCHDOG_S + 0.5
        held.hangs = False
        held.let_go.set()
        until(lambda: manager.count("WATCHDOG") > said)


def test_trouble_is_said_in_words(service: Service) -> None:
    report = service._reporter.report()
    assert headline(report).startswith("All is well: 1 host, 1 sink, journal ")
    service.lines["h/default"].trouble = "host-down"
    assert headline(service._reporter.report()) == "Trouble: the stream h/default fails: host-down"


def test_nobody_is_told_anything_where_nobody_listens(tmp_path: Path, log: Log, service: Service) -> None:
    silent = Service(service._config, log)
    before = {thread.name for thread in threading.enumerate()}
    with running(silent):
        until(lambda: silent._spool.commits)
        assert "herald" not in {thread.name for thread in threading.enumerate()} - before
