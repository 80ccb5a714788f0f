"""Capacity on a schedule: what the process says becomes records, and whatever it does the agent goes on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from cli.test_capacity import DAYS, ticks
from cli.test_history import write
from domstat.catalog import FIELDS
from domstat.config import ReportSettings
from domstat.model import Batch, Kind, split_key
from domstat.reporting import COLLECT, Reporting
from heard import Log

DUE_MS = 1_795_385_704_000  # 2026-11-22T22:15:04Z


class Answering:
    """A reporting whose process is a few lines of Python."""

    def __init__(self, tmp_path: Path, log: Log, code: str, settings: ReportSettings) -> None:
        self.offered: list[Batch] = []
        self.reporting = Reporting(settings, None, tmp_path, self.offered.append, log)
        self.reporting._command = [sys.executable, "-c", code]

    def run(self, due_ms: int = DUE_MS) -> None:
        self.reporting.run(due_ms)


def says(told: object) -> str:
    return f"print({json.dumps(json.dumps(told))})"


PAGE = "import sys, pathlib; pathlib.Path(sys.argv[sys.argv.index('--html') + 1]).write_text('page'); print('{}')"


def test_each_host_gets_a_record_of_the_agents_with_what_was_answered(tmp_path: Path, log: Log) -> None:
    told = {"kvm1": {"capacity.cpu.usable": 12.8, "capacity.cpu.runway.expected": 1_728_000.0}, "kvm2": {}}
    answering = Answering(tmp_path, log, says(told), ReportSettings())
    answering.run()
    assert [batch.stream for batch in answering.offered] == [("kvm1", COLLECT), ("kvm2", COLLECT)]
    (record,) = answering.offered[0].records
    assert record.kind is Kind.AGENT
    assert record.params == told["kvm1"]
    assert log.facts("capacity_reported") == {"hosts": 2, "page": None}


def test_answers_of_one_moment_do_not_replace_each_other(tmp_path: Path, log: Log) -> None:
    answering = Answering(tmp_path, log, says({"kvm1": {"capacity.cpu.usable": 1.0}}), ReportSettings())
    answering.run()
    answering.run()
    assert len({batch.stamp.time_ms for batch in answering.offered}) == 2


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys; sys.exit('the history has nothing yet')", "the history has nothing yet"),
        ("import os; os.kill(os.getpid(), 9)", "it ended by signal 9"),
        ("print('no JSON')", "its answer cannot be read"),
    ],
)
def test_what_goes_wrong_is_said_and_costs_this_answer_alone(tmp_path: Path, log: Log, code: str, reason: str) -> None:
    answering = Answering(tmp_path, log, code, ReportSettings())
    answering.run()
    assert not answering.offered
    assert log.facts("capacity_report_failed")["reason"].startswith(reason)


def test_a_process_that_takes_too_long_is_ended(tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domstat.reporting.ANSWER_S", 0.2)
    answering = Answering(tmp_path, log, "import time; time.sleep(1000)", ReportSettings())
    answering.run()
    assert log.facts("capacity_report_failed")["reason"] == "no answer within 0.2 s"


def test_an_agent_that_ends_waits_for_no_answer_and_blames_nobody(tmp_path: Path, log: Log) -> None:
    answering = Answering(tmp_path, log, "import time; time.sleep(1000)", ReportSettings())
    answering.reporting.close()
    answering.run()
    assert not log.said


def test_only_the_newest_pages_are_kept(tmp_path: Path, log: Log) -> None:
    answering = Answering(tmp_path, log, PAGE, ReportSettings(directory="reports", keep=2))
    other = tmp_path / "reports" / "notes.html"
    for day in range(4):
        answering.run(DUE_MS + day * 86_400_000)
        other.write_text("mine")
    found = sorted(path.name for path in (tmp_path / "reports").iterdir())
    assert found == ["capacity-20261124T221504Z.html", "capacity-20261125T221504Z.html", "notes.html"]
    assert (tmp_path / "reports").stat().st_mode & 0o777 == 0o700


def test_the_command_itself_answers_from_the_history_by_names_of_the_catalogue(tmp_path: Path, log: Log) -> None:
    write(tmp_path, *ticks(24 * DAYS))
    file = tmp_path / "domstat.toml"
    file.write_text(f'[agent]\nstate_dir = "{tmp_path}"\n[capacity]\nstale = "9999d"\n')
    offered: list[Batch] = []
    settings = ReportSettings(sink="history", directory="reports")
    Reporting(settings, file, tmp_path, offered.append, log).run(DUE_MS)
    assert log.said[0][1] == "capacity_reported", log.said
    (batch,) = offered
    params = batch.records[0].params
    assert params["capacity.cpu.total"] == 16
    assert {split_key(key)[0] for key in params} <= FIELDS.keys()
    assert "capacity.storage.usable" in params
    (page,) = (tmp_path / "reports").iterdir()
    assert page.read_text().startswith("<!DOCTYPE html>")
