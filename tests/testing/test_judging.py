"""What was written beside what a store holds: pieces, what a store does not keep, and how differences are said."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from domstat.model import Batch, Record
from domstat.testing import Keeps, Stored, stored
from domstat.testing.judging import NAMED_MAX, differences, order_found, order_of
from domstat.testing.records import INTERVAL_MS, START_MS, batch, event, gap, guest, hypervisor, one_of_each, ticks


def found_of(*batches: Batch) -> list[Stored]:
    return [stored(record) for one in batches for record in one.records]


def faults(
    written: Sequence[Batch], found: Sequence[Stored], keeps: Keeps | None = None, reported: Sequence[Record] = ()
) -> str:
    return "; ".join(differences(written, found, keeps or Keeps(), reported))


def changed(record: Record, **values: object) -> Stored:
    """Store a record with other values; None leaves one out."""
    one = stored(record)
    kept = {**one.values, **values}
    return replace(one, values={key: value for key, value in kept.items() if value is not None})


def test_what_is_held_as_it_was_written_is_no_difference() -> None:
    tick = batch(*one_of_each().values())
    assert faults([tick], found_of(tick)) == ""
    assert faults([], []) == ""


def test_a_record_may_come_in_pieces() -> None:
    tick = batch(guest())
    (whole,) = found_of(tick)
    pieces = [replace(whole, values={key: value}) for key, value in whole.values.items()]
    assert faults([tick], pieces) == ""
    assert "lacks block.rd.bytes[vdb].rate" not in faults([tick], pieces[:-1])
    assert "cpu.utilization, and the sink did not report it" in faults([tick], pieces[:-1])


def test_a_value_that_is_there_twice_is_said() -> None:
    tick = batch(guest(params={"cpu.time": 5}))
    assert "has cpu.time twice" in faults([tick], found_of(tick, tick))
    assert faults([tick], found_of(tick, tick), Keeps(again=True)) == ""
    bare = replace(stored(gap()), values={})
    assert "has itself twice" in faults([batch(gap())], [bare, bare], Keeps(remarks=False))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"cpu.time": 6}, "has cpu.time = 6, written was 5"),
        ({"cpu.time": "5"}, "has cpu.time = '5', written was 5"),
        ({"cpu.time": None}, "lacks cpu.time, and the sink did not report it"),
        ({"cpu.user": 0}, "has cpu.user = 0, and nobody wrote it"),
        ({"cpu.time": 5.0}, ""),
        ({"label.team": "shop"}, ""),
    ],
)
def test_values_are_compared_exactly_and_as_numbers(values: dict[str, object], said: str) -> None:
    record = guest(params={"cpu.time": 5})
    assert said in (result := faults([batch(record)], [changed(record, **values)]))
    assert bool(said) == bool(result)


def test_large_integers_are_told_apart_unless_the_store_has_floats() -> None:
    record = guest(params={"cpu.time": (1 << 63) - 1})
    off = changed(record, **{"cpu.time": float(1 << 63)})
    assert "written was 9223372036854775807" in faults([batch(record)], [off])
    assert faults([batch(record)], [off], Keeps(tolerance=1e-15)) == ""


def test_what_is_no_number_is_like_itself_alone() -> None:
    record = guest(params={"vendor.ratio": math.nan})
    assert faults([batch(record)], [stored(record)]) == ""
    assert "written was nan" in faults([batch(record)], [changed(record, **{"vendor.ratio": 0.0})])
    assert "written was inf" in faults([batch(guest(params={"vendor.ratio": math.inf}))], [stored(record)])


def test_what_was_reported_may_be_missing_but_not_be_wrong() -> None:
    record = guest(params={"cpu.time": 5})
    assert faults([batch(record)], [], reported=[record]) == ""
    assert faults([batch(record)], [changed(record, **{"cpu.time": None})], reported=[record]) == ""
    assert "written was 5" in faults([batch(record)], [changed(record, **{"cpu.time": 0})], reported=[record])


def test_what_nobody_wrote_is_said() -> None:
    assert "the guest 'kvm1' at" not in faults([], [])
    assert "is there, and nobody wrote it" in faults([], found_of(batch(guest())))
    assert "is missing" in faults([batch(guest())], [])


def test_names_are_those_of_the_time() -> None:
    record = guest(name="new")
    assert "is named old, not new" in faults([batch(record)], [replace(stored(record), name="old")])
    assert faults([batch(record)], [replace(stored(record), name=None)]) == ""


def test_a_store_without_times_has_the_last_of_each_stream() -> None:
    first, last = ticks(2)
    shown = [replace(one, time_ms=None) for one in found_of(last)]
    assert faults([first, last], shown, Keeps(latest=True)) == ""
    assert "written was" in faults(
        [first, last], [replace(s, time_ms=None) for s in found_of(first)], Keeps(latest=True)
    )


def test_a_store_without_collect_blocks_has_both_in_one() -> None:
    one = guest(collect="often", params={"cpu.time": 5})
    other = guest(collect="seldom", params={"balloon.current": 6})
    shown = [replace(changed(record, interval_s=None), collect=None) for record in (one, other)]
    assert faults([batch(one), batch(other)], shown) == ""
    assert "lacks balloon.current" in faults([batch(one), batch(other)], shown[:1])


def test_what_a_store_says_it_does_not_keep_is_not_asked_for() -> None:
    tick = batch(*one_of_each().values())
    bare = [
        changed(record, **{key: None for key in stored(record).values if key not in record.params})
        for record in tick.records
    ]
    assert faults([tick], bare, Keeps(rates=False, remarks=False)) == ""
    assert "lacks cpu.time.rate" in faults([tick], bare, Keeps(remarks=False))
    assert "lacks event.reason" in faults([tick], bare, Keeps(rates=False))
    numbers = [changed(hypervisor(), **{"host.version.libvirt": None})]
    assert faults([batch(hypervisor())], numbers, Keeps(texts=False)) == ""
    assert faults([batch(event())], [], Keeps(kinds=frozenset({"guest"}))) == ""


def test_texts_are_compared_as_the_store_writes_them() -> None:
    record = guest(name="A B", params={"vendor.count[c d]": 1})
    shown = replace(stored(record), name="A_B", values={"vendor.count[c_d]": 1})
    assert faults([batch(record)], [shown], Keeps(text=lambda text: text.replace(" ", "_"))) == ""
    assert "vendor.count[c d]" in faults([batch(record)], [shown])


def test_only_some_differences_are_said() -> None:
    tick = batch(*(guest(number) for number in range(10)))
    said = differences([tick], [], Keeps())
    assert len(said) == NAMED_MAX + 1
    assert said[-1] == "and 5 more"


def test_order_is_that_of_records_however_many_pieces_they_come_in() -> None:
    records = [guest(0), guest(1), guest(0, time_ms=START_MS + INTERVAL_MS)]
    found = [piece for record in records for piece in [stored(record)] * 2]
    assert order_found(found) == order_of(records, Keeps())
    assert order_found(found[::-1]) != order_of(records, Keeps())
