"""Whatever byte is damaged, verifying names the row it is in, and counts the rest."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from domstat_sinks.sqlite.keeping import merging, upkeep
from domstat_sinks.sqlite.rescue.verification import verify
from domstat_sinks.sqlite.rollups.rollup import DAY_MS
from domstat_sinks.sqlite.writer import Writer

from .conftest import History
from .sealings import make_small, spoil
from .test_stored import Life
from .tierdata import batches, some_history, tail

TICKS = 23


@pytest.fixture
def sealed(history: History, monkeypatch: pytest.MonkeyPatch) -> History:
    """A history with a merged segment, two small ones and three head rows."""
    monkeypatch.setattr(upkeep, "SLICE_TICKS", 5)
    monkeypatch.setattr(upkeep, "SLICE_MS", 1)
    monkeypatch.setattr(upkeep, "STEP_S", 60.0)
    monkeypatch.setattr(merging, "LEVELS", {1: merging.Level(86_400_000, 10)})
    life = Life(3)
    for _ in range(TICKS):
        history.write(*life.tick())
    return history


def damages(history: History) -> list[str]:
    found: list[str] = []
    verify(history.reader(), found.append)
    return found


def change(history: History, statement: str) -> None:
    plain = sqlite3.connect(history.path)
    plain.execute(statement)
    plain.commit()
    plain.close()


def test_all_is_counted_where_all_is_well(sealed: History) -> None:
    found: list[str] = []
    counted = verify(sealed.reader(), found.append)
    assert found == []
    ((samples,),) = sealed.ask("SELECT count(*) FROM samples")
    ((chunks,),) = sealed.ask("SELECT count(*) FROM chunk")
    ((head,),) = sealed.ask("SELECT count(*) FROM head h JOIN stream s ON s.id = h.stream WHERE h.id > s.sealed")
    assert (counted.ticks, counted.samples) == (TICKS, samples)
    assert sealed.ask("SELECT count(*) FROM sketch_hour") == [(0,)]
    assert counted.rows == int(str(chunks)) + int(str(head))


def test_a_damaged_chunk_is_named_by_number_segment_and_field(sealed: History) -> None:
    ((chunk,),) = sealed.ask("SELECT max(id) FROM chunk")
    change(sealed, f"UPDATE chunk SET blob = zeroblob(length(blob)) WHERE id = {chunk}")
    (said,) = damages(sealed)
    assert f"chunk {chunk} " in said


def test_a_chunk_that_is_missing_is_named(sealed: History) -> None:
    ((chunk,),) = sealed.ask("SELECT max(id) FROM chunk")
    change(sealed, f"DELETE FROM chunk WHERE id = {chunk}")
    (said,) = damages(sealed)
    assert f"chunk {chunk} " in said
    assert "missing" in said


def test_a_damaged_directory_is_named_and_the_rest_is_counted(sealed: History) -> None:
    ((segment, ticks),) = sealed.ask("SELECT id, ticks FROM segment ORDER BY id LIMIT 1")
    change(sealed, f"UPDATE segment SET directory = zeroblob(50) WHERE id = {segment}")
    found: list[str] = []
    counted = verify(sealed.reader(), found.append)
    assert [f"segment {segment}" in said for said in found] == [True]
    assert counted.ticks == TICKS - int(str(ticks))


def test_a_damaged_head_row_is_named(sealed: History) -> None:
    ((head,),) = sealed.ask("SELECT max(id) FROM head")
    change(sealed, f"UPDATE head SET blob = zeroblob(length(blob)) WHERE id = {head}")
    assert [f"head row {head} " in said for said in damages(sealed)] == [True]


def test_a_wrong_count_is_told(sealed: History) -> None:
    change(sealed, "UPDATE segment SET ticks = ticks + 1 WHERE id = (SELECT min(id) FROM segment)")
    (said,) = damages(sealed)
    assert "ticks" in said


def test_what_was_set_aside_is_told(sealed: History) -> None:
    change(sealed, "INSERT INTO damaged VALUES (77, 1, 5, 1, 'its checksum is wrong', x'00')")
    (said,) = damages(sealed)
    assert "head row 77" in said
    assert "its checksum is wrong" in said


def test_a_damaged_page_is_told_and_what_is_on_others_is_counted(sealed: History) -> None:
    ((page,),) = sqlite_pages(sealed, "head_order")
    sealed.sink.close()
    with sealed.path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(bytes(4096))
    found: list[str] = []
    counted = verify(sealed.reader(), found.append)
    assert any("SQLite: " in said for said in found)
    assert counted.ticks > 0


def sqlite_pages(history: History, name: str) -> list[tuple[int]]:
    plain = sqlite3.connect(history.path)
    plain.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    found = plain.execute("SELECT pageno FROM dbstat WHERE name = ?", (name,)).fetchall()
    plain.close()
    return found


# Roll-ups and sketches.


@pytest.fixture(scope="module")
def forty_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history of forty days: sealed buckets, and some that are not; hours, days, and a sum of days."""
    path = tmp_path_factory.mktemp("forty-days") / "history.db"
    ticks = some_history(3, length=41, step_ms=DAY_MS)
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        patch.setattr(upkeep, "TIER_SLICES_MS", {1: 5 * DAY_MS, 2: 5 * DAY_MS})
        writer = Writer(path)
        writer.write(batches([*ticks, *tail(ticks, 11)]))
        while writer.settle():
            pass
        writer.close()
    return path


