"""What waits: found again by who comes after, and read in as few goes as can be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from domstat_sinks.parquet.layout import slot_of
from domstat_sinks.parquet.portions import Faults, portions
from domstat_sinks.parquet.stores import Folder
from domstat_sinks.parquet.waiting import DamagedError, Waiting
from parquet_folder import files, tick
from records import TIME_MS

SLOT = slot_of("kvm1", TIME_MS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Folder]:
    store = Folder(tmp_path)
    yield store
    store.close()


def add(waiting: Waiting, *ticks: int, value: int = 1) -> None:
    for portion in portions([tick(number, params={"x": value}) for number in ticks], Faults()):
        waiting.add(portion)


def test_who_comes_after_finds_it_in_its_order(store: Folder) -> None:
    before = Waiting(store)
    for number in range(12):
        add(before, number)
    after = Waiting(store)
    assert after.slots[SLOT].parts == before.slots[SLOT].parts
    add(after, 12)
    assert [part.number for part in after.slots[SLOT].parts] == list(range(1, 14))


def test_ticks_that_are_each_there_once_are_read_in_one_go(store: Folder) -> None:
    waiting = Waiting(store)
    for ticks in ([0], [1, 2], [3], [2, 4], [5]):
        add(waiting, *ticks)
    for seen_by in (waiting, Waiting(store)):
        sources = seen_by.sources(seen_by.slots[SLOT].parts)
        times = [sorted((time_ms - TIME_MS) // 10_000 for _, time_ms in source.ticks) for source in sources]
        assert times == [[0, 1, 2, 3], [2, 4, 5]]
        assert [sum(len(table) for table in source.read()) for source in sources] == [4, 3]


def test_the_very_same_again_takes_the_place_of_what_was_there(store: Folder) -> None:
    waiting = Waiting(store)
    add(waiting, 0, value=1)
    add(waiting, 0, value=2)
    add(waiting, 0, value=1)
    assert [part.number for part in waiting.slots[SLOT].parts] == [2, 3]
    assert len(waiting) == 2


def test_nothing_is_left_when_all_is_removed(tmp_path: Path, store: Folder) -> None:
    waiting = Waiting(store)
    add(waiting, 0)
    add(waiting, 1)
    waiting.remove(tuple(waiting.slots[SLOT].parts))
    assert waiting.slots == {}
    assert files(tmp_path, ".rows") == []


def test_a_damaged_file_is_named(tmp_path: Path, store: Folder) -> None:
    waiting = Waiting(store)
    add(waiting, 0)
    (name,) = files(tmp_path, ".rows")
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DamagedError) as caught:
        list(waiting.read(waiting.slots[SLOT].parts))
    assert caught.value.name == name
    waiting.set_aside(name)
    assert len(waiting) == len(Waiting(store)) == 0
