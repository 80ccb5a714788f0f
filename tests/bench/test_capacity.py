"""What the planner's questions cost, asked of a small made-up history."""

from __future__ import annotations

from pathlib import Path

import pytest

from domstat_bench import capacity, scenario_writer, scenarios
from domstat_bench.agent_run import BenchError
from domstat_bench.capacity import Asked, Cost


def test_every_question_is_asked_of_the_history_in_a_folder(tmp_path: Path) -> None:
    made = scenarios.named("one-hour")
    scenario_writer.write(made.world, tmp_path)
    (tmp_path / "domstat.toml").write_text(f'[agent]\nstate_dir = "{tmp_path}"\n')
    asked = capacity.run(tmp_path, lambda _what: None)
    assert asked.guests > 0
    assert {cost.question: cost.failed for cost in asked.costs} == dict.fromkeys(capacity._questions(""), "")
    assert all(cost.took_s > 0 and cost.cpu_s > 0 and cost.rss_mib > 0 for cost in asked.costs)


def test_a_folder_without_a_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"domstat.toml is not there; write a history with: ./dev bench scenario"):
        capacity.run(tmp_path, lambda _what: None)


@pytest.mark.parametrize(
    ("guests", "took_s", "cpu_s", "verdict"),
    [(200, 0.9, 1.1, "reached"), (200, 1.1, 0.9, "MISSED"), (2000, 4.1, 3.9, "reached"), (2000, 3.9, 4.1, "MISSED")],
)
def test_the_goal_depends_on_how_many_guests_there_are(guests: int, took_s: float, cpu_s: float, verdict: str) -> None:
    table = capacity.table(Asked(guests, 10.0, [Cost("top", took_s, cpu_s, 90.0, 10)]))
    assert table.rows[0][-1] == verdict


def test_what_a_failed_question_said_is_shown() -> None:
    table = capacity.table(Asked(200, 10.0, [Cost("top", 0.1, 0.1, 90.0, 0, "no such field")]))
    assert table.rows[0][-1] == "no such field"
