"""Whether an agent runs, is well, and is heard by who watches it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from doctor.seen import AGENT, ENVIRON, PID, REPORT, UNIT, only, verdicts
from domstat.doctor.finding import Finding, Verdict
from domstat.doctor.scene import AgentSeen, UnitSeen
from domstat.doctor.service import REASONS_MAX, agent, service_settings, watchdog

NOBODY = AgentSeen(None, "no agent runs: there is no socket at /run/s")


def started_with(**environ: str) -> AgentSeen:
    return replace(AGENT, environ=environ)


def unit(text: str) -> UnitSeen:
    return UnitSeen("/etc/systemd/system/domstat.service", f"[Service]\n{text}\n")


def watching(seen: AgentSeen, of: UnitSeen | None = None) -> Finding:
    return only(watchdog(seen, of))


def test_an_agent_that_says_all_is_well_is_well() -> None:
    found = only(agent(AGENT))
    assert (found.verdict, found.found) == (Verdict.OK, f"process {PID} has run for 1h 02m and all is well")


def test_without_an_agent_it_is_said_why_none_answers() -> None:
    found = only(agent(NOBODY))
    assert (found.verdict, found.found) == (Verdict.TROUBLE, NOBODY.why)
    assert "systemctl start domstat" in found.fix


def test_each_reason_of_an_agent_that_is_not_well_is_trouble() -> None:
    ill: Any = replace(REPORT, healthy=False, reasons=tuple(f"reason {i}" for i in range(REASONS_MAX + 2)))
    found = list(agent(replace(AGENT, report=ill)))
    assert verdicts(found) == [Verdict.TROUBLE] * REASONS_MAX
    assert found[0].found == "reason 0"


def test_a_watchdog_that_hears_from_the_agent_is_well() -> None:
    assert watching(AGENT).found == "systemd hears from the agent, at least every 60 s"
    assert verdicts(watchdog(AGENT, UNIT)) == [Verdict.OK, Verdict.OK]


def test_a_watchdog_that_cannot_be_told_anything_is_trouble() -> None:
    found = watching(started_with(WATCHDOG_USEC="60000000"))
    assert found.verdict is Verdict.TROUBLE
    assert found.fix.startswith("Type=notify and NotifyAccess=main")


def test_a_watchdog_that_waits_for_another_process_is_trouble() -> None:
    found = watching(replace(AGENT, environ=ENVIRON | {"WATCHDOG_PID": "1234"}))
    assert (found.verdict, found.fix[:22]) == (Verdict.TROUBLE, "ExecStart=domstat run ")


def test_a_service_without_a_watchdog_is_a_warning() -> None:
    found = watching(started_with(SYSTEMD_EXEC_PID=str(PID)))
    assert (found.verdict, "WatchdogSec=5min" in found.fix) == (Verdict.WARNING, True)


@pytest.mark.parametrize("environ", [{}, {"SYSTEMD_EXEC_PID": "1"}])
def test_an_agent_that_somebody_started_by_hand_needs_none(environ: dict[str, str]) -> None:
    assert watching(replace(AGENT, environ=environ)).found == "no service manager started the agent"


def test_what_an_agent_was_started_with_may_be_hidden() -> None:
    assert watching(replace(AGENT, environ=None)).verdict is Verdict.UNKNOWN


def test_without_an_agent_and_a_unit_nothing_is_watched() -> None:
    assert watching(NOBODY).found == "no unit is installed"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Type=notify\nWatchdogSec=30", Verdict.OK),
        ("Type=notify-reload\nWatchdogSec=30s", Verdict.OK),
        ("WatchdogSec=30", Verdict.TROUBLE),
        ("Type=exec\nWatchdogSec=30", Verdict.TROUBLE),
        ("Type=notify\nWatchdogSec=30\nNotifyAccess=none", Verdict.TROUBLE),
        ("Type=notify\nWatchdogSec=30\nWatchdogSec=0", Verdict.WARNING),
        ("Type=notify\n# WatchdogSec=30", Verdict.WARNING),
        ("Type=notify\n[Unit]\nWatchdogSec=30", Verdict.WARNING),
        ("Type=notify\n[Install]\nx=1\n[Service]\nWatchdogSec=30", Verdict.OK),
    ],
)
def test_a_unit_is_judged_before_any_agent_runs_by_it(text: str, verdict: Verdict) -> None:
    found = watching(NOBODY, unit(text))
    assert (found.verdict, found.about) == (verdict, "/etc/systemd/system/domstat.service")


def test_the_unit_that_ships_is_well() -> None:
    path = Path(__file__).parents[2] / "packaging" / "systemd" / "domstat.service"
    assert watching(NOBODY, UnitSeen(str(path), path.read_text())).verdict is Verdict.OK
    assert service_settings(path.read_text())["User"] == "domstat"


def test_of_a_setting_that_comes_twice_the_last_counts() -> None:
    assert service_settings("[Service]\nUser = a\n[Service]\nUser=b\n;User=c\n") == {"User": "b"}
