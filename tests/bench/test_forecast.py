"""Projections of series in files, and what is told of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from domstat_bench import forecast
from domstat_bench.agent_run import BenchError
from domstat_bench.forecast import Score, read, tables, totals_of

HOUR = 3_600_000


def written(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(["timestamp,value", *lines]) + "\n")
    return path


def score(last: float = 0.5, season: float = 0.5, inside: float = 0.8, origins: int = 10, truths: int = 100) -> Score:
    return Score("one", HOUR, 200, 1, origins, last, season, inside, truths)


def test_times_are_iso_or_seconds_and_values_stand_on_a_grid(tmp_path: Path) -> None:
    iso = read(written(tmp_path / "iso.csv", ["1970-01-02 00:00:00,1", "1970-01-02T01:00:00+00:00,2"]))
    seconds = read(written(tmp_path / "seconds.csv", ["86400,1", "90000.0,2"]))
    for series in (iso, seconds):
        assert (series.start_ms, series.step_ms, series.values.tolist()) == (24 * HOUR, HOUR, [1, 2])


def test_an_irregular_series_has_its_median_step_and_holes(tmp_path: Path) -> None:
    lines = ["0,1", "3600,2", "3600,3", "7300,4", "14400,", "18000,6", "21600,7"]
    series = read(written(tmp_path / "a.csv", lines))
    assert series.step_ms == HOUR
    assert series.values == pytest.approx([1, 3, 4, np.nan, np.nan, 6, 7], nan_ok=True)


def test_the_order_of_lines_does_not_matter(tmp_path: Path) -> None:
    assert read(written(tmp_path / "a.csv", ["7200,3", "0,1", "3600,2"])).values.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["0,1", "nonsense,2"], "not a file of timestamp,value"),
        (["0,1", "60,two"], "not a file of timestamp,value"),
        (["0,1", "0,2"], "no two values at different times"),
        ([], "no two values at different times"),
        (["0,1", "1,2", "2,3", "9000000000,4"], "steps of 1 s"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_name(tmp_path: Path, lines: list[str], words: str) -> None:
    with pytest.raises(BenchError, match=f"bad.csv.*{words}"):
        read(written(tmp_path / "bad.csv", lines))


def test_a_folder_of_series_is_projected_over_a_day_and_a_week_as_its_history_allows(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    for name, hours in (("long", 14 * 24), ("short", 5 * 24), ("too-short", 20)):
        values = 5 + np.sin(np.arange(hours) / 24 * 2 * np.pi) + random.normal(0, 0.2, hours)
        written(tmp_path / f"{name}.csv", [f"{hour * 3600},{value}" for hour, value in enumerate(values.tolist())])
    found = forecast.run(tmp_path)
    assert [(one.name, one.days) for one in found.scores] == [("long", 1), ("long", 7), ("short", 1)]
    assert found.totals.against_last < 1
    written_out = "\n".join(map(str, tables(found)))
    assert "long" in written_out
    assert "below 1" in written_out


def test_days_are_projected_a_week_and_a_month(tmp_path: Path) -> None:
    written(tmp_path / "days.csv", [f"{day * 86400},{day % 7}" for day in range(60)])
    assert [one.days for one in forecast.run(tmp_path).scores] == [7, 30]


def test_a_folder_without_series_or_without_history_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"no \*.csv files"):
        forecast.run(tmp_path)
    written(tmp_path / "a.csv", ["0,1", "3600,2", "7200,3"])
    with pytest.raises(BenchError, match="long enough"):
        forecast.run(tmp_path)


def test_errors_are_put_together_by_geometric_mean_and_shares_by_origin_and_by_value() -> None:
    totals = totals_of([score(0.5, 1, 0.6, 10, 300), score(2, 1, 0.9, 20, 100)])
    assert totals.against_last == pytest.approx(1.0)
    assert totals.inside == pytest.approx(0.8)
    assert totals.inside_truths == pytest.approx(0.675)


def test_a_projection_without_error_is_not_all_there_is_to_a_mean() -> None:
    assert totals_of([score(0.0), score(1.0)]).against_last == pytest.approx(0.1)
    assert totals_of([score(float("inf")), score(1.0)]).against_last == pytest.approx(10)


@pytest.mark.parametrize(
    ("one", "verdicts"),
    [
        (score(), ["reached"] * 3),
        (score(last=1.01), ["MISSED", "reached", "reached"]),
        (score(season=1.01), ["reached", "MISSED", "reached"]),
        (score(inside=0.74), ["reached", "reached", "MISSED"]),
        (score(inside=0.86), ["reached", "reached", "MISSED"]),
    ],
)
def test_verdicts_are_those_of_the_goals(one: Score, verdicts: list[str]) -> None:
    *_, verdict = tables(forecast.Figures("made", [one], totals_of([one])))
    assert [row[-1] for row in verdict.rows[:3]] == verdicts
