"""Killed at any system call that changes its file, a history has every tick that it said it had, once and whole.

What the ticks come to is what it would be without a kill: five minutes and hours to the last bit, days nearly so.
"""

from __future__ import annotations

import functools
import multiprocessing
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from domstat_sinks.sqlite import schema
from shown import Show

from . import sealing
from .judging import EVERYTHING, Dated, Said, batches_of, finish, judge, prepare, said, state, undisturbed
from .oracle import seed
from .sealing import FILE, LENGTH
from .traced import CALLS, need_strace, points, traced

AT_ONCE = 2
"""Programs that run at once: each is busy for nearly all of its time."""

KILLS_SHORT, KILLS_LONG = 90, 1000
"""System calls at which it is killed, chosen by chance: of 1,400 that a whole run makes."""

UPGRADES_SHORT = 10
"""Of the system calls that bringing a file up to date makes; in the long form all."""

AGAIN = 3
"""Batches that come once more after a kill: what a courier was not told is written, it brings again."""

VERSION_2 = Path(__file__).parents[1] / "sqlite" / "version-2.sql"

Point = tuple[str, int]


@pytest.fixture(autouse=True)
def _prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    need_strace()
    prepare(monkeypatch)


def judge_history(expected: Said, folder: Path, point: Point) -> str:
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
        found = said(path)
        there = sum(1 for at, _ in expected.batches if at <= found.batches[-1][0]) if found.batches else 0
        if there not in {acknowledged, acknowledged + 1}:
            return f"{there} batches, though {acknowledged} were acknowledged"
        if there and (wrong := judge(found, expected, there)):
            return wrong
        if state(path)[:2] != ("ok", 0):
            return f"not whole: {state(path)}"
    finish(path, max(there - AGAIN, 0), EVERYTHING, sealing.BOUNDS)
    if wrong := judge(said(path), expected, EVERYTHING):
        return f"it does not go on as if nothing had been: {wrong}"
    return "" if state(path) == ("ok", 0, 0) else f"not whole at last: {state(path)}"


def judge_upgrade(old: Path, expected: Dated, folder: Path, point: Point) -> str:
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
    if batches_of(folder / FILE) != expected:
        return "it is not what it was"
    return "" if state(folder / FILE)[:2] == ("ok", 0) else f"not whole at last: {state(folder / FILE)}"


def alone(folder: Path, judge_it: Callable[[Path, Point], str], point: Point) -> tuple[str, str]:
    """Kill at a point, in a folder of its own; return what is wrong."""
    own = folder / f"{point[0]}-{point[1]}"
    own.mkdir()
    verdict = judge_it(own, point)
    shutil.rmtree(own)
    return " ".join(map(str, point)), verdict


def go_through(folder: Path, tried: Iterable[Point], judge_it: Callable[[Path, Point], str]) -> dict[str, str]:
    """Kill at each point; return what is wrong."""
    with ProcessPoolExecutor(AT_ONCE, multiprocessing.get_context("fork")) as pool:
        found = pool.map(functools.partial(alone, folder, judge_it), tried)
        return {point: verdict for point, verdict in found if verdict}


def kill_writers(folder: Path, limit: int) -> dict[str, Any]:
    chosen = seed()
    expected = undisturbed(folder)
    counted = folder / "counted"
    counted.mkdir()
    ran = traced(("write", str(counted)), CALLS, program="sealing")
    finish(counted / FILE, LENGTH, EVERYTHING, sealing.BOUNDS)
    found = said(counted / FILE)
    assert judge(found, expected, EVERYTHING) == ""
    assert len(found.batches) < EVERYTHING, "the oldest have gone"
    assert len(found.rolled) < len(expected.rolled)
    every = list(points(ran.calls))
    tried = random.Random(chosen).sample(every, min(limit, len(every)))
    wrong = go_through(folder, tried, functools.partial(judge_history, expected))
    return {"test": "history kills", "seed": chosen, "calls": dict(ran.calls), "kills": len(tried), "wrong": wrong}


def kill_upgrades(folder: Path, limit: int | None) -> dict[str, Any]:
    chosen = seed()
    old = folder / "old.db"
    with closing(sqlite3.connect(old)) as connection:
        connection.executescript(VERSION_2.read_text(encoding="utf-8"))
    expected = batches_of(old)
    (folder / "counted").mkdir()
    shutil.copy(old, folder / "counted" / FILE)
    ran = traced(("upgrade", str(folder / "counted")), CALLS, program="sealing")
    every = list(points(ran.calls))
    tried = every if limit is None else random.Random(chosen).sample(every, limit)
    wrong = go_through(folder, tried, functools.partial(judge_upgrade, old, expected))
    return {"test": "upgrade kills", "seed": chosen, "calls": dict(ran.calls), "kills": len(tried), "wrong": wrong}


def test_a_history_killed_at_some_system_call_has_every_tick_once_and_goes_on(in_memory: Path, show: Show) -> None:
    figures = kill_writers(in_memory, KILLS_SHORT)
    show(figures)
    assert figures["wrong"] == {}


def test_a_file_killed_while_it_is_brought_up_to_date_is_of_one_version_or_the_other(
    in_memory: Path, show: Show
) -> None:
    figures = kill_upgrades(in_memory, UPGRADES_SHORT)
    show(figures)
    assert figures["wrong"] == {}


@pytest.mark.faults
def test_a_history_killed_at_a_thousand_system_calls_has_every_tick_once_and_goes_on(
    in_memory: Path, show: Show
) -> None:
    figures = kill_writers(in_memory, KILLS_LONG)
    show(figures)
    assert figures["wrong"] == {}
    assert figures["kills"] == KILLS_LONG


@pytest.mark.faults
def test_a_file_killed_at_any_system_call_of_an_upgrade_is_of_one_version_or_the_other(
    in_memory: Path, show: Show
) -> None:
    figures = kill_upgrades(in_memory, None)
    show(figures)
    assert figures["wrong"] == {}
    assert figures["kills"] > 20
