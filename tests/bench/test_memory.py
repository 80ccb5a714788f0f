"""What the agent holds, as the benchmark says it."""

from __future__ import annotations

from msgspec.structs import replace

from domstat_bench import memory
from domstat_bench.memory import GUESTS, HELD_GOAL_KIB, HELD_MAX_KIB, Figures

HELD = Figures(GUESTS, params=20_000, ticks=300, agent=80 * 1024, worker=20 * 1024, fake=9_000, most=110 * 1024)


def said(item: Figures) -> str:
    return str(memory.table(item))


def test_all_processes_count_together() -> None:
    assert HELD.together == 100 * 1024
    assert "100.0" in said(HELD)


def test_it_says_which_bounds_are_kept() -> None:
    assert HELD_GOAL_KIB < HELD.together < HELD_MAX_KIB
    assert "130.0 together: reached; to be wished for: <= 90.0: MISSED" in said(HELD)
    assert "130.0 together: MISSED" in said(replace(HELD, agent=HELD_MAX_KIB))


def test_bounds_are_those_of_the_guests_they_are_set_for() -> None:
    assert "reached" not in said(replace(HELD, guests=20))
