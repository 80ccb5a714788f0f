"""Killed at any system call that changes a file, or having any fail: the journal has what it said it had."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from domstat.deliver.journal import FILE, DamagedError, Journal
from shown import Show

from .journals import Content, content_of, contents, entry, integrity
from .oracle import seed
from .traced import CALLS, need_strace, points, traced

AT_ONCE = 2
"""Programs that run at once: each is busy for nearly all of its 0.2 s."""

KILLS_SHORT = 16
ERRORS_SHORT = 8
"""How many of the points are tried in the short form, by chance; in the long form all are."""

BACKLOG, BATCHES = 5, 8
"""Batches that the journal has for both sinks when errors begin, and that are offered then."""

ERRORS = ("EIO", "ENOSPC")
WHENS = {"once": "{}", "for a while": "{}..{}", "for ever": "{}+"}
A_WHILE = 6
"""So many calls in a row fail, of those that a thread makes."""


@pytest.fixture(autouse=True)
def strace() -> None:
    need_strace()


def killed(folder: Path, command: str, call: str, number: int) -> int | None:
    """Have the program killed at a system call; return the last step that it said was done, None if it said none."""
    ran = traced((command, str(folder)), (call,), f"signal=SIGKILL:when={number}")
    assert ran.was_killed, f"it made no {call} {number}"
    return int(ran.output.split()[-1]) if ran.output else None


def judge_journal(folder: Path, said: list[Content], point: tuple[str, int]) -> str:
    """Kill at one point, and say what is wrong with what is left; "" if nothing."""
    step = killed(folder, "journal", *point)
    try:
        journal = Journal(folder / FILE)
    except DamagedError as error:
        return f"damaged: {error}"
    there = content_of(journal)
    newest = journal.newest()
    journal.append([entry(newest + 1)], {})
    goes_on = journal.newest() == newest + 1
    journal.close()
    # The step that was under way may have come to its end.
    allowed = said[:1] if step is None else said[step : step + 2]
    if there not in allowed:
        return "lost" if there in said[: step or 0] else "torn"
    if not goes_on or (verdict := integrity(folder / FILE)) != "ok":
        return "unusable" if not goes_on else verdict
    return ""


def go_through_kills(folder: Path, limit: int | None) -> dict[str, Any]:
    chosen = seed()
    said = contents(folder / "by-itself" / FILE)
    (folder / "counted").mkdir()
    ran = traced(("journal", str(folder / "counted")), CALLS)
    assert ran.output.split()[-1] == str(len(said) - 1)
    every = list(points(ran.calls))
    tried = every if limit is None else random.Random(chosen).sample(every, limit)

    def judge(point: tuple[str, int]) -> str:
        own = folder / f"{point[0]}-{point[1]}"
        own.mkdir()
        verdict = judge_journal(own, said, point)
        shutil.rmtree(own)
        return verdict

    with ThreadPoolExecutor(AT_ONCE) as pool:
        verdicts = dict(zip(tried, pool.map(judge, tried), strict=True))
    wrong = {" ".join(map(str, point)): verdict for point, verdict in verdicts.items() if verdict}
    return {"test": "kills", "seed": chosen, "calls": dict(ran.calls), "kills": len(tried), "wrong": wrong}


def test_a_journal_killed_at_some_system_call_has_all_that_it_said_it_had(in_memory: Path, show: Show) -> None:
    figures = go_through_kills(in_memory, KILLS_SHORT)
    show(figures)
    assert figures["wrong"] == {}


@pytest.mark.faults
def test_a_journal_killed_at_every_system_call_has_all_that_it_said_it_had(in_memory: Path, show: Show) -> None:
    figures = go_through_kills(in_memory, None)
    show(figures)
    assert figures["wrong"] == {}
    assert figures["kills"] > 200


def damaged(folder: Path) -> Path:
    """Make a folder with a journal that is damaged, and with a WAL beside it, as a process that is killed leaves it."""
    folder.mkdir()
    (folder / FILE).write_bytes(b"no database of SQLite's at all, by now".ljust(4096, b"!"))
    (folder / f"{FILE}-wal").write_bytes(b"nor is this its WAL".ljust(4096, b"!"))
    (folder / f"{FILE}-shm").write_bytes(bytes(32768))
    return folder


def test_one_killed_while_a_damaged_journal_is_set_aside_begins_anew_all_the_same(in_memory: Path) -> None:
    calls = traced(("anew", str(damaged(in_memory / "counted"))), CALLS).calls
    assert calls["rename"] >= 2
    early = [(call, number) for call, number in points(calls) if call in {"rename", "unlink"} or number <= 3]

    def rows_after(point: tuple[str, int]) -> tuple[bool, list[int]]:
        folder = damaged(in_memory / f"{point[0]}-{point[1]}")
        said = killed(folder, "anew", *point)
        try:
            journal = Journal(folder / FILE)
        except DamagedError:
            journal = Journal(folder / FILE)
        rows = [number for number, _, _ in journal.read(0, None, 99)]
        journal.append([entry(100)], {})
        journal.close()
        return said == 1, rows

    with ThreadPoolExecutor(AT_ONCE) as pool:
        after = dict(zip(early, pool.map(rows_after, early), strict=True))
    assert {point: rows for point, (_, rows) in after.items() if rows not in ([], [1])} == {}
    assert {point: rows for point, (is_acknowledged, rows) in after.items() if is_acknowledged and rows != [1]} == {}


# Errors.


def backlog(folder: Path) -> None:
    """Make a journal with some batches for sinks that have none of them yet."""
    folder.mkdir()
    ran = traced(("backlog", str(folder), str(BACKLOG)), ("fdatasync",))
    assert json.loads(ran.output)["written"] == [0, 0]


def judge_spool(folder: Path, inject: str, call: str, is_for_ever: bool) -> list[str]:
    """Have calls fail while a spool works; return what is wrong with what came of it."""
    came = json.loads(
        traced(("spool", str(folder), str(BATCHES), "never" if is_for_ever else "ends"), (call,), inject).output
    )
    offered = [*range(1_000_000, 1_000_000 + BATCHES)]
    wrong = []
    delivered = came["delivered"]
    waited = [*range(500_000, 500_000 + BACKLOG)]
    # What comes while the journal cannot even be opened is not held back for what may be in it.
    orders = [time_ms for time_ms in delivered if time_ms in offered], [one for one in delivered if one in waited]
    if orders[0] != offered or orders[1] not in ([waited] if not is_for_ever else [waited, []]):
        wrong.append(f"not delivered once and in order: {delivered}")
    if not came["ended"]:
        wrong.append("the spool did not end")
    adds_up = [
        received - written - dropped == pending
        for received, written, dropped, pending in zip(
            *(came[name] for name in ("received", "written", "dropped", "pending")), strict=True
        )
    ]
    if not all(adds_up) or min(came["pending"]) < 0 or came["pending"][0] != 0:
        wrong.append(f"counts do not add up: {came}")
    if came["lost"] or any(came["dropped"]):
        wrong.append(f"said that something was lost: {came}")
    if len(came["acknowledged"]) < BATCHES and not came["failed"]:
        wrong.append("no failure was counted")
    if not is_for_ever and came["failing"] is not None:
        wrong.append(f"did not recover: {came['failing']}")
    journal = Journal(folder / FILE)
    times = {time_ms for _, time_ms, _, _ in journal.rows(0, 1 << 62, 999)}
    journal.close()
    needed = set(came["acknowledged"]) if is_for_ever else set(offered)
    if missing := {time_ms for time_ms in needed if time_ms not in times}:
        wrong.append(f"acknowledged and lost: {sorted(missing)}")
    if (verdict := integrity(folder / FILE)) != "ok":
        wrong.append(verdict)
    return wrong


def go_through_errors(folder: Path, limit: int | None) -> dict[str, Any]:
    chosen = seed()
    backlog(folder / "made")
    shutil.copytree(folder / "made", folder / "counted")
    counts = traced(("spool", str(folder / "counted"), str(BATCHES), "ends"), ("pwrite64", "fdatasync")).calls
    every = [(call, number, error, when) for call, number in points(counts) for error in ERRORS for when in WHENS]
    tried = every if limit is None else random.Random(chosen).sample(every, limit)

    def judge(trial: tuple[str, int, str, str]) -> list[str]:
        call, number, error, when = trial
        own = folder / "-".join(map(str, trial)).replace(" ", "-")
        shutil.copytree(folder / "made", own)
        inject = f"error={error}:when={WHENS[when].format(number, number + A_WHILE)}"
        verdict = judge_spool(own, inject, call, when == "for ever")
        shutil.rmtree(own)
        return verdict

    with ThreadPoolExecutor(AT_ONCE) as pool:
        verdicts = dict(zip(tried, pool.map(judge, tried), strict=True))
    wrong = {" ".join(map(str, trial)): verdict for trial, verdict in verdicts.items() if verdict}
    return {
        "test": "errors",
        "seed": chosen,
        "calls": dict(counts),
        "trials": dict(Counter(f"{error} {when}" for _, _, error, when in tried)),
        "wrong": wrong,
    }


def test_what_is_collected_goes_on_to_sinks_when_writing_fails_and_into_the_journal_afterwards(
    in_memory: Path, show: Show
) -> None:
    figures = go_through_errors(in_memory, ERRORS_SHORT)
    show(figures)
    assert figures["wrong"] == {}


@pytest.mark.faults
def test_whichever_write_fails_collecting_goes_on_and_nothing_acknowledged_is_lost(in_memory: Path, show: Show) -> None:
    figures = go_through_errors(in_memory, None)
    show(figures)
    assert figures["wrong"] == {}
