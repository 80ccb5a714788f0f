"""libvirtd hangs, is killed, is restarted: the agent is back soon after it is, and has said so once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from msgspec import Struct

from domstat.jsonlines import read_time
from domstat.model import Gap
from domstat_lab import life
from domstat_lab.libvirtd import PrivateLibvirtd
from real.conftest import SLEEPER, Agent
from shown import Show

from .oracle import Tick, Told, at_best, coverage, negative_rates, percentile, seed, weigh

INTERVAL_MS = 1000

Spans: TypeAlias = dict[str, tuple[float, float]]

LONG = {"hang": (1.0, 12.0), "kill": (0.0, 3.0)}
"""For so many seconds, at random, libvirtd is stopped: for less and for more than the keepalive takes to notice, which
is 6 s and up to 3 s more, since it counts in whole seconds; and for so many there is none after it was killed."""

SHORT = {"hang": (2.0, 3.0), "kill": (1.2, 2.0)}
"""In the short form a daemon that hangs costs ticks that come late, one that is gone a tick that fails."""

KINDS = ("hang", "kill", "restart")
OUTAGES = 30
"""Of the long form, which takes three minutes."""

BACK_S_MAX = 8.0
"""From libvirtd's being well again to a good tick: a wait of up to 5 s until the next attempt, a tick's interval, and
what a new libvirtd takes for its first answer."""

GROWTH_MAX = {"threads": 2, "files": 3, "rss_kib": 6144}
"""What agent and worker may take more after the last outage than after the first of each kind."""

DOWN = {"host-down", "worker-died"}
"""Reasons of gaps that a daemon which is gone gives."""


class Outage(Struct, frozen=True):
    """What was done to libvirtd; from when to when it did not answer, and until when nothing else was done."""

    kind: str
    from_ms: int
    well_ms: int
    ends_ms: int


class Outages:
    """Does all that to a libvirtd, under an agent, and remembers when."""

    def __init__(self, lab: PrivateLibvirtd, agent: Agent, chance: random.Random, spans: Spans) -> None:
        self._lab = lab
        self._agent = agent
        self._chance = chance
        self._spans = spans
        self.done: list[Outage] = []

    def take(self, kind: str) -> None:
        """Have one outage, and wait until the agent has had two good ticks since."""
        time.sleep(self._chance.uniform(0, 1) * INTERVAL_MS / 1000)
        from_ms = _now_ms()
        well_ms = {"hang": self._hang, "kill": self._kill, "restart": self._restart}[kind]()
        self._agent.wait_for(lambda: self._ticks_since(well_ms) >= 2, "tick after the outage")
        self.done.append(Outage(kind, from_ms, well_ms, _now_ms()))

    def _ticks_since(self, ms: int) -> int:
        return sum(read_time(event["timestamp"]) > ms for event in self._agent.events("tick"))

    def _hang(self) -> int:
        self._lab.sigstop()
        time.sleep(self._chance.uniform(*self._spans["hang"]))
        self._lab.sigcont()
        well_ms = _now_ms()
        self._lab.connect().close()  # or it is the lab that is not well
        return well_ms

    def _kill(self) -> int:
        self._lab.kill()
        time.sleep(self._chance.uniform(*self._spans["kill"]))
        self._lab.start()
        return self._listens_since_ms()

    def _restart(self) -> int:
        self._lab.restart()
        return self._listens_since_ms()

    def _listens_since_ms(self) -> int:
        """Return since when libvirtd takes connections; it answers a little later."""
        return self._lab.socket_ro.stat().st_ctime_ns // 1_000_000


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Beheld(Struct, frozen=True):
    """A good tick: when it was due, and when all its answers were there."""

    due_ms: int
    ended_ms: int
    negative: int


def behold(tick: Tick) -> Beheld:
    return Beheld(tick.due_ms, tick.ended_ms, len(negative_rates(tick.records)))


class Judged(Struct, frozen=True):
    """What one outage came to."""

    kind: str
    lasted_s: float
    back_s: float
    """From libvirtd's being well again to the end of the first good tick."""
    lost: int
    """Ticks that failed or were left out."""
    lines: tuple[int, int]
    """How often the log said that the host is lost, and that it is back."""
    failed: bool
    """Whether a tick failed, rather than that it was late."""


