"""A journal in the hands of somebody who is not the agent: read beside it, and changed when there is none."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deliver.test_codec import ticks
from domstat.deliver import outside
from domstat.deliver.codec import pack
from domstat.deliver.journal import Entry, Journal
from domstat.deliver.outside import UnusableError, forget, kept_for_sinks, reading
from domstat.deliver.position import Position
from domstat.model import Batch
from records import TIME_MS, batch, gap_record

EVER_MS = 1 << 62


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def write(path: Path) -> Iterator[Callable[..., Journal]]:
    """Write batches into a journal as an agent that goes on using it."""
    made: list[Journal] = []

    def append(*batches: Batch, positions: dict[str, Position] | None = None) -> Journal:
        if not made:
            made.append(Journal(path))
        first = made[0].newest() + 1
        rows = [
            Entry(number, one.stream, one.stamp.time_ms, len(one.records), pack(one))
            for number, one in enumerate(batches, first)
        ]
        made[0].append(rows, positions or {})
        return made[0]

    yield append
    for journal in made:
        journal.close()


def read(path: Path, since_ms: int = 0, until_ms: int = EVER_MS) -> list[Batch]:
    damaged: list[str] = []
    with reading(path) as reader:
        found = list(reader.batches(since_ms, until_ms, damaged.append))
    assert damaged == []
    return found


@pytest.mark.parametrize("page", [1, 2, 64])
def test_batches_come_as_they_were_collected_while_the_agent_goes_on(
    path: Path, write: Callable[..., Journal], monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(outside, "PAGE", page)
    collected = ticks(6)
    write(*collected[:4])
    assert read(path) == collected[:4]
    write(*collected[4:])
    assert read(path) == collected
    assert collected[-1].records[0].rates


def test_the_first_that_is_wanted_has_rates_against_the_one_before(path: Path, write: Callable[..., Journal]) -> None:
    collected = ticks(6)
    write(*collected)
    since_ms, until_ms = collected[2].stamp.time_ms, collected[4].stamp.time_ms
    assert read(path, since_ms, until_ms) == collected[2:4]
    with reading(path) as reader:
        assert reader.count(since_ms) == 4


def test_a_gap_belongs_to_the_time_at_which_it_began(path: Path, write: Callable[..., Journal]) -> None:
    gap = batch(gap_record(time_ms=TIME_MS, lasted_ms=0), time_ms=TIME_MS)
    write(gap)
    assert read(path, TIME_MS, TIME_MS + 1) == [gap]
    assert read(path, TIME_MS + 1) == []


def test_a_row_that_is_damaged_is_said_and_the_others_come(path: Path, write: Callable[..., Journal]) -> None:
    collected = ticks(3)
    write(*collected).close()
    plain = sqlite3.connect(path)
    plain.execute("UPDATE batch SET blob = zeroblob(length(blob)) WHERE number = 2")
    plain.commit()
    plain.close()
    damaged: list[str] = []
    with reading(path) as reader:
        found = list(reader.batches(0, EVER_MS, damaged.append))
    assert [one.stamp for one in found] == [collected[0].stamp, collected[2].stamp]
    assert damaged == ["row 2 is damaged: it is of no version that this domstat knows"]


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "there is no journal yet"), (b"", "no journal of this domstat"), (b"text " * 999, "not a database")],
)
def test_what_is_no_journal_is_said_to_be_none(path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnusableError, match=says), reading(path):
        pytest.fail("it was read")


def test_who_waits_for_what_is_said_and_whoever_is_forgotten_waits_no_more(
    path: Path, write: Callable[..., Journal]
) -> None:
    write(*ticks(3), positions={"influx": Position(1), "gone": Position(0)}).close()
    records = [len(one.records) for one in ticks(3)]
    assert kept_for_sinks(path) == {"gone": sum(records), "influx": sum(records[1:])}
    forget(path, "gone")
    assert list(kept_for_sinks(path)) == ["influx"]


def test_nothing_is_made_where_there_is_no_journal(path: Path) -> None:
    with pytest.raises(UnusableError, match="there is no journal yet"):
        kept_for_sinks(path)
    assert not path.exists()
