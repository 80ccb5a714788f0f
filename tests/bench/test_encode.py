"""The benchmark of line protocol compares like with like."""

from __future__ import annotations

from domstat_bench import encode
from domstat_bench.report import jsonable
from domstat_sinks.lineprotocol import Encoder


def fields_of(text: str) -> dict[str, float]:
    """Read every field, by line without fields and name."""
    found: dict[str, float] = {}
    truths = {"true": 1.0, "false": 0.0}
    for line in text.splitlines():
        head, fields, _ = line.split(" ")
        for field in fields.split(","):
            name, value = field.split("=")
            found[f"{head} {name}"] = float(truths.get(value.lower(), value.removesuffix("i")))
    return found


def test_both_ways_write_the_same_fields() -> None:
    records = encode.Guests(3).tick()
    ours = fields_of(Encoder().encode(records).text.decode())
    theirs = fields_of(encode.write_points([line for record in records for line in encode.lines(record)]))
    assert ours == theirs
    assert len(ours) == sum(len(record.params) + len(record.rates) + len(record.derived) for record in records)


def test_rates_have_all_their_digits() -> None:
    guests = encode.Guests(20)
    rates = [rate for record in guests.tick() for rate in record.rates.values() if rate]
    assert sum(len(repr(rate)) >= 15 for rate in rates) > len(rates) / 2


def test_it_says_what_was_measured_and_whether_that_is_enough() -> None:
    measured = encode.run(2, rounds=2)
    shown = str(encode.table([measured]))
    assert "2 guests, median" in shown
    assert "to be reached" not in shown, "which is said of 200 guests"
    assert measured.packed_bytes["zlib 9"] < measured.packed_bytes["isal 1"] < measured.text_bytes
    assert jsonable(measured)["fields"] == measured.fields
