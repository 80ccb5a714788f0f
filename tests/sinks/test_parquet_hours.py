"""An hour's file: everything once, in portions that fit into memory, and row groups that a reader may pass over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from domstat.forms import rows
from domstat_sinks.parquet import hours, tables
from domstat_sinks.parquet.hours import Made, Source, make
from domstat_sinks.parquet.stores import Folder
from parquet_folder import tick

NAME = "host=kvm1/day=2026-11-22/hour-22.parquet"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Folder]:
    store = Folder(tmp_path)
    yield store
    store.close()


def source(*ticks: tuple[int, str, int]) -> Source:
    """Make a source of guests' values at times, a table for each."""
    made = [
        tables.table_of([row for record in tick(number, name, params={"x": value}).records for row in rows(record)])
        for number, name, value in ticks
    ]
    return Source(frozenset().union(*map(tables.ticks_of, made)), lambda: iter(made))


def values(tmp_path: Path) -> list[tuple[str, float]]:
    found: list[dict[str, Any]] = pq.ParquetFile(tmp_path / NAME).read().to_pylist()
    assert len({(row["time"], row["domain"]) for row in found}) == len(found)
    return sorted((row["domain"], row["value"]) for row in found)


def test_sources_are_put_together(tmp_path: Path, store: Folder) -> None:
    assert make(store, NAME, [source((0, "a", 1)), source((1, "a", 2))]) == Made(2, had_again=False)
    assert values(tmp_path) == [("a", 1.0), ("a", 2.0)]


def test_of_a_record_in_several_sources_the_newest_counts(tmp_path: Path, store: Folder) -> None:
    sources = [source((0, "a", 1), (0, "b", 1)), source((0, "a", 2)), source((1, "a", 9)), source((0, "a", 3))]
    assert make(store, NAME, sources) == Made(3, had_again=True)
    assert values(tmp_path) == [("a", 3.0), ("a", 9.0), ("b", 1.0)]


def test_what_is_in_the_file_is_the_oldest_source(tmp_path: Path, store: Folder) -> None:
    make(store, NAME, [source((0, "a", 1), (0, "b", 1))])
    assert make(store, NAME, [source((1, "a", 1))]) == Made(3, had_again=False)
    assert make(store, NAME, [source((0, "a", 2))]) == Made(3, had_again=True)
    assert values(tmp_path) == [("a", 1.0), ("a", 2.0), ("b", 1.0)]


def test_no_more_is_in_memory_than_fits(tmp_path: Path, store: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hours, "ROWS_AT_ONCE", 10)
    most = 0
    real = tables.together

    def together(found: list[Any]) -> Any:
        nonlocal most
        most = max(most, sum(map(len, found)))
        return real(found)

    monkeypatch.setattr(tables, "together", together)
    for times in (range(50), range(50, 100)):
        make(store, NAME, [source((number, "a", 1)) for number in times])
    assert len(values(tmp_path)) == 100
    assert most <= 60  # what a row group of the file has, and once more what may wait for it


def test_a_row_group_has_few_fields_so_that_the_others_are_passed_over(
    tmp_path: Path, store: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "ROW_GROUP", 100)
    params = dict.fromkeys(["a.x", "b.x", "cpu.time", "d.x", "e.x", "f.x"], 1)
    ticks = [tick(number, params=params) for number in range(40)]
    many = tables.table_of([row for one in ticks for record in one.records for row in rows(record)])
    make(store, NAME, [Source(tables.ticks_of(many), lambda: iter([many]))])
    file = pq.ParquetFile(tmp_path / NAME)
    at = file.schema_arrow.get_field_index("field")
    spans = [file.metadata.row_group(number).column(at).statistics for number in range(file.num_row_groups)]
    assert len([span for span in spans if span.min <= "cpu.time" <= span.max]) < len(spans)


def test_it_is_compressed_with_zstd_and_in_encodings_that_everybody_reads(tmp_path: Path, store: Folder) -> None:
    make(store, NAME, [source((0, "a", 1))])
    group = pq.ParquetFile(tmp_path / NAME).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    assert {column.compression for column in columns} == {"ZSTD"}
    assert {name for column in columns for name in column.encodings} == {"PLAIN", "RLE", "RLE_DICTIONARY"}


def test_a_source_that_fails_leaves_the_file_as_it_was(tmp_path: Path, store: Folder) -> None:
    make(store, NAME, [source((0, "a", 1))])

    def fails() -> Iterator[Any]:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        make(store, NAME, [Source(frozenset(), fails)])
    assert values(tmp_path) == [("a", 1.0)]
    assert [path.name for path in tmp_path.rglob("*hour*")] == ["hour-22.parquet"]