@pytest.fixture
def rolled(history: History, forty_days: Path) -> History:
    """A copy of it."""
    history.sink.close()
    shutil.copy(forty_days, history.path)
    return history


@pytest.mark.parametrize("table", ["sketch_hour", "sketch_day", "sketch_sum"])
@pytest.mark.parametrize("place", [0, 60, -1])
def test_a_flipped_byte_of_a_sketch_is_named_and_the_rest_is_counted(rolled: History, table: str, place: int) -> None:
    found: list[str] = []
    before = verify(rolled.reader(), found.append)
    assert found == []
    ((number,),) = rolled.ask(f"SELECT max(id) FROM {table}")
    spoil(rolled, table, "blob", int(str(number)), place)
    after = verify(rolled.reader(), found.append)
    (said,) = found
    assert said.startswith(f"row {number} of {table}, ")
    assert " of h/c, " in said
    assert "2026-1" in said or "2027-" in said
    assert (after.ticks, after.samples, after.rows) == (before.ticks, before.samples, before.rows - 1)


def test_a_flipped_byte_of_what_was_open_at_the_end_is_named_and_the_rest_is_counted(rolled: History) -> None:
    found: list[str] = []
    before = verify(rolled.reader(), found.append)
    ((stream,),) = rolled.ask("SELECT stream FROM unfinished")
    change(rolled, "UPDATE unfinished SET blob = CAST(substr(blob, 1, length(blob) - 2) || x'0000' AS BLOB)")
    after = verify(rolled.reader(), found.append)
    assert found == [f"row {stream} of unfinished, the open hour of stream {stream}, is damaged: its checksum is wrong"]
    assert after.rows == before.rows - 1


def test_a_file_of_before_what_was_open_was_stored_is_as_sound(rolled: History) -> None:
    change(rolled, "DROP TABLE unfinished")
    assert damages(rolled) == []


@pytest.mark.parametrize("tier", [1, 2])
def test_a_flipped_byte_of_a_bucket_is_named_sealed_or_not(rolled: History, tier: int) -> None:
    ((stream,),) = rolled.ask("SELECT id FROM stream WHERE tier = ?", tier)
    ((head,),) = rolled.ask(
        "SELECT max(h.id) FROM head h JOIN stream s ON s.id = h.stream WHERE s.id = ? AND h.id > s.sealed", stream
    )
    ((segment,),) = rolled.ask("SELECT max(id) FROM segment WHERE stream = ?", stream)
    ((chunk,),) = rolled.ask("SELECT max(id) FROM chunk WHERE id >> 26 = ?", segment)
    spoil(rolled, "head", "blob", int(str(head)), -1)
    spoil(rolled, "chunk", "blob", int(str(chunk)), -1)
    found = damages(rolled)
    assert [f"head row {head} " in found[0], f"chunk {chunk} " in found[1], len(found)] == [True, True, 2]
    spoil(rolled, "segment", "directory", int(str(segment)), -1)
    assert any(f"segment {segment} " in said for said in damages(rolled))
