"""``domstat reload``: what was checked is read by the agent that runs, and what became of it is said."""

from __future__ import annotations

import ctypes
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from cli.test_cli import COMMAND, EXIT_TROUBLE, EXIT_USAGE
from domstat.cli import reload as reload_module
from domstat.deliver.account import JournalAccount
from domstat.status import ReloadAccount, Report, Server, StatusError, ask, read
from heard import Log

PATIENCE_S = 60.0

app = typer.Typer()
app.command("reload")(reload_module.reload)

JOURNAL = JournalAccount(0, 0.0, 0, 0, None, {})


def reload(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def config_text(folder: Path, more: str = "") -> str:
    host = '[[hosts]]\nuri = "test:///default"\nname = "NAME"\nsurvey = { enabled = false }\n'
    return (
        f'[agent]\nstate_dir = "{folder}"\ninterval = "100ms"\n{more}\n{host.replace("NAME", "t")}'
        '[[sinks]]\ntype = "sqlite"\n'
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "domstat.toml"
    path.write_text(config_text(tmp_path))
    return path


@pytest.fixture
def agent(config: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*COMMAND, "run", "--config", str(config)], stdout=log, stderr=log)
    try:
        until = time.monotonic() + PATIENCE_S
        while not is_answering(tmp_path):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)


def is_answering(folder: Path) -> bool:
    try:
        read(ask(folder / "status.sock", 5.0))
    except StatusError:
        return False
    return True


def test_what_has_changed_is_said(agent: subprocess.Popen[bytes], config: Path, tmp_path: Path) -> None:
    done = reload("--config", str(config))
    assert (done.exit_code, done.output) == (0, "nothing has changed\n")
    config.write_text(config_text(tmp_path, 'log_level = "error"').replace('"t"', '"u"'))
    done = reload("--config", str(config))
    assert (done.exit_code, done.output.splitlines()) == (
        0,
        ['host "u" added', 'host "t" removed', "agent.log_level changed"],
    )
    report = read(ask(tmp_path / "status.sock", 5.0))
    assert {stream.host for stream in report.streams} == {"u"}
    assert report.pid == agent.pid


def test_a_signal_is_heard_whichever_thread_it_interrupts(agent: subprocess.Popen[bytes], tmp_path: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while read(ask(tmp_path / "status.sock", 5.0)).reloads.ended == 0:
        assert time.monotonic() < until
        last = max(int(entry.name) for entry in Path(f"/proc/{agent.pid}/task").iterdir())
        ctypes.CDLL(None).tgkill(agent.pid, last, signal.SIGHUP)  # in vain if that thread is just ending
        time.sleep(0.05)


@pytest.mark.usefixtures("agent")
def test_a_file_that_is_wrong_never_reaches_the_agent(config: Path, tmp_path: Path) -> None:
    config.write_text(config_text(tmp_path, "colour = 1"))
    assert reload("--config", str(config)).exit_code == EXIT_USAGE
    assert read(ask(tmp_path / "status.sock", 5.0)).reloads.begun == 0


@pytest.mark.usefixtures("agent")
def test_what_needs_a_start_is_refused_by_the_agent_and_said(config: Path, tmp_path: Path) -> None:
    config.write_text(config_text(tmp_path, 'status_socket = "other.sock"'))
    done = reload("--config", str(config), "--socket", str(tmp_path / "status.sock"))
    assert done.exit_code == EXIT_TROUBLE
    assert "agent.status_socket: found" in done.output
    assert "start it anew" in done.output
    assert "the agent goes on as it was" in done.output


@pytest.mark.usefixtures("agent")
def test_another_file_than_the_agents_is_not_taken_for_it(config: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(config.read_text())
    done = reload("--config", str(other))
    assert done.exit_code == EXIT_USAGE
    assert f"the agent reads {config}" in done.output


def test_without_an_agent_there_is_one_line(config: Path) -> None:
    done = reload("--config", str(config))
    assert done.exit_code == EXIT_TROUBLE
    assert "no agent runs" in done.output


# --- agents that are not as they should be


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Callable[[Callable[[], Report]], str]]:
    servers: list[Server] = []

    def serve(report: Callable[[], Report]) -> str:
        servers.append(Server(tmp_path / "its.sock", None, report, Log()))
        servers[-1].start()
        return str(tmp_path / "its.sock")

    yield serve
    for server in servers:
        server.stop()


def report_of(pid: int, reloads: ReloadAccount) -> Report:
    return Report(True, (), "0.1.0", pid, 1.0, (), (), JOURNAL, reloads)


@pytest.fixture
def sleeper() -> Iterator[int]:
    """A process that takes SIGHUP and does nothing about it."""
    code = "import signal, time; signal.signal(signal.SIGHUP, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_an_agent_that_does_not_come_to_an_end_is_given_up(
    config: Path, answering: Callable[..., str], sleeper: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload_module, "RELOAD_S", 0.5)
    socket = answering(lambda: report_of(sleeper, ReloadAccount(3, 3)))
    done = reload("--config", str(config), "--socket", socket)
    assert (done.exit_code, "is still at it after 0.5 s" in done.output) == (EXIT_TROUBLE, True)


def test_a_reload_that_had_begun_before_is_not_taken_for_ones_own(
    config: Path, answering: Callable[..., str], sleeper: int
) -> None:
    accounts = [ReloadAccount(4, 3), ReloadAccount(4, 4, changed=("that one",)), ReloadAccount(5, 5, changed=("mine",))]

    def report() -> Report:
        return report_of(sleeper, accounts.pop(0) if len(accounts) > 1 else accounts[0])

    done = reload("--config", str(config), "--socket", answering(report))
    assert (done.exit_code, done.output) == (0, "mine\n")


def test_an_agent_that_cannot_be_seen_is_said_to_be_elsewhere(config: Path, answering: Callable[..., str]) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    done = reload("--config", str(config), "--socket", answering(lambda: report_of(gone.pid, ReloadAccount())))
    assert (done.exit_code, "is not seen from here" in done.output) == (EXIT_TROUBLE, True)


def test_an_agent_of_another_user_is_not_ones_to_reload(
    config: Path, answering: Callable[..., str], sleeper: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_pid: int, _number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    done = reload("--config", str(config), "--socket", answering(lambda: report_of(sleeper, ReloadAccount())))
    assert (done.exit_code, "is another user's" in done.output) == (EXIT_TROUBLE, True)


# --- SIGHUP as terminals send it


def test_an_agent_whose_terminal_is_closed_ends_with_it(config: Path, tmp_path: Path) -> None:
    terminal, end = pty.openpty()

    take_it = "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
    code = f"{take_it}; os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", code, *COMMAND, "run", "--config", str(config)]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, stdin=end, stdout=log, stderr=log) as agent,
    ):
        os.close(end)
        until = time.monotonic() + PATIENCE_S
        while b'"event": "tick"' not in (tmp_path / "log").read_bytes():
            assert time.monotonic() < until
            time.sleep(0.05)
        agent.send_signal(signal.SIGHUP)
        while b"configuration_read" not in (tmp_path / "log").read_bytes():
            assert time.monotonic() < until
            time.sleep(0.05)
        assert agent.poll() is None, "the terminal is there, so somebody has asked for a reload"
        os.close(terminal)
        assert agent.wait(PATIENCE_S) == 0
    assert b"agent_stopped" in (tmp_path / "log").read_bytes()
