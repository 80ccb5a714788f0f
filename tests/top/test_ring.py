"""The last hour in a ring: means of half minutes, nothing older, never any larger."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from domstat.top.ring import BIN_MS, BINS, Ring

NOW = 1_795_385_700_000 // BIN_MS * BIN_MS


def hour(ring: Ring, until_ms: int = NOW) -> list[float | None]:
    return ring.hour(0, until_ms)


def test_a_new_ring_knows_nothing() -> None:
    assert hour(Ring(1)) == [None] * BINS


def test_a_bin_is_the_mean_of_what_was_read_in_it() -> None:
    ring = Ring(2)
    for after_ms, values in ((0, (1.0, None)), (2_000, (3.0, 7.0)), (BIN_MS - 1, (5.0, None))):
        ring.put(NOW + after_ms, values)
    assert hour(ring) == [*[None] * (BINS - 1), 3.0]
    assert ring.hour(1, NOW)[-1] == 7.0


def test_what_is_older_than_an_hour_is_forgotten() -> None:
    ring = Ring(1)
    ring.put(NOW, (1.0,))
    ring.put(NOW + (BINS - 1) * BIN_MS, (2.0,))
    assert hour(ring, NOW + (BINS - 1) * BIN_MS) == [1.0, *[None] * (BINS - 2), 2.0]
    ring.put(NOW + BINS * BIN_MS, (3.0,))
    assert hour(ring, NOW + BINS * BIN_MS) == [*[None] * (BINS - 2), 2.0, 3.0]


def test_after_a_long_silence_the_ring_is_empty_but_for_the_newest() -> None:
    ring = Ring(1)
    ring.put(NOW, (1.0,))
    ring.put(NOW + 50 * BINS * BIN_MS, (2.0,))
    assert hour(ring, NOW + 50 * BINS * BIN_MS) == [*[None] * (BINS - 1), 2.0]


def test_an_hour_that_ended_earlier_can_be_asked_for_while_it_is_paused() -> None:
    ring = Ring(1)
    ring.put(NOW, (1.0,))
    ring.put(NOW + BIN_MS, (2.0,))
    assert hour(ring, NOW)[-1] == 1.0
    assert hour(ring, NOW + 3 * BIN_MS)[-4:] == [1.0, 2.0, None, None]


def test_a_clock_set_back_a_little_goes_on_in_the_bins_there_are_and_far_back_begins_anew() -> None:
    ring = Ring(1)
    ring.put(NOW, (1.0,))
    ring.put(NOW - 5 * BIN_MS, (3.0,))
    assert hour(ring)[-6::5] == [3.0, 1.0]
    ring.put(NOW - 2 * BINS * BIN_MS, (4.0,))
    assert hour(ring, NOW - 2 * BINS * BIN_MS) == [*[None] * (BINS - 1), 4.0]
    assert hour(ring) == [None] * BINS


def test_the_past_fills_what_is_empty_and_changes_nothing_that_was_seen() -> None:
    ring = Ring(1)
    ring.put(NOW, (1.0,))
    ring.fill([(NOW - 500 * BIN_MS, (9.0,)), (NOW - BIN_MS, (5.0,)), (NOW, (7.0,)), (NOW + BIN_MS, (8.0,))])
    assert hour(ring) == [*[None] * (BINS - 2), 5.0, 1.0]


def test_the_past_can_come_first() -> None:
    ring = Ring(1)
    ring.fill([(NOW - BIN_MS, (5.0,)), (NOW, (None,))])
    assert hour(ring) == [*[None] * (BINS - 2), 5.0, None]


@given(st.lists(st.tuples(st.integers(-300, 300), st.floats(0, 100)), max_size=60))
def test_however_time_goes_a_ring_is_as_large_as_it_was_and_shows_what_was_put_last(
    puts: list[tuple[int, float]],
) -> None:
    ring = Ring(1)
    size = sum(map(sys.getsizeof, (*ring._means, *ring._counts)))
    for bins, value in puts:
        ring.put(NOW + bins * BIN_MS, (value,))
        assert hour(ring, NOW + bins * BIN_MS)[-1] is not None
    assert sum(map(sys.getsizeof, (*ring._means, *ring._counts))) == size
