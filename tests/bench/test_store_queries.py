"""The questions of the bench: asked of our own history they find what the guests did."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from domstat.history import History
from domstat_bench import store_ours, store_queries
from domstat_bench.store_queries import QUESTIONS, Asked
from domstat_bench.workload import Hour, Workload
from domstat_bench.workload_batches import uuid_of
from domstat_bench.workload_kinds import AT

GUESTS, HOURS = 13, 1
ASKED = Asked(Workload(1).begin_ms, Workload(1).begin_ms + HOURS * store_queries.HOUR_MS)


@pytest.fixture(scope="module")
def hour() -> Hour:
    (made,) = Workload(GUESTS).hours(HOURS)
    return made


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    folder: Path = tmp_path_factory.mktemp("history")
    store_ours.write(Workload(GUESTS), HOURS, folder)
    with store_ours.history_in(folder) as opened:
        yield opened


def ask(name: str, history: History) -> store_queries.Found:
    (question,) = [question for question in QUESTIONS if question.name == name]
    return question.ours(history, ASKED)


def test_an_hour_of_a_series_has_its_values(history: History, hour: Hour) -> None:
    found = ask("the last hour of one series", history)
    assert list(found.values()) == pytest.approx((hour.values[AT["cpu.time"], 0] / 1e9).tolist())


def test_the_load_is_the_guests(history: History, hour: Hour) -> None:
    found = ask("p95, mean, max of each guest's CPU", history)
    assert len(found) == 3 * GUESTS
    used_s = np.ptp(hour.values[AT["cpu.time"], 1]) / 1e9
    assert found[uuid_of(1), "mean"] == pytest.approx(used_s / 3590, rel=0.01)
    assert found[uuid_of(1), "mean"] < found[uuid_of(1), "p95"] < found[uuid_of(1), "max"]


def test_the_load_to_one_percent_is_the_load(history: History) -> None:
    exact = ask("p95, mean, max of each guest's CPU", history)
    for uuid, p95 in ask("p95 of each guest's CPU, to 1 %", history).items():
        assert p95 == pytest.approx(exact[uuid, "p95"], rel=store_queries.TOLERANCE)


def test_the_top_are_those_that_wrote_most(history: History, hour: Hour) -> None:
    wrote = np.ptp(hour.values[AT["block.wr.bytes[vda]"]], axis=1)
    found = ask("top 10 by bytes written", history)
    assert list(found) == [uuid_of(int(number)) for number in np.argsort(-wrote, kind="stable")[: store_queries.TOP]]


def test_idle_are_those_that_do_hardly_anything(history: History) -> None:
    quiet = {number for number, kind in enumerate(Workload(GUESTS).kinds) if kind in {"idle", "silent", "off"}}
    found = set(ask("idle guests", history))
    assert {uuid_of(number) for number in quiet} <= found
    assert uuid_of(1) not in found


def test_an_hours_cpu_is_all_guests_together(history: History, hour: Hour) -> None:
    (found,) = ask("all guests' CPU by the hour", history).values()
    assert found == pytest.approx(np.ptp(hour.values[AT["cpu.time"]], axis=1).sum() / 1e9 / 3600, rel=0.01)


def test_an_answer_costs_something_and_is_what_was_found() -> None:
    answered = store_queries.timed(lambda: {"a": float(sum(range(100_000)))}, os.getpid())
    assert answered.found == {"a": 4999950000.0}
    assert answered.cpu_ns > 0
    assert answered.wall_ns > 0


def test_answers_are_as_far_apart_as_where_they_differ_most() -> None:
    assert store_queries.difference({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 2.2}) == pytest.approx(0.1)
    assert store_queries.difference({"a": 1.0}, {"b": 1.0}) == math.inf
    assert store_queries.difference({}, {}) == 0.0
