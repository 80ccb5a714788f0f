"""Looking at this machine: its kernel's switches, its clock, what is installed."""

from __future__ import annotations

import ctypes
import platform
import sqlite3
from pathlib import Path

import pytest

from domstat import __version__
from domstat.doctor.look import around
from domstat.doctor.scene import ClockSeen


def test_the_kernels_switch_is_read_and_a_kernel_may_have_none(tmp_path: Path) -> None:
    (tmp_path / "on").write_text("1\n")
    assert around.schedstats(tmp_path / "on") == "1"
    assert around.schedstats(tmp_path / "none") is None


def test_the_kernel_says_how_the_clock_is() -> None:
    seen = around.see_clock()
    assert seen is not None
    assert seen.max_error_s >= 0


class Libc:
    """Answers as adjtimex does."""

    def __init__(self, state: int, status: int) -> None:
        self._answer = state, status

    def adjtimex(self, reference: object) -> int:
        timex = reference._obj  # type: ignore[attr-defined]  # what byref was made of
        state, timex.status = self._answer
        assert timex.modes == 0, "nothing is changed"
        timex.maxerror = 250_000
        return state


@pytest.mark.parametrize(
    ("state", "status", "seen"),
    [
        (0, 0x0001, ClockSeen(True, 0.25)),
        (5, 0x0041, ClockSeen(False, 0.25)),
        (-1, 0, None),
    ],
)
def test_the_kernels_answer_is_understood(
    monkeypatch: pytest.MonkeyPatch, state: int, status: int, seen: ClockSeen | None
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_args, **_more: Libc(state, status))
    assert around.see_clock() == seen


def test_what_is_installed_is_said() -> None:
    seen = around.see_versions()
    assert (seen.domstat, seen.python) == (__version__, platform.python_version())
    assert seen.sqlite == sqlite3.sqlite_version_info
    assert seen.bindings[0].isdigit()
