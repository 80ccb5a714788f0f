"""The commented reference: complete, equal to the file that ships, and right line by line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from domstat.cli import app
from domstat.config import (
    AgentSettings,
    Capacity,
    CollectSettings,
    HostSettings,
    JournalSettings,
    ReportSettings,
    SinkCommon,
    SurveySettings,
    parse,
)
from domstat.reference import render
from domstat.sink import find_sinks, load_sink

SHIPPED = Path(__file__).parents[1] / "config" / "domstat.toml"
SETTING = re.compile(r"# ([a-z_]+) = .+")
TABLES_OF_A_HOST = ("collect", "labels", "survey")
HEAD = re.compile(r"(# )?(\[\[?[a-z.]+\]\]?)")


def tables() -> Iterator[list[str]]:
    """Give the reference's lines from each table's head to the next."""
    lines: list[str] = []
    for line in render().splitlines():
        if HEAD.fullmatch(line):
            yield lines
            lines = []
        lines.append(line)
    yield lines


def kind_of(table: list[str]) -> str:
    """Return which sink a table is of, behind a space; nothing for other tables."""
    return next((f" {match[2]}" for line in table if (match := re.fullmatch(r'(# )?type = "(.+)"', line))), "")


def belongs_to_the_head(table: list[str]) -> int:
    """Count the lines of a table that stand directly below its head, which a table that is used needs."""
    return table.index("") if "" in table else len(table)


def uncommented() -> Iterator[tuple[str, str]]:
    """Give the reference with one setting more each time, its table's head too where that is an example."""
    parts = list(tables())
    for at, table in enumerate(parts):
        for number, line in enumerate(table):
            match = SETTING.fullmatch(line)
            if not match:
                continue
            changed = list(table)
            if changed[0].startswith("# ["):
                for i in range(belongs_to_the_head(table)):
                    if i == 0 or SETTING.fullmatch(changed[i]):
                        changed[i] = changed[i].removeprefix("# ")
            changed[number] = changed[number].removeprefix("# ")
            text = "\n".join("\n".join(changed if i == at else part) for i, part in enumerate(parts))
            yield f"{table[0]}{kind_of(table)} {match[1]}", text


def test_the_shipped_file_is_the_reference() -> None:
    assert SHIPPED.read_text(encoding="utf-8") == render(), "run: domstat config > config/domstat.toml"


def test_the_command_prints_it() -> None:
    result = CliRunner().invoke(app, ["config"])
    assert result.exit_code == 0
    assert result.stdout == render()


def test_as_it_stands_it_changes_nothing() -> None:
    shipped, none = parse(render()), parse("")
    assert shipped.agent == none.agent
    assert shipped.state_dir == none.state_dir
    assert shipped.hosts == none.hosts
    assert shipped.capacity == none.capacity
    assert [(sink.name, sink.settings) for sink in shipped.sinks] == [(sink.name, sink.settings) for sink in none.sinks]


@pytest.mark.parametrize(("setting", "text"), [pytest.param(*one, id=one[0]) for one in uncommented()])
def test_any_line_may_be_uncommented(setting: str, text: str) -> None:
    name = setting.rpartition(" ")[2]
    assert f"\n{name} = " in text
    parse(text)


def test_every_setting_stands_in_it() -> None:
    expected = [
        *(f"[agent] {name}" for name in AgentSettings.__struct_fields__),
        *(f"[journal] {name}" for name in JournalSettings.__struct_fields__),
        *(f"[[hosts]] {name}" for name in HostSettings.__struct_fields__ if name not in TABLES_OF_A_HOST),
        *(f"[hosts.labels] {name}" for name in ("owner", "machine")),
        *(f"[hosts.survey] {name}" for name in SurveySettings.__struct_fields__),
        *(f"[[hosts.collect]] {name}" for name in CollectSettings.__struct_fields__),
        *(f"[capacity] {name}" for name in Capacity.__struct_fields__),
        *(f"[report] {name}" for name in ReportSettings.__struct_fields__),
    ]
    for sink in find_sinks():
        names = {*SinkCommon.__struct_fields__, *load_sink(sink).Settings.__struct_fields__}
        expected += [f"[[sinks]] {sink} {name}" for name in names]
    found = []
    for table in tables():
        head = table[0].removeprefix("# ") if table else ""
        keys = [match[1] for line in table if (match := re.match(r"(?:# )?([a-z_]+) = ", line))]
        found += [f"{head}{kind_of(table)} {key}" for key in keys]
    assert sorted(found) == sorted(expected)


def test_defaults_shown_are_the_defaults() -> None:
    for setting, text in uncommented():
        if setting.startswith("[agent] ") and not setting.endswith(("state_dir", "status_group", "status_socket")):
            assert parse(text).agent == parse("").agent, setting
        if setting.startswith("[hosts.survey] "):
            assert parse(text).hosts == parse("").hosts, setting


def test_the_tables_of_a_host_are_its_own() -> None:
    for setting, text in uncommented():
        (host,) = parse(text).hosts
        if setting == "[hosts.labels] owner":
            assert list(host.settings.labels) == ["owner"]
        elif not setting.startswith("[hosts.labels] "):
            assert host.settings.labels == {}


def test_every_setting_has_its_reason_right_above_it() -> None:
    lines = render().splitlines()
    for before, line in pairwise(lines):
        if SETTING.fullmatch(line) and not line.startswith("# type = "):
            assert re.match(r"# .*[.]$", before), f"{before!r} above {line!r}"


def test_it_is_pleasant_to_read() -> None:
    text = render()
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert "\n\n\n" not in text
    assert all(len(line) <= 120 and line == line.rstrip() for line in text.splitlines())
    assert "…" not in text
    assert tomllib.loads(text)
    assert msgspec.json.encode(text)
