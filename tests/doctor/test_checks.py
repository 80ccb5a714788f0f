"""The table of checks: all green where all is well, each broken thing named by its own check, all of them described."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from doctor.seen import (
    AGENT,
    DISK,
    HOST,
    JOURNAL,
    REPORT,
    SECRET,
    SINK,
    STATE,
    config,
    examined,
    guest,
    host,
    scene,
)
from domstat.catalog import GROUPS
from domstat.config import ConfigError
from domstat.doctor.checks import CHECKS, Checked, judge, refuse, worst
from domstat.doctor.finding import Finding, Verdict
from domstat.doctor.scene import AgentSeen, ClockSeen, OutageSeen, Past, Scene, UnitSeen, WriterSeen
from domstat.settings import Problem

PAGE = Path(__file__).parents[2] / "docs" / "doctor.md"

BROKEN: dict[str, Callable[[Scene], Scene]] = {
    "agent": lambda well: replace(well, agent=AgentSeen(None, "no agent runs")),
    "libvirt": lambda well: replace(well, hosts=(replace(HOST, examined=None, failure=("gone", "start it")),)),
    "read-only": lambda well: replace(
        well, config=config("[hosts.survey]\nrefresh = true"), hosts=(host(not_writable=("no", "chmod")),)
    ),
    "groups": lambda well: replace(well, hosts=(examined(groups=dict.fromkeys(GROUPS, True) | {"block": False}),)),
    "balloon": lambda well: replace(well, hosts=(host(guest(period_s=None)),)),
    "schedstats": lambda well: replace(well, schedstats="0", hosts=(host(guest(waited_ns=0)),)),
    "interval": lambda well: replace(well, past=Past("", {("kvm1", "default"): 12.0})),
    "clock": lambda well: replace(well, clock=ClockSeen(False, 16.0)),
    "disk": lambda well: replace(well, disks=(replace(DISK, free_bytes=1),)),
    "journal": lambda well: replace(well, past=Past("", {}, (OutageSeen("history", 9e5, 1 << 30, 4),))),
    "sinks": lambda well: replace(
        well,
        agent=replace(AGENT, report=replace(REPORT, sinks=(replace(SINK, state="stopped", last_error="401"),))),
    ),
    "files": lambda well: replace(well, files=(replace(STATE, mode=0o777), JOURNAL)),
    "secrets": lambda well: replace(well, files=(STATE, replace(SECRET, mode=0o644))),
    "versions": lambda well: replace(well, agent=replace(AGENT, report=replace(REPORT, version="0.0.1"))),
    "wal-reset": lambda well: replace(
        well, versions=replace(well.versions, sqlite=(3, 40, 1)), writers=(WriterSeen("/h.db", (1, 2)),)
    ),
    "watchdog": lambda well: replace(well, unit=UnitSeen("/u", "[Service]\nWatchdogSec=3")),
}
"""What breaks each check, and no other."""


def findings(found: tuple[Checked, ...]) -> list[tuple[str, Finding]]:
    return [(checked.check, finding) for checked in found for finding in checked.findings]


def test_where_all_is_well_every_check_says_so() -> None:
    found = tuple(judge(scene()))
    assert [checked.check for checked in found if not checked.findings] == []
    assert [each for each in findings(found) if each[1].verdict is not Verdict.OK] == []
    assert worst(found) is Verdict.OK


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named_by_its_own_check_and_by_no_other(name: str) -> None:
    found = findings(tuple(judge(BROKEN[name](scene()))))
    ill = {check for check, finding in found if finding.verdict in {Verdict.TROUBLE, Verdict.WARNING}}
    assert ill == {name}
    assert all(finding.fix for _, finding in found if finding.verdict in {Verdict.TROUBLE, Verdict.WARNING})


def test_every_check_has_something_that_breaks_it() -> None:
    assert {check.name for check in CHECKS} == {*BROKEN, "configuration"}


def test_of_a_wrong_configuration_nothing_but_that_is_said() -> None:
    found = tuple(refuse(ConfigError(Path("/x.toml"), [Problem("agent", "is wrong")])))
    assert [checked.check for checked in found] == ["configuration"]
    assert worst(found) is Verdict.TROUBLE


def test_trouble_is_worse_than_a_warning_and_that_than_not_knowing() -> None:
    said = [Checked("x", (Finding(verdict, "", "", ""),)) for verdict in Verdict]
    assert worst(said) is Verdict.TROUBLE
    assert worst([each for each in said if each.findings[0].verdict is not Verdict.TROUBLE]) is Verdict.WARNING
    assert worst([said[0], said[3]]) is Verdict.UNKNOWN


def test_a_clock_that_jumped_is_known_from_the_history_or_from_the_running_agent() -> None:
    jumped = replace(REPORT, streams=(replace(REPORT.streams[0], clock_steps=2),))
    for changed in (scene(past=Past(clock_steps=2)), scene(agent=replace(AGENT, report=jumped))):
        said = [finding.found for check, finding in findings(tuple(judge(changed))) if check == "clock"]
        assert "the clock jumped 2 times" in said[-1]


def test_every_check_is_described_in_the_order_of_the_table() -> None:
    assert re.findall(r"^### `([^`]+)`", PAGE.read_text(), re.MULTILINE) == [check.name for check in CHECKS]
