"""What SECURITY.md promises is held by tests that are there; and what of it no other module holds."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from domstat_sinks.prometheus.settings import PrometheusSettings

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROWS = [line for line in TEXT.splitlines() if line.startswith("|") and "::" in line]
TESTS = sorted(set(re.findall(r"`(tests/[a-z_/]+\.py)::([a-z_0-9]+)`", TEXT)))


@pytest.mark.parametrize(("path", "name"), TESTS)
def test_a_test_that_is_named_is_there(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_promise_names_how_and_what_holds_it() -> None:
    assert len(ROWS) >= 12
    for row in ROWS:
        promised, how, tests = (cell.strip() for cell in row.strip("|").split("|"))
        assert promised
        assert how
        assert re.fullmatch(r"(`tests/[a-z_/]+\.py::[a-z_0-9]+`(, )?)+", tests), row


def test_http_is_served_to_this_machine_alone_unless_told_otherwise() -> None:
    assert PrometheusSettings().listen.startswith("127.0.0.1:")
