"""Whatever byte is damaged, verifying names the row it is in, and counts the rest."""

from __future__ import annotations

import sqlite3

import pytest

from domstat_sinks.sqlite import merging, upkeep
from domstat_sinks.sqlite.verification import verify

from .conftest import History
from .test_stored import Life

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
