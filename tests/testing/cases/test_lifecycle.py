"""From opening to closing: every case is failed by a sink that breaks just that promise, in words that say so."""

from __future__ import annotations

from pathlib import Path

import pytest

import badsinks as bad
from domstat.testing import Keeps
from domstat.testing.cases.lifecycle import Lifecycle
from judged import Run, Table, cases_of, found_out, runs

TABLE: Table = {
    "test_it_can_be_opened_and_closed_twice": [(bad.ClosesOnce, "closed already")],
    "test_one_that_was_never_opened_can_be_closed": [(bad.ClosesWhatItHasNot, "no attribute 'file'")],
    "test_what_is_written_before_it_is_open_is_refused_or_kept": [(bad.SilentBeforeOpen, "is missing")],
    "test_an_empty_batch_is_nothing": [(bad.ExpectsRecords, "index out of range")],
    "test_one_record_is_stored_with_all_its_values": [(bad.HoldsBack, "is missing")],
    "test_what_was_stored_is_still_there_when_it_is_closed": [(bad.EmptiesWhenClosed, "is missing")],
    "test_five_thousand_guests_fit_into_a_tick": [(bad.TakesAThousand, "is missing; and 3995 more")],
    "test_several_ticks_can_come_in_one_call": [(bad.LastTickOnly, "is missing")],
    "test_the_order_of_ticks_is_kept": [(bad.Backwards, "in the order in which they were written")],
    "test_it_prints_nothing": [(bad.Prints, "it printed 'wrote 2")],
    "test_it_changes_nothing_that_it_is_given": [(bad.Scales, "it changed the values")],
}

KEEPS = {"test_the_order_of_ticks_is_kept": Keeps(again=True)}
"""What a bad sink says of itself, where that is part of what is bad."""


@pytest.mark.parametrize("run", runs(TABLE, KEEPS), ids=str)
def test_a_sink_that_breaks_the_promise_is_found_out(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found_out(run, tmp_path, capfd)


def test_every_case_has_a_bad_sink() -> None:
    assert sorted(TABLE) == cases_of(Lifecycle)
