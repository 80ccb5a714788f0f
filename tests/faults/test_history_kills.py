"""Killed at any system call that changes its file, a history has every tick that it said it had, once and whole."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from domstat_sinks.sqlite import connect, merging, schema, upkeep
from domstat_sinks.sqlite.export import Exporter
from domstat_sinks.sqlite.writer import Writer

from . import sealing
from .oracle import say, seed
from .sealing import FILE, batches
from .traced import CALLS, need_strace, points, traced

AT_ONCE = 2
"""Programs that run at once: each is busy for nearly all of its time."""

KILLS_SHORT, KILLS_LONG = 30, 1000
"""System calls at which it is killed, chosen by chance: of 1,100 that a whole run makes."""

UPGRADES_SHORT = 10
"""Of the system calls that bringing a file up to date makes; in the long form all."""

AGAIN = 3
"""Batches that come once more after a kill: what a courier was not told is written, it brings again."""

VERSION_2 = Path(__file__).parents[1] / "sqlite" / "version-2.sql"

Point = tuple[str, int]


@pytest.fixture(autouse=True)
def _prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    need_strace()
    for name in ("SLICE_TICKS", "SLICE_MS", "STEP_S"):
        monkeypatch.setattr(upkeep, name, getattr(upkeep, name))
    monkeypatch.setattr(merging, "LEVELS", dict(merging.LEVELS))
    sealing.make_small()


def said(path: Path) -> tuple[list[str], list[str]]:
    """Return all batches, and all that the views have, as texts that tell every bit."""
    damaged: list[str] = []
    with closing(connect(path)) as reader:
        found = [repr(one) for one in Exporter(reader).batches(0, 1 << 62, damaged.append)]
        rows = [row for view in ("samples", "rates") for row in reader.execute(f"SELECT * FROM {view}")]
    assert damaged == []
    return found, sorted(map(repr, rows))


def finish(path: Path, start: int, end: int) -> None:
    """Go on where another was killed, and do all that is due."""
    with closing(Writer(path)) as writer:
        for one in batches()[start:end]:
            writer.write([one])
        while writer._upkeep._has_work():
            writer._upkeep.run()


def plain(path: Path) -> tuple[list[str], list[str]]:
    """Return what a history says that had no kill and no sealing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upkeep.Upkeep, "ends_slice", lambda *_: False)
        finish(path, 0, sealing.LENGTH)
    return said(path)


def state(path: Path) -> tuple[str, int, int]:
    """Return whether the file is whole, how many chunks nobody knows of, and how many are doomed."""
    with closing(sqlite3.connect(path)) as connection:
        (integrity,) = connection.execute("PRAGMA integrity_check").fetchone()
        known = "SELECT id FROM segment UNION SELECT segment FROM doomed"
        (strays,) = connection.execute(f"SELECT count(*) FROM chunk WHERE id >> 26 NOT IN ({known})").fetchone()
        (doomed,) = connection.execute("SELECT count(*) FROM doomed").fetchone()
    return integrity, strays, doomed


def judge_history(folder: Path, expected: tuple[list[str], list[str]], point: Point) -> str:
    """Kill at one point, and say what is wrong with what is left, or with what comes of it; "" if nothing."""
    call, number = point
    ran = traced(("write", str(folder)), (call,), f"signal=SIGKILL:when={number}", program="sealing")
    assert ran.was_killed, f"it made no {call} {number}"
    acknowledged = int(ran.output.split()[-1]) + 1 if ran.output else 0
    path = folder / FILE
    if not acknowledged and not path.exists():
        return ""
    with closing(sqlite3.connect(path)) as connection:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    there = 0
    if tables or acknowledged:
        found = said(path)[0]
        there = len(found)
        if there not in {acknowledged, acknowledged + 1}:
            return f"{there} batches, though {acknowledged} were acknowledged"
        if found != expected[0][:there]:
            return "what is there is not what was written"
        if state(path)[:2] != ("ok", 0):
            return f"not whole: {state(path)}"
    finish(path, max(there - AGAIN, 0), sealing.LENGTH)
    if said(path) != expected:
        return "it does not go on as if nothing had been"
    return "" if state(path) == ("ok", 0, 0) else f"not whole at last: {state(path)}"


