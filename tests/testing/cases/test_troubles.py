"""A store in trouble: every case is failed by a sink that breaks just that promise, in words that say so."""

from __future__ import annotations

from pathlib import Path

import pytest

import badsinks as bad
from domstat.testing.cases.troubles import Troubles
from judged import Run, Table, cases_of, found_out, runs

TABLE: Table = {
    "test_a_store_that_is_away_means_retry_and_then_success": [(bad.SwallowsOutages, "although the store was away")],
    "test_opened_while_its_store_is_away_it_tries_again": [(bad.GivesUp, "it may raise Retry")],
    "test_a_slow_store_loses_nothing": [(bad.TimesOut, "while its store was slow the sink raised TimeoutError")],
    "test_a_record_that_cannot_be_stored_takes_no_other_with_it": [
        (bad.AllOrNothing, "with which there is nothing wrong"),
        (bad.DropsSilently, "is missing"),
    ],
    "test_of_a_batch_that_cannot_be_stored_every_record_is_reported": [(bad.DropsSilently, "is missing")],
    "test_what_the_store_refuses_is_rejected_and_the_rest_stored": [(bad.RetriesForEver, "the sink raised Retry")],
    "test_where_the_store_refuses_everything_everything_is_rejected": [(bad.DropsSilently, "did not report it")],
    "test_what_no_retry_helps_is_fatal": [(bad.NeverFatal, "the sink raised Retry.* it may raise Fatal")],
}


@pytest.mark.parametrize("run", runs(TABLE), ids=str)
def test_a_sink_that_breaks_the_promise_is_found_out(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found_out(run, tmp_path, capfd)


def test_every_case_has_a_bad_sink() -> None:
    assert sorted(TABLE) == cases_of(Troubles)