def judge(outages: list[Outage], ticks: list[Beheld], gaps: list[Gap], agent: Agent) -> list[Judged]:
    said = [
        (event["event"], read_time(event["timestamp"]))
        for name in ("host_lost", "host_back")
        for event in agent.events(name)
    ]
    judged = []
    for outage in outages:
        ended = [tick.ended_ms for tick in ticks if tick.ended_ms >= outage.well_ms]
        within = [gap for gap in gaps if outage.from_ms - INTERVAL_MS <= gap.start < outage.ends_ms - INTERVAL_MS]
        times = [event for event, at_ms in said if outage.from_ms <= at_ms < outage.ends_ms]
        judged.append(
            Judged(
                outage.kind,
                (outage.well_ms - outage.from_ms) / 1000,
                (min(ended) - outage.well_ms) / 1000,
                sum((gap.end - gap.start) // INTERVAL_MS for gap in within),
                (times.count("host_lost"), times.count("host_back")),
                any(gap.reason in DOWN for gap in within),
            )
        )
    return judged


def go_through(
    run_agent: Callable[..., Agent],
    lab: PrivateLibvirtd,
    folder: Path,
    kinds: list[str],
    spans: Spans,
) -> dict[str, Any]:
    """Run an agent through one outage after the other; return the figures."""
    chosen = seed()
    agent = run_agent(interval=f"{INTERVAL_MS}ms", folder=folder)
    agent.wait_ticks(2)
    outages = Outages(lab, agent, random.Random(chosen), spans)
    weights = []
    for done, kind in enumerate(kinds, 1):
        outages.take(kind)
        if done in {len(KINDS), len(kinds)}:
            weights.append(weigh(agent))
    happened_ms = _now_ms()
    life.suspend(lab, SLEEPER.name)
    life.resume(lab, SLEEPER.name)
    agent.wait_ticks(len(agent.events("tick")) + 2)
    agent.stop()
    told = Told(folder)
    ticks, gaps = [behold(tick) for tick in told.ticks()], told.gaps()
    judged = judge(outages.done, ticks, gaps, agent)
    covered = coverage((tick.due_ms for tick in ticks), gaps, INTERVAL_MS)
    back_s = [one.back_s for one in judged]
    return {
        "test": "outage",
        "seed": chosen,
        "outages": len(judged),
        "back_s": {"p50": percentile(back_s, 0.5), "p99": percentile(back_s, 0.99)},
        "back_s_max": {kind: max(one.back_s for one in judged if one.kind == kind) for kind in KINDS},
        "ticks": len(ticks),
        "lost": len(covered.lost),
        "unexplained": len(covered.unexplained),
        "belied": len(covered.belied),
        "reasons": {reason: sum(gap.reason == reason for gap in gaps) for reason in {gap.reason for gap in gaps}},
        "failed": sum(one.failed for one in judged),
        "said_otherwise": [
            (one.kind, one.lasted_s, one.lines) for one in judged if one.lines != ((1, 1) if one.failed else (0, 0))
        ],
        "warned": sorted({event["event"] for event in agent.events() if event["level"] != "info"}),
        "negative_rates": sum(tick.negative for tick in ticks),
        "events": [
            record.event.type for record in told.events() if record.event is not None and record.time_ms >= happened_ms
        ],
        "stored_otherwise": told.stored_otherwise(),
        "weights": weights,
    }


def assert_in_time(figures: dict[str, Any]) -> None:
    """Assert what a busy machine may take time from."""
    assert figures["back_s"]["p99"] <= BACK_S_MAX, figures
    assert "interval_too_short" not in figures["warned"], figures
    assert figures["unexplained"] == 0, figures


def assert_held(figures: dict[str, Any]) -> None:
    assert figures["belied"] == 0, figures
    assert figures["said_otherwise"] == [], figures
    # A daemon that hangs while the agent reads definitions, as after its start before, has these come late.
    assert set(figures["warned"]) <= {"host_lost", "host_back", "interval_too_short", "guest_xml_late"}, figures
    assert figures["negative_rates"] == 0, figures
    assert figures["events"] == ["paused", "resumed"], figures
    assert figures["stored_otherwise"] == 0, figures


def assert_no_growth(figures: dict[str, Any]) -> None:
    first, *_, last = figures["weights"]
    for whose in ("agent", "worker"):
        for what, most in GROWTH_MAX.items():
            assert last[whose][what] - first[whose][what] <= most, figures


def test_an_outage_is_a_gap_and_two_lines(
    run_agent: Callable[..., Agent], lab: PrivateLibvirtd, tmp_path: Path
) -> None:
    def attempt(folder: Path) -> dict[str, Any]:
        figures = go_through(run_agent, lab, folder, [*KINDS], SHORT)
        assert figures["failed"] >= 1, figures  # a daemon that is back within half a second may cost no tick
        assert_held(figures)
        return figures

    at_best(attempt, tmp_path, assert_in_time)


@pytest.mark.faults
def test_many_outages_are_as_many_gaps_and_leave_nothing_behind(
    run_agent: Callable[..., Agent], lab: PrivateLibvirtd, tmp_path: Path, show: Show
) -> None:
    kinds = [KINDS[number % len(KINDS)] for number in range(OUTAGES)]
    figures = go_through(run_agent, lab, tmp_path, kinds, LONG)
    show(figures)
    assert_held(figures)
    assert_in_time(figures)
    assert_no_growth(figures)
