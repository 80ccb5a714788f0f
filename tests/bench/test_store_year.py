"""A year in the history: what is asked is found, and its size is reckoned from what days take."""

from __future__ import annotations

from pathlib import Path

import pytest

from domstat_bench import store_year
from domstat_bench.store_year import GUESTS, KEPT_DAYS, Year


def test_a_few_days_are_written_and_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_year, "FULL_DAYS", 1)
    monkeypatch.setattr(store_year, "EVERY", 360)
    said: list[str] = []
    measured = store_year.run(2, 3, 1, tmp_path, said.append)
    found = {name: len(answered.found) for name, answered in measured.answers.items()}
    assert found["all guests' CPU by the hour for a year"] >= 70
    assert [number for name, number in found.items() if "top 10" in name or "p95" in name] == [2, 2, 2]
    assert [words.partition(" ")[0] for words in said] == ["writing", "asking", "writing"]
    assert set(measured.tiers) == set(KEPT_DAYS)
    assert measured.tiers["ticks"] > measured.tiers["hours"] > 0
    assert [table.title for table in store_year.tables(measured)] == ["A year's size", "A year's answers"]


def test_a_years_size_is_that_of_each_tier_for_as_long_as_it_is_kept() -> None:
    tiers = dict.fromkeys(KEPT_DAYS, 3_000)
    measured = Year(guests=1, days=1, file_bytes=0, answers={}, full_guests=10, tiers=tiers)
    assert measured.reckoned_bytes == pytest.approx(100 * GUESTS * sum(KEPT_DAYS.values()))