def judge_upgrade(folder: Path, old: Path, expected: list[str], point: Point) -> str:
    """Kill while a file of version 2 is brought up to date, and say what is wrong."""
    shutil.copy(old, folder / FILE)
    call, number = point
    ran = traced(("upgrade", str(folder)), (call,), f"signal=SIGKILL:when={number}", program="sealing")
    assert ran.was_killed, f"it made no {call} {number}"
    with closing(sqlite3.connect(folder / FILE)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (is_new,) = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'segment'").fetchone()
        integrity = str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    if (version, is_new) not in {(2, 0), (schema.SCHEMA_VERSION, 1)} or (ran.output and not is_new):
        return f"half of it is of version {version}"
    if integrity != "ok":
        return integrity
    finish(folder / FILE, 0, 0)
    if said(folder / FILE)[0] != expected:
        return "it is not what it was"
    return "" if state(folder / FILE)[:2] == ("ok", 0) else f"not whole at last: {state(folder / FILE)}"


def go_through(folder: Path, tried: Iterable[Point], judge: Callable[[Path, Point], str]) -> dict[str, str]:
    """Kill at each point, in a folder of its own; return what is wrong."""

    def alone(point: Point) -> tuple[str, str]:
        own = folder / f"{point[0]}-{point[1]}"
        own.mkdir()
        verdict = judge(own, point)
        shutil.rmtree(own)
        return " ".join(map(str, point)), verdict

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return {point: verdict for point, verdict in pool.map(alone, tried) if verdict}


def kill_writers(folder: Path, limit: int) -> dict[str, Any]:
    chosen = seed()
    expected = plain(folder / "plain.db")
    (folder / "counted").mkdir()
    ran = traced(("write", str(folder / "counted")), CALLS, program="sealing")
    assert said(folder / "counted" / FILE) == expected
    every = list(points(ran.calls))
    tried = random.Random(chosen).sample(every, min(limit, len(every)))
    wrong = go_through(folder, tried, lambda own, point: judge_history(own, expected, point))
    return {"test": "history kills", "seed": chosen, "calls": dict(ran.calls), "kills": len(tried), "wrong": wrong}


def kill_upgrades(folder: Path, limit: int | None) -> dict[str, Any]:
    chosen = seed()
    old = folder / "old.db"
    with closing(sqlite3.connect(old)) as connection:
        connection.executescript(VERSION_2.read_text(encoding="utf-8"))
    expected = said(old)[0]
    (folder / "counted").mkdir()
    shutil.copy(old, folder / "counted" / FILE)
    ran = traced(("upgrade", str(folder / "counted")), CALLS, program="sealing")
    every = list(points(ran.calls))
    tried = every if limit is None else random.Random(chosen).sample(every, limit)
    wrong = go_through(folder, tried, lambda own, point: judge_upgrade(own, old, expected, point))
    return {"test": "upgrade kills", "seed": chosen, "calls": dict(ran.calls), "kills": len(tried), "wrong": wrong}


def test_a_history_killed_at_some_system_call_has_every_tick_once_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = kill_writers(tmp_path, KILLS_SHORT)
    say(figures, capsys)
    assert figures["wrong"] == {}


def test_a_file_killed_while_it_is_brought_up_to_date_is_of_one_version_or_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = kill_upgrades(tmp_path, UPGRADES_SHORT)
    say(figures, capsys)
    assert figures["wrong"] == {}


@pytest.mark.faults
def test_a_history_killed_at_a_thousand_system_calls_has_every_tick_once_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = kill_writers(tmp_path, KILLS_LONG)
    say(figures, capsys)
    assert figures["wrong"] == {}
    assert figures["kills"] == KILLS_LONG


@pytest.mark.faults
def test_a_file_killed_at_any_system_call_of_an_upgrade_is_of_one_version_or_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = kill_upgrades(tmp_path, None)
    say(figures, capsys)
    assert figures["wrong"] == {}
    assert figures["kills"] > 20
