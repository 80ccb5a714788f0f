"""The bench of the history: it measures what it says, and its tables say whether that is enough."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from domstat_bench import report, store, store_ours, store_table
from domstat_bench.store_demo import Recorded
from domstat_bench.store_peers import Kept
from domstat_bench.workload import Workload

SAMPLES = 3 * 52 * 360


@pytest.fixture(scope="module")
def measured() -> store.Figures:
    return store.run(store.Plan(3, 1, 3, 1, 1, ()), lambda _words: None)


def beside(measured: store.Figures, name: str, size: float) -> store.Figures:
    kept = Kept(f"a {name}", "1.0", SAMPLES, round(size * SAMPLES), 10**9)
    return replace(measured, peers=[store.Peer(name, kept, {})])


def cells(measured: store.Figures, word: str) -> list[str]:
    rows = [row for table in store_table.tables(measured) for row in table.rows if word in row[0]]
    assert len(rows) == 1
    return list(rows[0])


def test_every_sample_is_written_and_every_tick_counted(measured: store.Figures) -> None:
    assert (measured.ours.samples, measured.ours.ticks) == (SAMPLES, 360)
    assert len(measured.ours.commits_ns) == 360
    assert measured.ours.cpu_ns > 0
    assert measured.memory.with_kib > measured.memory.without_kib > 0


def test_a_file_is_its_tables_and_its_free_pages(measured: store.Figures) -> None:
    sizes = measured.ours.sizes
    assert {"head", "chunk", "segment"} <= sizes.tables.keys()
    assert sum(sizes.tables.values()) + sizes.free_bytes == pytest.approx(sizes.file_bytes, abs=8 * 4096)
    assert sizes.sealed_bytes <= sizes.tables["chunk"] + sizes.tables["segment"]
    assert sizes.sealed_samples <= SAMPLES


def test_a_ratio_is_of_what_is_sealed_and_judged_by_the_stores_own_goal(measured: store.Figures) -> None:
    sealed = replace(measured.same, sizes=replace(measured.same.sizes, sealed_bytes=SAMPLES, sealed_samples=SAMPLES))
    measured = replace(measured, same=sealed)
    assert cells(beside(measured, "victoria", 1.34), "sealed, beside")[2:] == ["1.00", "1.34", "0.75", "reached"]
    assert cells(beside(measured, "victoria", 1.30), "sealed, beside")[-1] == "MISSED"
    assert cells(beside(measured, "influxdb", 2.5), "sealed, beside")[-1] == "MISSED"


def test_where_nothing_is_sealed_nothing_is_claimed(measured: store.Figures) -> None:
    none = replace(measured.same, sizes=replace(measured.same.sizes, sealed_bytes=0, sealed_samples=0))
    assert cells(beside(replace(measured, same=none), "victoria", 1.0), "sealed, beside")[-1] == "nothing sealed"


def test_an_answer_that_no_other_store_has_reaches_nothing_however_quick_it_was(measured: store.Figures) -> None:
    word = "all guests' CPU by the hour"
    quick = replace(measured.same_answers[word], found={1: 2.0}, cpu_ns=1)
    ours = replace(
        measured, answers={**measured.answers, word: quick}, same_answers={**measured.same_answers, word: quick}
    )
    for found, said in (({1: 2.01}, "reached"), ({1: 3.0}, "UNLIKE THEIRS"), ({2: 2.0}, "UNLIKE THEIRS")):
        kept = Kept("another", "1.0", SAMPLES, SAMPLES, 10**9)
        peer = store.Peer("victoria", kept, {word: replace(quick, found=found)})
        assert cells(replace(ours, peers=[peer]), word)[-1] == said


def test_every_goal_stands_in_the_tables_and_every_table_can_be_read(measured: store.Figures) -> None:
    tables = list(store_table.tables(measured))
    text = "\n".join(map(str, tables))
    for words in (
        "whole file",
        "CPU, us a sample",
        "p99",
        "worst",
        "bytes written a sample",
        "PSS",
        "cold file",
        "idle",
    ):
        assert words in text
    for table in tables:
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_recorded_guests_have_a_table_of_their_own_if_there_are_any(measured: store.Figures) -> None:
    titles = {table.title for table in store_table.tables(measured)}
    sizes = replace(measured.ours.sizes, file_bytes=3_000, sealed_bytes=400, sealed_samples=800)
    recorded = replace(measured, demo=Recorded(4, 10, 1_000, 90_000, sizes))
    (table,) = (table for table in store_table.tables(recorded) if table.title not in titles)
    assert [row[1] for row in table.rows] == ["0.50", "3.00"]
    assert report.jsonable(store.summary(recorded))["demo"]["samples"] == 1_000


def test_the_figures_are_json(measured: store.Figures) -> None:
    said = report.jsonable(store.summary(measured))
    assert said["samples"] == SAMPLES
    assert set(said["commit_ns"]) == {"0.5", "0.99", "1.0"}


def test_a_plan_is_in_hours_and_beside_four_stores_where_none_is_named() -> None:
    plan = store.plan_of(200, 7, 20, 0.5, None)
    assert (plan.hours, plan.peers_hours, len(plan.peers)) == (168, 12, 4)
    assert store.plan_of(1, 0.01, 1, 1, ["victoria"]).hours == 1


def test_a_quantile_of_times_is_one_of_them() -> None:
    assert store.quantile_of([3, 1, 2], 0.5) == 2
    assert store.quantile_of([3, 1, 2], 1.0) == 3


def test_writing_leaves_everything_in_the_file(tmp_path: Path) -> None:
    written = store_ours.write(Workload(2), 1, tmp_path)
    beside = [path.stat().st_size for path in tmp_path.iterdir() if path.name.endswith("-wal")]
    assert sum(beside) == 0
    with store_ours.history_in(tmp_path) as history:
        (count,) = next(history.sql("SELECT count(*) FROM samples").rows)
    assert count == written.samples
