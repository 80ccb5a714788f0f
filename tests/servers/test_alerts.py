"""Prometheus' alert rules for domstat, held to their tests by promtool, and to the sink's names."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import panels
from domstat.catalog import DERIVED, FIELDS
from domstat_lab.errors import LabError
from domstat_lab.servers import program
from domstat_sinks.prometheus.names import OWN, derived_of, family_of

FOLDER = Path(__file__).parents[2] / "packaging" / "prometheus"
RULES, TESTS = FOLDER / "domstat.rules.yml", FOLDER / "domstat.rules.test.yml"


def promtool(*arguments: str) -> str:
    try:
        command = [str(program("promtool")), *arguments]
    except LabError as error:
        pytest.skip(str(error))
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_well_formed() -> None:
    assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", RULES.name)


def test_they_fire_when_they_should_and_not_before() -> None:
    assert "SUCCESS" in promtool("test", "rules", TESTS.name)


def test_every_rule_has_a_test() -> None:
    rules = set(re.findall(r"alert: (\w+)", RULES.read_text()))
    tested = set(re.findall(r"alertname: (\w+)", TESTS.read_text()))
    assert rules == tested
    assert len(rules) >= 6


def test_rules_and_dashboards_ask_for_what_the_sink_shows() -> None:
    shown = {family_of(name).name for name in FIELDS} | {derived_of(name).name for name in DERIVED}
    shown |= {family.name for family in OWN}
    lines = [line for line in RULES.read_text().splitlines() if "summary:" not in line and "description:" not in line]
    rules = "\n".join(lines)
    patterns = re.findall(r'"(domstat_[^"]*\([^"]*|domstat_[^"]*\.[^"]*)"', rules)
    assert len(patterns) == 3
    for pattern in patterns:
        assert any(re.fullmatch(pattern, name) for name in shown), pattern
        rules = rules.replace(pattern, "")
    asked = [rules, *(panel.prometheus for dashboard in panels.DASHBOARDS for panel in dashboard.panels)]
    assert {name for text in asked for name in re.findall(r"\bdomstat_\w+", text)} - shown == set()
