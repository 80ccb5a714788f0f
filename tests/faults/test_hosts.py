"""Three hosts under one agent, one of them dead and one with a guest that hangs: every healthy guest has every tick."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from domstat_lab import guests, hang
from domstat_lab.libvirtd import PrivateLibvirtd
from domstat_lab.spec import tiny
from real.conftest import BURNER, NAUGHTY, SLEEPER, WRITER, Agent
from shown import Show

from .oracle import Tick, Told, at_best, coverage, seed

INTERVAL_MS = 1000

HEALTHY = [spec.name for spec in (WRITER, BURNER, SLEEPER, NAUGHTY)]
"""The guests of the healthy host."""

PATIENTS = [f"patient-{number}" for number in range(1, 5)]
"""The guests of the other, one of which hangs."""

SHORT_S, LONG_S = 4.0, 120.0
"""For how long it hangs."""

NO_SURVEY = "survey = { enabled = false }\n"
"""Which would come at any five minutes, and fail where the host is dead."""


@pytest.fixture(scope="module")
def ward(lab: PrivateLibvirtd) -> Iterator[PrivateLibvirtd]:
    """A second libvirtd, whose guests may hang."""
    with tempfile.TemporaryDirectory(prefix="domstat-lab-") as folder, PrivateLibvirtd(Path(folder)) as running:
        guests.start(running, [tiny(name) for name in PATIENTS])
        yield running


def go_through(run_agent: Callable[..., Agent], ward: PrivateLibvirtd, folder: Path, hangs_s: float) -> dict[str, Any]:
    """Run one agent on three hosts while a guest of one hangs; return the figures."""
    chosen = seed()
    chance = random.Random(chosen)
    victim = chance.choice(PATIENTS)
    hosts = {"ward": ward.uri_ro, "dead": f"qemu+unix:///system?socket={folder}/no-such-socket"}
    extra = "".join(f'[[hosts]]\nname = "{name}"\nuri = "{uri}"\n{NO_SURVEY}' for name, uri in hosts.items())
    agent = run_agent(interval=f"{INTERVAL_MS}ms", extra=extra, folder=folder)
    agent.wait_for(lambda: ticks_of(agent, "ward") >= 2, "ticks")
    time.sleep(chance.uniform(0, 1) * INTERVAL_MS / 1000)
    hangs_ms = time.time_ns() // 1_000_000
    with hang.hung(ward, [victim]):
        time.sleep(hangs_s)
    goes_on_ms = time.time_ns() // 1_000_000
    time.sleep(2.5 * INTERVAL_MS / 1000)
    agent.stop()
    told = Told(folder)
    lab_ticks, ward_ticks = list(told.ticks("lab")), list(told.ticks("ward"))
    onset = next(tick for tick in ward_ticks if tick.ended_ms > hangs_ms and not is_whole(tick, victim))
    # The onset is over with its tick; of those due by then each counts for the guest that hangs, and for no other.
    later = [tick for tick in ward_ticks if tick.due_ms > onset.ended_ms]
    stuck = [tick for tick in ward_ticks if tick.due_ms >= onset.due_ms and tick.ended_ms < goes_on_ms]
    recovered = [tick for tick in ward_ticks if tick.began_ms >= goes_on_ms][1:]
    end_ms = lab_ticks[-1].due_ms
    return {
        "test": "hosts",
        "seed": chosen,
        "ticks": {"lab": len(lab_ticks), "ward": len(ward_ticks), "dead": len(list(told.ticks("dead")))},
        "rate_lab": rate(lab_ticks, lab_ticks[0].due_ms, end_ms, HEALTHY),
        "rate_ward": rate(later, later[0].due_ms, later[-1].due_ms, sorted({*PATIENTS} - {victim})),
        "onset_s": (onset.ended_ms - onset.due_ms) / 1000,
        "late_ms_max": max(tick.began_ms - tick.due_ms for tick in lab_ticks),
        "stuck_ticks": len(stuck),
        "stuck_unmarked": sum(victim not in tick.guests or is_whole(tick, victim) for tick in stuck),
        "recovered": bool(recovered) and all(is_whole(tick, name) for tick in recovered for name in PATIENTS),
        "dead_uncovered": len(coverage([lab_ticks[0].due_ms, end_ms], told.gaps("dead"), INTERVAL_MS).unexplained),
        "dead_reasons": sorted({gap.reason for gap in told.gaps("dead")}),
        "lost": [event["host"] for event in agent.events("host_lost")],
        "stuck": [event["host"] for event in agent.events("guest_stuck")],
        "warned": sorted({event["event"] for event in agent.events() if event["level"] != "info"}),
        "stored_otherwise": told.stored_otherwise(),
    }


def ticks_of(agent: Agent, host: str) -> int:
    return sum(event["stream"] == f"{host}/default" for event in agent.events("tick"))


def is_whole(tick: Tick, name: str) -> bool:
    """Say whether a guest is in a tick, and nothing was left out."""
    record = tick.guests.get(name)
    return record is not None and record.partial is None


def rate(ticks: list[Tick], first_ms: int, last_ms: int, names: list[str]) -> float:
    """Return the share of the ticks that were due in which a guest is whole: of the guest that has the fewest."""
    due = range(first_ms, last_ms + 1, INTERVAL_MS)
    by_due = {tick.due_ms: tick for tick in ticks}
    return min(sum(at in by_due and is_whole(by_due[at], name) for at in due) / len(due) for name in names)


def assert_held(figures: dict[str, Any]) -> None:
    assert figures["ticks"]["dead"] == 0, figures
    assert figures["stuck_unmarked"] == 0, figures
    assert set(figures["dead_reasons"]) - {"overload"} == {"host-down"}, figures
    assert figures["lost"] == ["dead"], figures
    assert figures["stored_otherwise"] == 0, figures


def assert_in_time(figures: dict[str, Any]) -> None:
    """Assert what a busy machine may take time from."""
    assert (figures["rate_lab"], figures["rate_ward"]) == (1.0, 1.0), figures
    assert figures["stuck_ticks"] > 1, figures
    assert figures["recovered"], figures
    assert (figures["dead_uncovered"], figures["dead_reasons"]) == (0, ["host-down"]), figures
    assert figures["stuck"] == ["ward"], figures
    assert figures["warned"] == ["guest_stuck", "host_lost"], figures


def test_neither_a_dead_host_nor_a_hung_guest_costs_others_a_tick(
    run_agent: Callable[..., Agent], ward: PrivateLibvirtd, tmp_path: Path
) -> None:
    def attempt(folder: Path) -> dict[str, Any]:
        figures = go_through(run_agent, ward, folder, SHORT_S)
        assert_held(figures)
        return figures

    at_best(attempt, tmp_path, assert_in_time)


@pytest.mark.faults
def test_neither_a_dead_host_nor_a_hung_guest_costs_others_a_tick_for_long(
    run_agent: Callable[..., Agent], ward: PrivateLibvirtd, tmp_path: Path, show: Show
) -> None:
    figures = go_through(run_agent, ward, tmp_path, LONG_S)
    show(figures)
    assert_held(figures)
    assert_in_time(figures)
