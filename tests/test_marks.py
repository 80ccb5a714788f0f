"""When each stream last ticked: kept over restarts, whatever becomes of the file."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from domstat.marks import FILE, WRITE_EVERY_S, Marks
from heard import Log


class Clock:
    """Stands in for time.monotonic."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def monotonic(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("domstat.marks.time.monotonic", clock)
    return clock


def stored(folder: Path) -> dict[str, int]:
    marks: dict[str, int] = json.loads((folder / FILE).read_text())
    return marks


def test_the_next_agent_reads_what_this_one_noted(tmp_path: Path, log: Log) -> None:
    marks = Marks(tmp_path, log)
    marks.note("kvm1/default", 10)
    marks.note("kvm1/default", 20)
    marks.note("kvm2/default", 15)
    marks.keep({"kvm1/default", "kvm2/default"})
    assert Marks(tmp_path, log).read() == {"kvm1/default": 20, "kvm2/default": 15}


def test_a_stream_that_is_no_more_is_forgotten_at_the_end(tmp_path: Path, log: Log) -> None:
    marks = Marks(tmp_path, log)
    marks.note("kvm1/default", 10)
    marks.note("kvm1/gone", 10)
    marks.keep({"kvm1/default", "kvm1/never-ticked"})
    assert stored(tmp_path) == {"kvm1/default": 10}


def test_a_stream_that_has_not_ticked_yet_keeps_the_mark_of_the_agent_before(tmp_path: Path, log: Log) -> None:
    Marks(tmp_path, log).note("kvm1/default", 10)
    marks = Marks(tmp_path, log)
    marks.read()
    marks.note("kvm2/default", 20)
    marks.keep({"kvm1/default", "kvm2/default"})
    assert stored(tmp_path) == {"kvm1/default": 10, "kvm2/default": 20}


def test_the_file_is_written_now_and_then_and_not_with_every_tick(tmp_path: Path, log: Log, monotonic: Clock) -> None:
    marks = Marks(tmp_path, log)
    marks.note("a", 1)
    assert stored(tmp_path) == {"a": 1}, "a crash after the first tick is a gap as well"
    marks.note("a", 2)
    monotonic.now += WRITE_EVERY_S - 0.1
    marks.note("a", 3)
    assert stored(tmp_path) == {"a": 1}
    monotonic.now += 0.1
    marks.note("a", 4)
    assert stored(tmp_path) == {"a": 4}


def test_a_write_that_breaks_off_leaves_what_was_there(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = Marks(tmp_path, log)
    marks.note("a", 1)

    def break_off(_source: object, _target: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("domstat.marks.os.replace", break_off)
    marks.note("a", 2)
    marks.keep({"a"})
    assert Marks(tmp_path, log).read() == {"a": 1}


def test_a_file_that_cannot_be_written_is_said_once_and_is_no_reason_to_stop(tmp_path: Path, log: Log) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    marks = Marks(tmp_path / "state", log)
    for time_ms in range(3):
        marks.note("a", time_ms)
        marks.keep({"a"})
    assert log.events() == ["marks_not_written"]
    assert log.facts("marks_not_written") == {"path": str(tmp_path / "state" / FILE), "error": "File exists"}


@pytest.mark.parametrize(
    "content",
    [None, b"", b"[1, 2]", b'{"a": "x"}', b'{"a": 1.5}', b'{"a": -1}', b'{"a"', b"\xff\x00", b'{"a\xff": 1}'],
)
def test_a_file_that_is_lost_or_damaged_is_as_good_as_none(tmp_path: Path, log: Log, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    marks = Marks(tmp_path, log)
    assert marks.read() == {}
    marks.note("a", 1)
    assert stored(tmp_path) == {"a": 1}
    assert log.events() == []


def test_a_folder_that_is_not_there_yet_is_made_for_nobody_else(tmp_path: Path, log: Log) -> None:
    folder = tmp_path / "state" / "domstat"
    Marks(folder, log).note("a", 1)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path.name for path in folder.iterdir()] == [FILE]
