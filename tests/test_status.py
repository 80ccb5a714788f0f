"""How the agent is, as it says itself: what is well and what is not, and who may ask."""

from __future__ import annotations

import grp
import os
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from domstat import __version__, config, status
from domstat.collect.tally import Tally, Tick
from domstat.config import Config
from domstat.deliver.account import SinkAccount
from domstat.deliver.bounds import Limits, Why
from domstat.deliver.courier import Courier, Outlet, State
from domstat.deliver.journal import FILE
from domstat.deliver.spool import Spool
from domstat.line import Line
from domstat.model import Batch
from domstat.service import Service
from domstat.sink import Fatal
from domstat.status import RECENT_S, STUCK_S, Report, Reporter, Rises, Server, StatusError, ask, read
from domstat.text import span
from heard import Log
from records import batch
from test_service import Keeper, NoSettings, until

PATIENCE_S = 60.0


# --- what is well and what is not


class Nothing:
    """A stream of which only the tally is asked."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.tick: Tick | None = None

    def collect(self, deadline_s: float, due_ms: int | None = None) -> Iterator[Batch]:
        yield batch()


class Kept:
    """A reporter over a line and a sink that are not started, whose state is as a test says."""

    def __init__(self, folder: Path, log: Log) -> None:
        self.spool = Spool(folder / FILE, Limits(1 << 30, 1e9, 1e9), log)
        self.spool.open()
        outlet = Outlet("influx", lambda: Keeper(NoSettings()))
        self.courier = Courier(outlet, self.spool, folder, log)
        self.line = Line(("kvm1", "default"), Nothing(), 10.0, 4.0, lambda _batch: None, log)
        self.courier.state = State.GOOD
        self.reporter = Reporter({"kvm1/default": self.line}, [self.courier], self.spool)

    def reasons(self) -> tuple[str, ...]:
        report = self.reporter.report()
        assert report.healthy == (not report.reasons)
        return report.reasons


@pytest.fixture
def kept(tmp_path: Path, log: Log) -> Iterator[Kept]:
    made = Kept(tmp_path, log)
    yield made
    assert made.spool.journal is not None
    made.spool.journal.close()


def test_an_agent_that_has_just_begun_is_well(kept: Kept) -> None:
    report = kept.reporter.report()
    assert (report.healthy, report.reasons) == (True, ())
    assert (report.version, report.pid) == (__version__, os.getpid())
    assert report.uptime_s >= 0


def test_it_says_what_is_known_of_a_stream(kept: Kept) -> None:
    kept.line.run(1000)
    kept.line.tally.quarantined, kept.line.tally.reconnects = 2, 3
    (stream,) = kept.reporter.report().streams
    assert (stream.host, stream.collect, stream.interval_s, stream.ticks) == ("kvm1", "default", 10.0, 1)
    assert (stream.ticked_ms, stream.failing, stream.quarantined, stream.reconnects) == (1000, None, 2, 3)


def test_a_stream_whose_newest_tick_failed_is_trouble(kept: Kept) -> None:
    kept.line.trouble = "host-down"
    assert kept.reasons() == ("the stream kvm1/default fails: host-down",)


def stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no time pass any more, for what is said to the second."""
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)


