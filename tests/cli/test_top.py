"""``domstat top``, as a person meets it on a terminal, and a script without one."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.test_cli import COMMAND, EXIT_USAGE, PATIENCE_S, domstat, state
from cli.test_history import tick, write
from records import TIME_MS

LINES, COLUMNS = 24, 80


class Terminal:
    """A terminal with a command on it: what was written there, and keys."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self.written = b""
        self.process = subprocess.Popen(
            [*COMMAND, "top", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", **(env or {})},
        )
        os.close(theirs)

    def wait_for(self, text: str) -> None:
        """Wait until *text* has been written since this was asked the last time."""
        until = time.monotonic() + PATIENCE_S
        while text.encode() not in self.written:
            assert time.monotonic() < until, f"no {text!r}: {self.written[-3000:]!r}"
            assert self._read() or self.process.poll() is None, f"ended: {self.written[-3000:]!r}"
        self.written = b""

    def _read(self) -> bool:
        if not select.select([self._ours], [], [], 0.1)[0]:
            return False
        try:
            more = os.read(self._ours, 65536)
        except OSError:  # nobody has it open any more
            more = b""
        self.written += more
        return bool(more)

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def end(self) -> int:
        """Read until the command has ended; return its exit code."""
        until = time.monotonic() + PATIENCE_S
        while self._read() or self.process.poll() is None:
            assert time.monotonic() < until
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)


@contextmanager
def terminal(*arguments: str, env: dict[str, str] | None = None) -> Iterator[Terminal]:
    made = Terminal(*arguments, env=env)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], str]:
    def make(sinks: str) -> str:
        path = tmp_path / "domstat.toml"
        path.write_text(f"{state(tmp_path)}{sinks}")
        return str(path)

    return make


STDOUT = '[[sinks]]\ntype = "stdout"\n'
SQLITE = '[[sinks]]\ntype = "sqlite"\n'


def test_without_a_terminal_a_line_says_what_there_is_instead() -> None:
    done = domstat("top")
    assert done.returncode == EXIT_USAGE
    assert done.stderr == "domstat: top needs a terminal; domstat once prints the same figures anywhere\n"
    assert done.stdout == ""


def test_a_host_is_shown_straight_from_libvirt_until_q() -> None:
    with terminal("--uri", "test:///default", "--interval", "200ms") as screen:
        screen.wait_for("1 guest by CPU")
        screen.press("m")
        screen.wait_for("memory▼")
        screen.press("q")
        assert screen.end() == 0
        assert b"\x1b[?1049l" in screen.written, "the terminal is as it was before"


def test_without_a_history_an_agents_hosts_are_asked(config: Callable[[str], str]) -> None:
    with terminal("--config", config(STDOUT)) as screen:
        screen.wait_for("libvirt every 2s")
        screen.press("\x03")
        assert screen.end() == 0


def test_without_an_agent_the_local_hypervisor_is_asked(tmp_path: Path) -> None:
    with terminal(env={"XDG_CONFIG_HOME": str(tmp_path)}) as screen:
        screen.wait_for("libvirt every 2s")
        screen.press("q")
        assert screen.end() == 0


def test_an_agents_history_is_shown_with_a_guests_last_hour(config: Callable[[str], str], tmp_path: Path) -> None:
    write(tmp_path, *(tick(TIME_MS + 10_000 * number, 5.0 * number) for number in range(12)))
    with terminal("--config", config(SQLITE)) as screen:
        screen.wait_for("agent's sqlite")
        screen.wait_for("web-1")
        screen.press("\r")
        screen.wait_for("██")
        screen.press("q")
        assert screen.end() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--uri", "nonsense"), "--uri: "),
        (("--uri", "test:///default", "--uri", "test:///default"), "--uri: "),
        (("--uri", "qemu+tcp://far/system"), "--uri: "),
        (("--uri", "test:///default", "--sink", "x"), "give one or the other"),
        (("--interval", "soon"), "--interval: "),
        (("--interval", "1ms"), 'expected "200ms" or more'),
        (("--sink", "nobody"), 'no sink "nobody" with a history'),
    ],
)
def test_what_cannot_be_meant_is_said_in_a_line(arguments: tuple[str, ...], said: str) -> None:
    with terminal(*arguments) as screen:
        assert screen.end() == EXIT_USAGE
        text = screen.written.decode()
        assert said in text
        assert "Traceback" not in text


def test_a_history_that_is_not_there_yet_is_said_and_waited_for(config: Callable[[str], str], tmp_path: Path) -> None:
    with terminal("--config", config(SQLITE)) as screen:
        screen.wait_for("history.db")
        write(tmp_path, tick(TIME_MS, 0.0), tick(TIME_MS + 10_000, 5.0))
        screen.wait_for("web-1")
        screen.press("q")
        assert screen.end() == 0


def test_help_says_where_figures_come_from() -> None:
    shown = re.sub(r"\s+", " ", domstat("top", "--help").stdout)
    assert "straight from libvirt" in shown
