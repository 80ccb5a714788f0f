"""sd_notify: who is told what, and that nobody else finds out whom to tell."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from domstat.notify import TEXT_CHARS_MAX, VARIABLES, Notifier, is_journal


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A socket such as systemd's, and its name as it stands in the environment."""
    name = f"@domstat-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        listening.settimeout(5)
        yield name, listening


def test_what_is_said_arrives_as_one_message(manager: tuple[str, socket.socket]) -> None:
    name, listening = manager
    Notifier.from_environment({"NOTIFY_SOCKET": name}, 1).send("READY=1", "STATUS=All is well")
    assert listening.recv(4096) == b"READY=1\nSTATUS=All is well"


def test_the_variables_are_taken_out_so_that_no_child_has_them() -> None:
    environ = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "7", "PATH": "/bin"}
    Notifier.from_environment(environ, 7)
    assert environ == {"PATH": "/bin"}


def test_a_process_that_is_started_afterwards_has_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "1")
    Notifier.from_environment(os.environ, os.getpid())
    code = "import os; print(sorted(os.environ))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert not [name for name in VARIABLES if name in found]


@pytest.mark.parametrize(
    ("period", "pid", "seconds"),
    [
        ("300000000", "7", 300.0),
        ("300000000", "", 300.0),  # systemd before 229
        ("300000000", "8", None),  # meant for the shell that started us
        ("", "7", None),
        ("0", "7", None),
        ("soon", "7", None),
        ("-1", "7", None),
    ],
)
def test_the_watchdog_is_told_if_it_waits_for_this_process(period: str, pid: str, seconds: float | None) -> None:
    environ = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": period, "WATCHDOG_PID": pid}
    assert Notifier.from_environment(environ, 7).watchdog_s == seconds


def test_a_watchdog_that_cannot_be_told_is_none() -> None:
    assert Notifier.from_environment({"WATCHDOG_USEC": "1000000"}, 7).watchdog_s is None


@pytest.mark.parametrize("name", [None, "", "notify", "vsock:2:1234"])
def test_where_nobody_listens_nothing_is_sent(name: str | None) -> None:
    notifier = Notifier(name)
    assert not notifier.is_heard
    notifier.send("READY=1")


def test_a_manager_that_has_gone_is_no_trouble(tmp_path: Path) -> None:
    notifier = Notifier(str(tmp_path / "gone"))
    assert notifier.is_heard
    notifier.send("READY=1")


def test_a_manager_that_does_not_read_is_not_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        notifier = Notifier(str(tmp_path / "notify"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
            filler.setblocking(False)
            with suppress(BlockingIOError):
                while filler.sendto(b"x", str(tmp_path / "notify")):
                    pass
        notifier.send("WATCHDOG=1")
        listening.setblocking(False)
        assert listening.recv(16) == b"x"


def test_a_status_is_one_line_of_bounded_length_and_said_once() -> None:
    notifier = Notifier()
    assert notifier.status("a\nb\t c") == "STATUS=a b c"
    assert notifier.status("a b c") is None
    assert notifier.status("x" * 1000) == f"STATUS={'x' * TEXT_CHARS_MAX}"


def stream_of(path: Path) -> str:
    found = path.stat()
    return f"{found.st_dev}:{found.st_ino}"


def test_the_journal_is_known_by_the_stream_that_systemd_named(tmp_path: Path) -> None:
    journal, other = tmp_path / "journal", tmp_path / "other"
    with journal.open("w") as stream, other.open("w") as elsewhere:
        named = {"JOURNAL_STREAM": stream_of(journal)}
        assert is_journal(stream, named)
        assert not is_journal(elsewhere, named), "a service's shell sent it into a file"
        assert not is_journal(stream, {})
        assert not is_journal(stream, {"JOURNAL_STREAM": "of another form"})
    assert not is_journal(stream, named), "it is closed"
    assert not is_journal(None, named)
