"""Whatever records say: every case is failed by a sink that breaks just that promise, in words that say so."""

from __future__ import annotations

from pathlib import Path

import pytest

import badsinks as bad
from domstat.testing import Keeps
from domstat.testing.cases.contents import Contents
from judged import Run, Table, cases_of, found_out, runs

TABLE: Table = {
    "test_every_kind_of_record_is_stored": [(bad.GuestsOnly, "is missing")],
    "test_records_of_all_kinds_are_stored_together": [(bad.OneEventATick, "the event .* is missing")],
    "test_a_kind_it_does_not_know_costs_no_other_record": [(bad.KnowsAllKinds, "not a valid Kind")],
    "test_fields_it_does_not_know_are_stored": [(bad.KnownFieldsOnly, r"lacks vendor.count, vendor.count\[vda\]")],
    "test_all_types_of_values_are_stored": [(bad.WholeNumbers, r"vendor.ratio\[0\] = 0, written was 0.1")],
    "test_the_largest_integers_are_stored_exactly_or_reported": [
        (bad.Signed, r"= -1, written was 18446744073709551615")
    ],
    "test_negative_values_are_stored": [(bad.Unsigned, "= 18446744073709551615, written was -1")],
    "test_what_is_no_number_is_reported_and_never_something_else": [
        (bad.ZeroForNoNumber, "vendor.ratio = 0.0, written was"),
    ],
    "test_a_value_that_is_missing_is_missing": [(bad.FillsHoles, "balloon.current = 0, and nobody wrote it")],
    "test_a_partial_record_is_stored_as_far_as_it_goes": [(bad.WholeRecordsOnly, "is missing")],
    "test_hostile_names_are_stored_as_names": [(bad.Tidies, "is missing|is named")],
    "test_names_that_look_alike_stay_apart": [(bad.Tidies, "different names are one")],
    "test_time_may_go_back": [(bad.ForwardOnly, "is missing")],
    "test_two_streams_may_have_one_time": [(bad.OneStreamAHost, "is missing")],
    "test_a_label_that_changes_splits_nothing": [(bad.LabelsAreIdentity, "has .* twice")],
    "test_a_guest_that_is_renamed_stays_itself": [(bad.NamesOnce, "is named old, not new")],
    "test_one_uuid_on_two_hosts_is_two_guests": [(bad.OneHost, "is missing")],
}

KEEPS = {"test_names_that_look_alike_stay_apart": Keeps(text=bad.tidy)}
"""What a bad sink says of itself, where that is part of what is bad."""

SPARED = {("test_every_kind_of_record_is_stored", "guest")}
"""Variants of a case in which the bad sink does nothing wrong."""


@pytest.mark.parametrize("run", runs(TABLE, KEEPS, SPARED), ids=str)
def test_a_sink_that_breaks_the_promise_is_found_out(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found_out(run, tmp_path, capfd)


def test_every_case_has_a_bad_sink() -> None:
    assert sorted(TABLE) == cases_of(Contents)
