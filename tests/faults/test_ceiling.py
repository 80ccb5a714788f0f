"""More guests than an answer of libvirt's can hold, and calls that take longer than the interval: all are collected."""

from __future__ import annotations

import bisect
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from domstat.model import Record
from domstat_lab import crowd, guests
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.spec import tiny
from real.conftest import BURNER, NAUGHTY, SLEEPER, WRITER, Agent
from shown import Show

from .oracle import Tick, Told, at_best, coverage, negative_rates, seed

ONE_TOO_MANY = crowd.DOMAINS_MAX + 1

CROWD_INTERVAL_MS = 5000
"""Such a tick takes 3 s on two processors, nearly all of it the agent's; the calls take 0.15 s."""

WRITTEN_S = 1.5
"""After a tick's end so many records are written, too, and the next is not due yet."""

INTERVAL_MS = 100
"""A call for the guests here takes 0.2 s, and four times that from a libvirtd that is slowed down: more than the
deadline, which is never below 0.5 s."""

SLOW_S = (0.01, 0.03)
"""For so long libvirtd runs, and for so long it is stopped, by turns: it is slow, and no guest is stuck. A monitor
command then takes up to 0.1 s, and one is thought to be stuck after 0.25 s."""

SHORT_S, LONG_S = 4.0, 120.0
"""For how long it is slow."""

ERROR_MAX = {SHORT_S: 0.1, LONG_S: 0.02}
"""What the rates of CPU time may differ by from what the guest's process has used, which is counted in hundredths of a
second: for a quarter of each second the guest uses all it gets, so that a tenth of a second too early or too late at
either end is a share of a short time."""


