"""What comes again: every case is failed by a sink that breaks just that promise, in words that say so."""

from __future__ import annotations

from pathlib import Path

import pytest

import badsinks as bad
from domstat.testing.cases.again import Again
from judged import Run, Table, cases_of, found_out, runs

TABLE: Table = {
    "test_the_same_batch_twice_is_there_once": [(bad.Appends, "has .* twice")],
    "test_overlapping_batches_are_there_once": [(bad.KnowsTheLastCall, "has .* twice")],
    "test_what_was_written_outlives_the_process": [(bad.HoldsBack, "is missing")],
    "test_a_process_that_dies_in_the_middle_of_a_write_leaves_nothing_half": [(bad.StaleLock, "somebody else writes")],
    "test_a_backlog_is_stored_after_a_restart": [(bad.Truncates, "is missing")],
}


@pytest.mark.parametrize("run", runs(TABLE), ids=str)
def test_a_sink_that_breaks_the_promise_is_found_out(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found_out(run, tmp_path, capfd)


def test_every_case_has_a_bad_sink() -> None:
    assert sorted(TABLE) == cases_of(Again)
