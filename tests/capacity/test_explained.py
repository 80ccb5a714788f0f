"""Numbers that say how they came about."""

from __future__ import annotations

import math

import pytest

from domstat.capacity.explained import Figure, Unit, added, given, missing, reason, steps, worked_out


def test_a_number_that_is_none_cannot_be_made() -> None:
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="a number or None"):
            Figure(value)


def test_what_is_read_as_no_number_is_not_known_and_says_of_what() -> None:
    found = given(math.nan, Unit.CORES, "host.cpus")
    assert (found.value, found.note) == (None, "nothing is known of host.cpus")


def test_a_result_lacks_what_its_inputs_lack_for_their_reason() -> None:
    inputs = {"total": missing(Unit.BYTES, "no records"), "buffer": given(0.1, Unit.RATIO, "the setting")}
    found = worked_out(1.0, Unit.BYTES, "total * (1 - buffer)", inputs)
    assert (found.value, found.note) == (None, "no records")


def test_a_result_that_is_no_number_is_not_known() -> None:
    assert not worked_out(math.inf, Unit.NONE, "a / b", {}).is_known


def test_sums_say_how_many_parts_are_not_known() -> None:
    parts = {
        "a": given(1.0, Unit.BYTES, "x"),
        "b": missing(Unit.BYTES, "stale figures"),
        "c": given(2, Unit.BYTES, "x"),
    }
    found = added(parts, Unit.BYTES)
    assert (found.value, found.formula, found.note) == (3.0, "a + c", "without 1 that are not known")
    assert added({"b": parts["b"]}, Unit.BYTES).note == "stale figures"


def test_an_explanation_goes_down_and_takes_nothing_apart_twice() -> None:
    total = given(16.0, Unit.THREADS, "host.cpus")
    usable = worked_out(
        12.8, Unit.CORES, "total * (1 - buffer)", {"total": total, "buffer": given(0.2, Unit.RATIO, "s")}
    )
    left = worked_out(0.0, Unit.CORES, "usable - usable", {"usable": usable, "again": usable})
    assert [(step.depth, step.name) for step in steps(left, "left")] == [
        (0, "left"),
        (1, "usable"),
        (2, "total"),
        (2, "buffer"),
        (1, "again"),
    ]


def test_a_reason_has_the_formula_the_source_and_the_warning_that_there_are() -> None:
    total = given(16, Unit.THREADS, "host.cpus", "2 are offline")
    assert reason(total, "16 threads") == "16 threads (host.cpus) [2 are offline]"
    usable = worked_out(12.8, Unit.CORES, "total * 0.8", {"total": total})
    assert reason(usable, "12.8 cores") == "12.8 cores = total * 0.8"
    assert reason(missing(Unit.CORES, "no records"), "no records") == "no records"
