"""Settings: every case is failed by a sink that breaks just that promise, in words that say so."""

from __future__ import annotations

from pathlib import Path

import pytest

import badsinks as bad
from domstat.testing.cases.configuration import Configuration
from judged import Run, Table, cases_of, found_out, runs

TABLE: Table = {
    "test_its_settings_are_read_and_written_back_the_same": [(bad.with_settings(bad.Normalises), "which written as")],
    "test_its_settings_do_not_change": [(bad.with_settings(bad.Loose), "not frozen")],
    "test_every_setting_says_what_it_is_for": [
        (bad.with_settings(bad.Undescribed), "path has no description"),
        (bad.with_settings(bad.Unsaid), "no docstring"),
    ],
    "test_every_default_can_be_written_down": [
        (bad.with_settings(bad.Mysterious), "patience is None by default"),
        (bad.with_settings(bad.Unwritable), "which no configuration can say"),
    ],
    "test_an_unknown_key_is_named": [(bad.with_settings(bad.Forgiving), "takes keys that it does not know")],
}


@pytest.mark.parametrize("run", runs(TABLE), ids=str)
def test_a_sink_that_breaks_the_promise_is_found_out(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found_out(run, tmp_path, capfd)


def test_every_case_has_a_bad_sink() -> None:
    assert sorted(TABLE) == cases_of(Configuration)
