"""Logging: levels, JSON in a pipe, and nothing a terminal would obey."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from domstat import telemetry


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    level = logging.getLogger("apscheduler").level
    yield
    structlog.reset_defaults()
    logging.getLogger("apscheduler").setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == "", "standard output belongs to the records"
    return captured.err.splitlines()


def test_in_a_pipe_every_event_is_a_line_of_json_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("info")
    telemetry.get_logger().bind(host="kvm1").info("tick", guests=3, waiting={"history": 0})
    (line,) = lines(capsys)
    event = json.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {"host": "kvm1", "guests": 3, "waiting": {"history": 0}, "event": "tick", "level": "info"}


@pytest.mark.parametrize(
    ("level", "said"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_events_below_the_level_are_not_logged(level: str, said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure(level)
    for name in telemetry.LEVELS:
        getattr(telemetry.get_logger(), name)("happened")
    assert [json.loads(line)["level"] for line in lines(capsys)] == said


def test_an_exception_is_logged_within_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("info")
    telemetry.get_logger().error("tick_crashed", exc_info=ValueError("a\nb"))
    (line,) = lines(capsys)
    assert "ValueError: a\nb" in json.loads(line)["exception"]


def test_untrusted_text_cannot_break_a_line_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("info")
    telemetry.get_logger().info("odd", name='\x1b[2J\n{"event":"forged"}')
    (line,) = lines(capsys)
    assert json.loads(line)["name"] == '\x1b[2J\n{"event":"forged"}'
    assert "\x1b" not in line


def test_a_terminal_does_not_obey_untrusted_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    telemetry.configure("info")
    telemetry.get_logger().info("odd", name="\x1b[2J\u202e\r", number=5)
    (line,) = lines(capsys)
    assert "\x1b[2J" not in line
    assert r"\x1b[2J\u202e\r" in line


def test_in_the_journal_every_line_begins_with_its_priority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal"
    with path.open("w") as stream:
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        monkeypatch.setattr(sys, "stderr", stream)
        telemetry.configure("debug")
        for name in (*telemetry.LEVELS, "critical"):
            getattr(telemetry.get_logger(), name)("happened", name="<0>\n<0>forged")
    said = path.read_text().splitlines()
    assert [line[:3] for line in said] == ["<7>", "<6>", "<4>", "<3>", "<2>"]
    assert [json.loads(line[3:])["level"] for line in said] == [*telemetry.LEVELS, "critical"]


def test_elsewhere_no_line_begins_with_a_priority(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    telemetry.configure("info")
    telemetry.get_logger().warning("happened")
    (line,) = lines(capsys)
    assert line.startswith("{")


def test_apscheduler_does_not_repeat_what_the_agent_says_itself() -> None:
    telemetry.configure("info")
    assert not logging.getLogger("apscheduler.scheduler").isEnabledFor(logging.WARNING)
