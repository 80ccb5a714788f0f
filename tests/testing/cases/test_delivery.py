"""Behind the courier: every case is failed by a sink that breaks just that promise, in words that say so."""

from __future__ import annotations

from pathlib import Path

import pytest

import badsinks as bad
from domstat.testing.cases.delivery import Delivery
from judged import Run, Table, cases_of, found_out, runs

TABLE: Table = {
    "test_received_is_written_and_rejected_and_pending": [
        (bad.FailsTheFirstTime, "failed 1 times"),
        (bad.DropsSilently, "is missing"),
        (bad.AllOrNothing, "records were rejected, though only one"),
    ],
    "test_stopped_in_the_middle_of_a_write_it_loses_nothing": [(bad.LosesTheLastWrite, "is missing")],
}


@pytest.mark.parametrize("run", runs(TABLE), ids=str)
def test_a_sink_that_breaks_the_promise_is_found_out(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found_out(run, tmp_path, capfd)


def test_every_case_has_a_bad_sink() -> None:
    assert sorted(TABLE) == cases_of(Delivery)
