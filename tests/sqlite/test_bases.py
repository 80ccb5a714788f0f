"""Which row the next one is a difference to, and how many are remembered."""

from __future__ import annotations

import numpy as np
import pytest

from domstat_sinks.sqlite import schema
from domstat_sinks.sqlite.heads import bases
from domstat_sinks.sqlite.heads.bases import Base, Bases


def base(head_id: int, words: int = 1) -> Base:
    return Base(head_id, np.zeros(words, dtype=np.uint64))


def known(remembered: Bases, stream: int, layouts: range) -> list[int]:
    return [layout for layout in layouts if remembered.find(stream, layout)]


def test_every_layout_of_a_stream_has_its_own_base() -> None:
    remembered = Bases()
    remembered.add(1, 10, base(100))
    remembered.add(1, 11, base(101))
    assert [found.id for layout in (10, 11, 10) if (found := remembered.find(1, layout))] == [100, 101, 100]
    assert remembered.find(1, 12) is None
    assert remembered.find(2, 10) is None


def test_a_base_serves_so_many_rows_and_no_more() -> None:
    remembered = Bases()
    remembered.add(1, 10, base(100))
    served = [remembered.find(1, 10) is not None for _ in range(schema.KEYFRAME_EVERY + 5)]
    assert served.count(True) == schema.KEYFRAME_EVERY - 1
    remembered.add(1, 10, base(200))
    assert remembered.find(1, 10) is not None


def test_of_too_many_the_one_that_was_not_used_for_longest_is_forgotten() -> None:
    remembered = Bases()
    for layout in range(bases.BASES_MAX):
        remembered.add(1, layout, base(layout))
    assert remembered.find(1, 0)
    remembered.add(1, 1000, base(1000))
    assert known(remembered, 1, range(3)) == [0, 2]


def test_large_ones_are_bounded_by_their_bytes_but_the_newest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bases, "BASE_BYTES_MAX", 800)
    remembered = Bases()
    for layout in range(4):
        remembered.add(1, layout, base(layout, words=40))
    assert known(remembered, 1, range(4)) == [2, 3]
    remembered.add(1, 4, base(4, words=4000))
    assert known(remembered, 1, range(5)) == [4]


def test_one_streams_bases_can_be_forgotten() -> None:
    remembered = Bases()
    remembered.add(1, 10, base(100))
    remembered.add(2, 10, base(200))
    remembered.forget(1)
    assert (remembered.find(1, 10), remembered.find(2, 10) is not None) == (None, True)
