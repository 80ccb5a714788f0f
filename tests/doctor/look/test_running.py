"""Looking at what runs: the agent, what it was started with, its unit, and as whom."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from doctor.seen import REPORT, UNIT
from domstat.doctor.look import running
from domstat.doctor.scene import AgentSeen, UnitSeen
from domstat.status import Server
from heard import Log

NOBODY = AgentSeen(None, "no agent runs")


def test_an_agent_that_answers_is_seen_with_what_it_was_started_with(tmp_path: Path) -> None:
    server = Server(tmp_path / "s", None, lambda: replace(REPORT, pid=os.getpid()), Log())
    server.start()
    seen = running.see_agent(tmp_path / "s")
    server.stop()
    assert seen.report is not None
    assert seen.environ is not None
    assert seen.environ["PATH"]


def test_without_one_it_is_said_why(tmp_path: Path) -> None:
    seen = running.see_agent(tmp_path / "s")
    assert (seen.report, seen.environ) == (None, None)
    assert "no agent runs" in seen.why


def test_what_a_process_was_started_with_is_unknown_when_it_is_gone() -> None:
    assert running.environ_of(2**22 + 1) is None  # beyond pid_max


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_unit_is_the_first_there_is_with_the_drop_ins_of_all_folders(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "etc", tmp_path / "lib"
    write(theirs / "domstat.service", "[Service]\nType=notify\n")
    write(theirs / "domstat.service.d" / "10-b.conf", "[Service]\nWatchdogSec=1\n")
    write(mine / "domstat.service.d" / "20-a.conf", "[Service]\nWatchdogSec=2\n")
    seen = running.see_unit([mine, theirs])
    assert seen is not None
    assert seen.path == str(theirs / "domstat.service")
    assert [line for line in seen.text.split() if "=" in line] == ["Type=notify", "WatchdogSec=1", "WatchdogSec=2"]
    assert running.see_unit([tmp_path]) is None


def test_the_user_is_the_running_agents(tmp_path: Path) -> None:
    mine = AgentSeen(replace(REPORT, pid=os.getpid()))
    assert running.user_of(mine, None, tmp_path) == os.geteuid()


def test_the_user_is_else_the_units(tmp_path: Path) -> None:
    assert running.user_of(NOBODY, UnitSeen("/u", "[Service]\nUser=root\n"), tmp_path) == 0


def test_the_user_is_else_whose_the_state_directory_is_to_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert running.user_of(NOBODY, UNIT, tmp_path) == tmp_path.stat().st_uid
    assert running.user_of(NOBODY, None, tmp_path / "none") == 0
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert running.user_of(NOBODY, None, tmp_path) == 4711
