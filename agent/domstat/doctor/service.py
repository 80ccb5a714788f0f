"""Does an agent run, is it well, and does who watches it hear from it? Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from domstat.doctor.finding import Finding, ok, trouble, unknown, warning
from domstat.doctor.scene import AgentSeen, UnitSeen
from domstat.text import span

REASONS_MAX = 5
"""Reasons that are shown; ``domstat status`` has them all."""

WATCHDOG = "5min"
"""The watchdog period that is proposed, that of the unit which ships: longer than any tick, commit or write."""

_NO = frozenset({"", "0", "no", "none", "false", "off", "infinity"})
_NOTIFYING = frozenset({"notify", "notify-reload"})


def agent(seen: AgentSeen) -> Iterator[Finding]:
    """Say whether an agent runs, and whether it says that all is well."""
    if seen.report is None:
        yield trouble("", seen.why, "systemctl start domstat, or domstat run; its log says why it ended")
        return
    report = seen.report
    runs = f"process {report.pid} has run for {span(report.uptime_s)}"
    if report.healthy:
        yield ok("", f"{runs} and all is well")
    for reason in report.reasons[:REASONS_MAX]:
        yield trouble("", reason, "domstat status: the figures; journalctl -u domstat: the log")


def watchdog(seen: AgentSeen, unit: UnitSeen | None) -> Iterator[Finding]:
    """Say whether systemd watches the agent, and whether the agent can tell it that it lives."""
    found = list(_of_the_process(seen))
    if unit is not None:
        found += _of_the_unit(unit)
    yield from found or [ok("", "no service manager started the agent" if seen.report else "no unit is installed")]


def _of_the_process(seen: AgentSeen) -> Iterator[Finding]:
    if seen.report is None:
        return
    if seen.environ is None:
        yield unknown("", "what the agent was started with is hidden", "ask as the agent's user, or as root")
        return
    environ, pid = seen.environ, str(seen.report.pid)
    period = environ.get("WATCHDOG_USEC", "")
    if period and not environ.get("NOTIFY_SOCKET"):
        text = "a watchdog is set and cannot be told anything: systemd will kill the agent again and again"
        yield trouble("", text, "Type=notify and NotifyAccess=main in [Service] of the unit")
    elif period and environ.get("WATCHDOG_PID", pid) != pid:
        text = f"the watchdog waits for process {environ['WATCHDOG_PID']}, and the agent is {pid}"
        yield trouble("", text, "ExecStart=domstat run in [Service], without a shell in between")
    elif period:
        seconds = int(period) / 1e6 if period.isdecimal() else 0.0
        yield ok("", f"systemd hears from the agent, at least every {seconds:g} s")
    elif environ.get("SYSTEMD_EXEC_PID") == pid:
        text = "systemd started the agent and does not watch it: one that hangs is not started anew"
        yield warning("", text, f"Type=notify and WatchdogSec={WATCHDOG} in [Service] of the unit")


def _of_the_unit(unit: UnitSeen) -> Iterator[Finding]:
    service = service_settings(unit.text)
    watched = service.get("WatchdogSec", "").lower() not in _NO
    notifying = service.get("Type", "simple") in _NOTIFYING and service.get("NotifyAccess", "main") != "none"
    if watched and not notifying:
        text = f"WatchdogSec={service['WatchdogSec']} is set, and the agent cannot tell systemd that it lives"
        yield trouble(unit.path, text, "Type=notify and NotifyAccess=main in [Service]; systemctl daemon-reload")
    elif watched:
        yield ok(unit.path, f"Type={service['Type']}, WatchdogSec={service['WatchdogSec']}")
    else:
        text = "it has no watchdog: an agent that hangs is not started anew"
        yield warning(unit.path, text, f"WatchdogSec={WATCHDOG} in [Service]; systemctl daemon-reload")


def service_settings(text: str) -> Mapping[str, str]:
    """Read a unit's [Service] section, drop-ins behind it: of a setting that comes twice the last counts."""
    settings: dict[str, str] = {}
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and line[0] not in "#;":
            name, _, value = line.partition("=")
            settings[name.strip()] = value.strip()
    return settings