class Slowed:
    """Stops a libvirtd most of the time, and meanwhile keeps count of the CPU time that a process has used."""

    def __init__(self, lab: PrivateLibvirtd, watched_pid: int, chance: random.Random) -> None:
        self._lab = lab
        self._watched = Path(f"/proc/{watched_pid}/stat")
        self._chance = chance
        self._ended = threading.Event()
        self._counted: list[tuple[float, float]] = []

    @contextmanager
    def slowly(self) -> Iterator[None]:
        """Have it slow for as long as the context lasts."""
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _run(self) -> None:
        runs_s, stops_s = SLOW_S
        while not self._ended.wait(self._chance.uniform(0.5, 1.5) * runs_s):
            self.count()
            self._lab.sigstop()
            time.sleep(stops_s)
            self._lab.sigcont()

    def count(self) -> None:
        """Take note of how much CPU time the process has used by now."""
        fields = self._watched.read_text().rpartition(")")[2].split()
        self._counted.append((time.time(), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")))

    def used_s(self, from_s: float, to_s: float) -> float:
        """Return how much CPU time it has used between two moments."""
        return self._at(to_s) - self._at(from_s)

    def _at(self, moment_s: float) -> float:
        return self._counted[min(bisect.bisect(self._counted, (moment_s, 0.0)), len(self._counted) - 1)][1]


@pytest.fixture
def slow_guests(lab: PrivateLibvirtd) -> Iterator[list[str]]:
    """So many guests beside the lab's own that all take more than one part: the names of all."""
    names = [f"slow-{number:02}" for number in range(1, 21)]
    guests.start(lab, [tiny(name) for name in names])
    yield [*names, *(spec.name for spec in (WRITER, BURNER, SLEEPER, NAUGHTY))]
    guests.destroy(lab, names)


def test_one_guest_more_than_an_answer_holds_is_no_loss(
    run_agent: Callable[..., Agent], lab: PrivateLibvirtd, tmp_path: Path
) -> None:
    def attempt(folder: Path) -> dict[str, Any]:
        figures = go_beyond(run_agent, lab, folder, ticks=1)
        assert_all_were_there(figures)
        return figures

    at_best(attempt, tmp_path, assert_two_calls_do)


@pytest.mark.faults
def test_one_guest_more_than_an_answer_holds_is_no_loss_for_long(
    run_agent: Callable[..., Agent], lab: PrivateLibvirtd, tmp_path: Path, show: Show
) -> None:
    figures = go_beyond(run_agent, lab, tmp_path, ticks=12)
    show(figures)
    assert_all_were_there(figures)
    assert_two_calls_do(figures)


def go_beyond(run_agent: Callable[..., Agent], lab: PrivateLibvirtd, folder: Path, *, ticks: int) -> dict[str, Any]:
    """Run an agent on more guests than an answer can hold; return the figures."""
    with crowd.crowd(lab, ONE_TOO_MANY) as keeping:
        keeping.lookupByName(crowd.name(0)).suspend()  # so many of one kind alone no call of libvirt's can list
        agent = run_agent(interval=f"{CROWD_INTERVAL_MS}ms", uri=crowd.uri_ro(lab), folder=folder)
        agent.wait_for(lambda: len(agent.events("tick")) >= ticks, "tick of the crowd", 90 + 20 * ticks)
        time.sleep(WRITTEN_S)
        agent.stop()
    told = Told(folder)
    there = {crowd.identity(number) for number in range(ONE_TOO_MANY)}
    collected = list(told.ticks())
    last = collected[-1]
    return {
        "test": "ceiling",
        "guests": ONE_TOO_MANY,
        "ticks": len(collected),
        "lacking": sum(len(there - _uuids(tick)) for tick in collected),
        "others": sum(len(_uuids(tick) - there) for tick in collected),
        "calls": [tick.own["agent.calls"] for tick in collected],
        "call_s": last.own["agent.call.time"] / 1e9,
        "took_s": [event["took_ms"] / 1e3 for event in agent.events("tick")],
        "workers_killed": last.own["agent.workers_killed"],
        "notes": len(agent.events("driver_note")),
        "warned": sorted({event["event"] for event in agent.events() if event["level"] != "info"}),
        "stored_otherwise": told.stored_otherwise(),
    }


def _uuids(tick: Tick) -> set[str]:
    return {record.domain.uuid for record in tick.guests.values() if record.domain is not None}


def assert_all_were_there(figures: dict[str, Any]) -> None:
    assert (figures["lacking"], figures["others"]) == (0, 0), figures
    assert figures["stored_otherwise"] == 0, figures


def assert_two_calls_do(figures: dict[str, Any]) -> None:
    """Assert what a busy machine may take time from: a call that is not through in time is made again, in parts."""
    assert max(figures["calls"]) == 2, figures
    assert figures["workers_killed"] == 0, figures
    assert figures["notes"] == 1, figures


def go_slowly(
    run_agent: Callable[..., Agent], lab: PrivateLibvirtd, folder: Path, there: set[str], seconds: float
) -> dict[str, Any]:
    """Run an agent on a libvirtd that is too slow for its interval; return the figures."""
    chosen = seed()
    slowed = Slowed(lab, lab.qemu_pid(BURNER.name), random.Random(chosen))
    agent = run_agent(interval=f"{INTERVAL_MS}ms", folder=folder)
    agent.wait_ticks(2)
    with slowed.slowly():
        agent.wait_for(lambda: bool(agent.events("asked_in_parts")), "parts")
        began_ms, ticks_before = time.time_ns() // 1_000_000, len(agent.events("tick"))
        time.sleep(seconds)
        agent.wait_ticks(ticks_before + 4)  # of which the second and the third fell into it
        ended_ms = time.time_ns() // 1_000_000
    agent.wait_ticks(len(agent.events("tick")) + 2)
    agent.stop()
    told = Told(folder)
    ticks, gaps = list(told.ticks()), told.gaps()
    slow = [tick for tick in ticks if began_ms <= tick.due_ms and tick.ended_ms < ended_ms]
    covered = coverage((tick.due_ms for tick in ticks), gaps, INTERVAL_MS)
    burner = [tick.guests[BURNER.name] for tick in slow]
    return {
        "test": "overload",
        "seed": chosen,
        "guests": len(there),
        "ticks": len(ticks),
        "slow_ticks": len(slow),
        "skipped": ticks[-1].own["agent.skipped"],
        "skipped_at_last": (ticks[-1].ended_ms - ticks[-1].due_ms) // INTERVAL_MS,
        "lost": len(covered.lost),
        "unexplained": len(covered.unexplained),
        "belied": len(covered.belied),
        "reasons": sorted({gap.reason for gap in gaps}),
        "workers_killed": ticks[-1].own["agent.workers_killed"],
        "quarantined": max(tick.own["agent.quarantined"] for tick in ticks),
        "lacking": sum(len(there ^ tick.guests.keys()) for tick in ticks),
        "partial": sum(record.partial is not None for tick in ticks for record in tick.guests.values()),
        "parts": [min(map(parts, slow)), max(map(parts, slow))],
        "call_s": max(tick.own["agent.call.time"] for tick in slow) / 1e9,
        "hints": [event["hint"] for event in agent.events("interval_too_short")],
        "asked_in_parts": len(agent.events("asked_in_parts")),
        "negative_rates": sum(len(negative_rates(tick.records)) for tick in ticks),
        "rate_error": rate_error(burner),
        "total_error": total_error(burner, told.moments_s(BURNER.name), slowed),
        "stored_otherwise": told.stored_otherwise(),
    }


def parts(tick: Tick) -> int:
    """Count the parts that a tick's guests came in, each with a stamp of its own."""
    times = {record.time_ms for record in tick.guests.values()}
    assert len(times) <= tick.own["agent.calls"]
    return len(times)


def rate_error(records: list[Record]) -> float:
    """Return by how much a rate of CPU time, over its time, differs from what was counted, at worst, as a share."""
    worst = 0.0
    for before, after in pairwise(records):
        counted_s = (int(after.params["cpu.time"]) - int(before.params["cpu.time"])) / 1e9
        rated_s = after.rates["cpu.time"] * (after.interval_s or 0.0)
        worst = max(worst, abs(rated_s - counted_s) / max(counted_s, 1e-9))
    return worst


def total_error(records: list[Record], moments_s: dict[int, float], slowed: Slowed) -> float:
    """Return by how much all rates of CPU time together differ from what the guest's process used, as a share."""
    rated_s = sum(record.rates["cpu.time"] * (record.interval_s or 0.0) for record in records[1:])
    used_s = slowed.used_s(moments_s[records[0].time_ms], moments_s[records[-1].time_ms])
    return abs(rated_s / used_s - 1)


def assert_in_time(figures: dict[str, Any], error_max: float) -> None:
    """Assert what a busy machine may take time from.

    A guest that does not get to answer is thought to be stuck; what is due while the schedule itself does not get to
    run is not counted; and a first call that is too long by itself is taken for the one that was slowed.
    """
    assert figures["parts"][0] > 1, figures
    assert (figures["workers_killed"], figures["quarantined"], figures["partial"]) == (0, 0, 0), figures
    assert figures["reasons"] == ["overload"], figures
    assert (len(figures["hints"]), figures["asked_in_parts"]) == (1, 1), figures
    assert figures["total_error"] <= error_max, figures
    # What was skipped while the last tick ran has been counted with it, and is not followed by a tick that was not.
    uncertain = figures["skipped_at_last"] + 2
    assert 0 < figures["lost"] <= figures["skipped"] <= figures["lost"] + uncertain, figures
    assert figures["unexplained"] == 0, figures


def assert_held(figures: dict[str, Any]) -> None:
    assert figures["lacking"] == 0, figures
    assert figures["belied"] == 0, figures
    assert figures["negative_rates"] == 0, figures
    assert figures["rate_error"] <= 1e-6, figures
    assert figures["stored_otherwise"] == 0, figures


def test_a_call_longer_than_the_interval_costs_ticks_and_nothing_else(
    run_agent: Callable[..., Agent], lab: PrivateLibvirtd, slow_guests: list[str], tmp_path: Path
) -> None:
    def attempt(folder: Path) -> dict[str, Any]:
        figures = go_slowly(run_agent, lab, folder, set(slow_guests), SHORT_S)
        assert_held(figures)
        return figures

    at_best(attempt, tmp_path, lambda figures: assert_in_time(figures, ERROR_MAX[SHORT_S]))


@pytest.mark.faults
def test_calls_longer_than_the_interval_cost_ticks_and_nothing_else_for_long(
    run_agent: Callable[..., Agent],
    lab: PrivateLibvirtd,
    slow_guests: list[str],
    tmp_path: Path,
    show: Show,
) -> None:
    figures = go_slowly(run_agent, lab, tmp_path, set(slow_guests), LONG_S)
    show(figures)
    assert_held(figures)
    assert_in_time(figures, ERROR_MAX[LONG_S])