@pytest.mark.parametrize(("interval_s", "late_s"), [(1.0, 30.0), (60.0, 180.0)])
def test_a_stream_that_has_been_silent_for_long_is_trouble(
    kept: Kept, interval_s: float, late_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_still(monkeypatch)
    kept.line.interval_s = interval_s
    kept.line._ticked_at = time.monotonic() - late_s + 5
    assert kept.reasons() == ()
    kept.line._ticked_at -= 6
    assert kept.reasons() == (f"the stream kvm1/default had no tick for {span(late_s + 1)}",)


@pytest.mark.parametrize("state", [State.STOPPED, State.BROKEN])
def test_a_sink_that_takes_no_more_is_trouble_and_says_why(kept: Kept, state: State) -> None:
    kept.courier.state, kept.courier.last_error = state, "a wrong token"
    assert kept.reasons() == (f"the sink influx is {state}: a wrong token",)


def test_a_sink_that_has_ended_because_nobody_reads_it_is_none(kept: Kept) -> None:
    kept.courier.state = State.FINISHED
    kept.courier.note_dropped(5, Why.ENDED)
    assert kept.reasons() == ()


def test_a_sink_that_hangs_in_a_write_is_trouble(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_still(monkeypatch)
    kept.courier.busy_since = time.monotonic() - STUCK_S + 5
    assert kept.reasons() == ()
    kept.courier.busy_since -= 6
    assert kept.reasons() == ("the sink influx has been stuck for 1m 01s",)


def account(**changes: Any) -> SinkAccount:
    counts = dict.fromkeys(("received", "written", "rejected", "parts_rejected", "pending", "retries"), 0)
    about: dict[str, Any] = {"lag_batches": 0, "lag_s": 0.0, "backlog_bytes": 0, "write_s": 0.0, "last_error": ""}
    about |= {"name": "influx", "state": State.GOOD, "dropped": {}, "last_error_at": None}
    return SinkAccount(**(counts | about | changes))


@pytest.mark.parametrize("state", [State.OPENING, State.RETRYING])
def test_a_sink_that_fails_is_trouble_once_it_is_far_behind(state: State) -> None:
    def troubles(lag_s: float, uptime_s: float) -> list[str]:
        failing = account(state=state, lag_s=lag_s, last_error="connection refused")
        return list(status._troubles_of_sink(failing, uptime_s))

    assert troubles(STUCK_S - 1, 1e6) == []
    assert troubles(STUCK_S + 1, 1e6) == ["the sink influx has taken nothing for 1m 01s: connection refused"]
    assert troubles(1e6, STUCK_S - 1) == [], "an agent that has just begun gives it time"


def test_what_a_sink_says_of_its_own_health_is_trouble(kept: Kept) -> None:
    kept.courier.unwell = "the disk is nearly full"
    assert kept.reasons() == ("the sink influx says: the disk is nearly full",)


def test_a_sink_that_catches_up_is_none() -> None:
    assert list(status._troubles_of_sink(account(lag_s=1e5, lag_batches=99), 1e6)) == []


def test_records_that_were_lost_are_trouble_for_a_while(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.courier.note_dropped(5, Why.SIZE)
    said = ("the sink influx lost records (size: 5)",)
    assert kept.reasons() == said
    assert kept.reasons() == said
    later = time.monotonic() + RECENT_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert kept.reporter.watch() == []


def test_a_counter_that_rises_again_has_risen_of_late() -> None:
    rises = Rises()
    assert not rises.note("a", 0, 0.0)
    assert rises.note("a", 3, 10.0)
    assert rises.note("a", 3, 10.0 + RECENT_S)
    assert not rises.note("a", 3, 11.0 + RECENT_S)
    assert rises.note("a", 4, 12.0 + RECENT_S)
    assert not rises.note("b", 0, 12.0 + RECENT_S)


def test_a_journal_that_cannot_be_written_is_trouble(kept: Kept) -> None:
    kept.spool._note_failing(OSError(28, "No space left on device"))
    assert kept.reasons() == ("the journal cannot be written: No space left on device",)
    kept.spool._lost = 7
    assert kept.reasons()[1:] == ("7 records never came into the journal",)


# --- the socket


class Said(Struct, frozen=True):
    """A report of a test's own."""

    word: str = "well"


@contextmanager
def serving(path: Path, log: Log, group: str | None = None, report: Callable[[], Struct] = Said) -> Iterator[Server]:
    server = Server(path, group, report, log)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "status.sock"


def test_whoever_connects_is_told_and_nobody_has_to_say_anything(path: Path, log: Log) -> None:
    with serving(path, log):
        assert ask(path, PATIENCE_S) == ask(path, PATIENCE_S) == b'{"word":"well"}\n'
    assert log.events() == []


def test_the_socket_is_its_owners_alone_and_gone_afterwards(path: Path, log: Log) -> None:
    with serving(path, log):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_a_socket_that_is_not_its_own_any_more_stays(path: Path, log: Log) -> None:
    with serving(path, log), socket.socket(socket.AF_UNIX) as other:
        path.unlink()
        other.bind(str(path))
    assert path.exists()


def test_a_path_of_any_length_will_do(tmp_path: Path, log: Log) -> None:
    path = tmp_path / ("d" * 200) / "status.sock"
    with serving(path, log):
        assert ask(path, PATIENCE_S) == b'{"word":"well"}\n'
    assert not path.exists()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert log.events() == []


def test_the_socket_of_an_agent_that_was_killed_is_no_hindrance(path: Path, log: Log) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serving(path, log):
        assert ask(path, PATIENCE_S)


def test_an_agent_that_answers_there_already_is_left_alone(path: Path, log: Log) -> None:
    with serving(path, log):
        with serving(path, log, report=lambda: Said("other")):
            assert ask(path, PATIENCE_S) == b'{"word":"well"}\n'
        assert ask(path, PATIENCE_S) == b'{"word":"well"}\n'
    assert log.facts("status_not_offered")["error"] == "another agent answers there"


def test_what_is_no_socket_is_left_alone(path: Path, log: Log) -> None:
    path.write_text("precious")
    with serving(path, log):
        assert path.read_text() == "precious"
    assert path.read_text() == "precious"
    assert log.facts("status_not_offered")["error"] == "there is something else at that path"


def test_a_group_may_ask_where_it_can_enter(tmp_path: Path, log: Log) -> None:
    name = grp.getgrgid(os.getgid()).gr_name
    path = tmp_path / "run" / "status.sock"
    with serving(path, log, group=name):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert path.stat().st_gid == os.getgid()
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750
        assert path.parent.stat().st_gid == os.getgid()
    assert log.events() == []


def test_a_group_that_cannot_enter_the_folder_is_warned_of(path: Path, log: Log) -> None:
    path.parent.chmod(0o700)
    with serving(path, log, group=grp.getgrgid(os.getgid()).gr_name):
        assert ask(path, PATIENCE_S)
    assert log.events("warning") == ["status_out_of_reach"]


def test_a_group_that_is_none_is_said(path: Path, log: Log) -> None:
    with serving(path, log, group="nobody-is-in-it"):
        assert not path.exists()
    assert log.facts("status_not_offered")["error"] == 'there is no group "nobody-is-in-it"'


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, log: Log) -> None:
    (tmp_path / "file").touch()
    with serving(tmp_path / "file" / "status.sock", log):
        pass
    assert log.facts("status_not_offered")["error"] == "Not a directory"


def test_somebody_else_is_shut_out(tmp_path: Path, log: Log) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    code = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    with socket.socket() as _, serving(Path(f"/tmp/domstat-test-{os.getpid()}") / "s", log) as server:
        server._path.parent.chmod(0o755)
        stranger = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "/usr/bin/python3", "-c", code]
        done = subprocess.run([*stranger, str(server._path)], capture_output=True, text=True, check=False)
    server._path.parent.rmdir()
    assert "PermissionError" in done.stderr


def test_whoever_does_not_read_keeps_the_others_for_a_moment(
    path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "SEND_S", 0.5)
    large = Said("x" * (4 << 20))
    with serving(path, log, report=lambda: large), socket.socket(socket.AF_UNIX) as deaf:
        deaf.connect(str(path))
        assert msgspec.json.decode(ask(path, PATIENCE_S))["word"] == large.word


def test_whoever_goes_away_at_once_costs_nothing(path: Path, log: Log) -> None:
    with serving(path, log):
        for _ in range(5):
            with socket.socket(socket.AF_UNIX) as hasty:
                hasty.connect(str(path))
        assert ask(path, PATIENCE_S)


def test_reports_are_not_made_more_often_than_it_takes(path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "FRESH_S", 1e9)
    made: list[int] = []

    def report() -> Said:
        made.append(1)
        return Said()

    with serving(path, log, report=report):
        for _ in range(5):
            ask(path, PATIENCE_S)
    assert len(made) == 1


def test_a_report_that_cannot_be_made_is_said_once_and_the_next_may_come(
    path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "FRESH_S", 0.0)
    faults = [ValueError("odd"), ValueError("odd")]

    def report() -> Said:
        if faults:
            raise faults.pop()
        return Said()

    with serving(path, log, report=report):
        for _ in range(2):
            with pytest.raises(StatusError, match="cannot say how it is: see its log"):
                ask(path, PATIENCE_S)
        assert ask(path, PATIENCE_S)
    assert log.events() == ["status_not_made"]


# --- whoever asks


def test_no_socket_means_no_agent(path: Path) -> None:
    with pytest.raises(StatusError, match="no agent runs: there is no socket at"):
        ask(path, PATIENCE_S)


def test_a_socket_that_nobody_listens_to_means_no_agent(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        with pytest.raises(StatusError, match="has ended"):
            ask(path, PATIENCE_S)


def test_an_agent_that_does_not_answer_is_not_waited_for_for_ever(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen(1)
        with pytest.raises(StatusError, match="does not answer within"):
            ask(path, 0.1)


def test_an_answer_that_does_not_end_is_none(path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "ANSWER_BYTES_MAX", 10)
    with serving(path, log), pytest.raises(StatusError, match="it does not end"):
        ask(path, PATIENCE_S)


def test_a_report_is_read_as_it_was_made(kept: Kept) -> None:
    kept.courier.note_dropped(5, Why.AGE)
    report = kept.reporter.report()
    assert read(msgspec.json.encode(report)) == report


def test_a_report_of_a_later_version_may_say_more(kept: Kept) -> None:
    told = msgspec.to_builtins(kept.reporter.report())
    assert read(msgspec.json.encode(told | {"more": 1})).pid == os.getpid()


@pytest.mark.parametrize("answer", [b"", b"hello\n", b'{"healthy":true}'])
def test_what_is_no_report_is_said_to_be_none(answer: bytes) -> None:
    with pytest.raises(StatusError, match="of another version, or it is none"):
        read(answer)


# --- an agent


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(config, "load_sink", lambda _name: Keeper)
    Keeper.taken = []
    Keeper.take = staticmethod(Keeper.taken.extend)
    host = '[[hosts]]\nuri = "test:///default"\nname = "h"\nsurvey = { enabled = false }\n'
    sinks = '[[sinks]]\ntype = "keeper"\n[[sinks]]\ntype = "keeper"\nname = "b"\n'
    return config.parse(f'[agent]\nstate_dir = "{tmp_path}"\ninterval = "100ms"\n{host}{sinks}')


@contextmanager
def running(service: Service) -> Iterator[None]:
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        yield
    finally:
        service.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def log_says(log: Log, event: str) -> Callable[[], bool]:
    return lambda: event in log.events()


def test_an_agent_says_how_it_is_from_its_start_to_its_end(configured: Config, log: Log) -> None:
    def now() -> Report:
        return read(ask(configured.status_socket, PATIENCE_S))

    with running(Service(configured, log)):
        until(log_says(log, "agent_started"))
        until(lambda: now().streams[0].ticks >= 2 and min(sink.written for sink in now().sinks) > 0)
        report = now()
    assert (report.healthy, report.reasons) == (True, ())
    assert [(stream.host, stream.collect) for stream in report.streams] == [("h", "default")]
    assert [(sink.name, sink.state) for sink in report.sinks] == [("keeper", State.GOOD), ("b", State.GOOD)]
    assert report.journal.bytes >= 0
    with pytest.raises(StatusError, match="no agent runs"):
        now()


def test_an_agent_one_of_whose_sinks_has_stopped_is_not_well(configured: Config, log: Log) -> None:
    def refuse(batches: Sequence[Batch]) -> None:
        if threading.current_thread().name == "courier-b":
            raise Fatal("a wrong token")

    Keeper.take = staticmethod(refuse)
    with running(Service(configured, log)):
        until(log_says(log, "agent_started"))
        until(lambda: not read(ask(configured.status_socket, PATIENCE_S)).healthy)
        report = read(ask(configured.status_socket, PATIENCE_S))
    assert report.reasons == ("the sink b is stopped: a wrong token",)


def test_an_agent_that_cannot_offer_its_status_collects_all_the_same(configured: Config, log: Log) -> None:
    configured.status_socket.mkdir()
    with running(Service(configured, log)):
        until(lambda: Keeper.taken)
    assert log.events("error") == ["status_not_offered"]


def test_where_it_answers_follows_from_the_configuration(tmp_path: Path) -> None:
    def where(agent: str) -> Path:
        return config.parse(f'[agent]\nstate_dir = "{tmp_path}"\n{agent}\n').status_socket

    assert where("") == tmp_path / "status.sock"
    assert where('status_group = "adm"') == Path("/run/domstat/status.sock")
    assert where('status_group = "adm"\nstatus_socket = "/run/x.sock"') == Path("/run/x.sock")
    assert where('status_socket = "s"') == tmp_path / "s"
