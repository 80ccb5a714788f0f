"""What a check finds: four verdicts, three of which say what to do."""

from __future__ import annotations

from domstat.doctor import finding
from domstat.doctor.finding import Finding, Verdict


def test_each_verdict_has_its_word() -> None:
    assert finding.ok("a", "b") == Finding(Verdict.OK, "a", "b", "")
    assert finding.warning("a", "b", "c") == Finding(Verdict.WARNING, "a", "b", "c")
    assert finding.trouble("a", "b", "c") == Finding(Verdict.TROUBLE, "a", "b", "c")
    assert finding.unknown("a", "b") == Finding(Verdict.UNKNOWN, "a", "b", "")
    assert [str(each) for each in Verdict] == ["ok", "warning", "trouble", "cannot tell"]
