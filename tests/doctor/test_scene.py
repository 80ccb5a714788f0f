"""A scene of which hardly anything could be seen: what was not seen is neither judged to be well nor to be ill."""

from __future__ import annotations

from doctor.seen import HERE, UID, config
from domstat.doctor.checks import judge
from domstat.doctor.finding import Verdict
from domstat.doctor.scene import AgentSeen, Scene


def test_what_was_not_seen_is_not_judged() -> None:
    dark = Scene(config=config(), uid=UID, agent=AgentSeen(None, "no agent runs"), versions=HERE)
    found = {checked.check: {each.verdict for each in checked.findings} for checked in judge(dark)}
    unseen = ("libvirt", "read-only", "groups", "balloon", "schedstats", "disk", "files")
    assert not any(found.pop(check) for check in unseen)
    assert {check for check, verdicts in found.items() if verdicts == {Verdict.UNKNOWN}} == {
        "interval", "clock", "journal", "sinks",
    }  # fmt: skip
    assert {check for check, verdicts in found.items() if verdicts == {Verdict.TROUBLE}} == {"agent"}
