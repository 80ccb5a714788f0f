"""What the documentation says is so: its configurations load, its code runs, its tables name what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.main import get_command

from domstat import config
from domstat.catalog import DERIVED
from domstat.cli import app
from domstat.jsonlines import decode, encode
from domstat.model import Kind
from domstat.sink import SinkContext, find_sinks
from domstat_sinks.sqlite import SqliteSink
from domstat_sinks.sqlite.sink import SqliteSettings
from records import batch

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def all_blocks(language: str) -> list[tuple[str, str]]:
    return [(page.name, block) for page in PAGES for block in blocks(page, language)]


@pytest.mark.parametrize(("page", "text"), all_blocks("toml"))
def test_every_configuration_shown_is_right(page: str, text: str) -> None:
    assert config.parse(text).hosts, page


@pytest.mark.parametrize(("page", "text"), all_blocks("json"))
def test_every_record_shown_is_a_record(page: str, text: str) -> None:
    for line in text.splitlines():
        assert json.loads(encode([decode(line)])) == json.loads(line), page


def test_the_code_shown_for_a_history_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = SqliteSink(SqliteSettings())
    sink.open(SinkContext("history", tmp_path, None, lambda _record, _reason: None))
    sink.write([batch()])
    monkeypatch.chdir(tmp_path)
    (code,) = blocks(ROOT / "docs" / "history.md", "python")
    exec(compile(code, "docs/history.md", "exec"), {})
    sink.close()
    assert capsys.readouterr().err == ""


def test_every_command_is_in_the_readme_and_every_command_there_exists() -> None:
    shown = {
        line.split()[1]
        for block in blocks(ROOT / "README.md", "sh")
        for line in block.splitlines()
        if line.startswith("domstat ")
    }
    commands = get_command(app)
    assert shown == set(commands.commands)  # type: ignore[attr-defined]  # a typer group


def test_every_sink_has_its_page_and_its_row() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in find_sinks():
        assert (ROOT / "docs" / "sinks" / f"{name}.md").is_file()
        assert f"[`{name}`](docs/sinks/{name}.md)" in readme


def test_every_kind_and_every_derived_value_is_described() -> None:
    text = (ROOT / "docs" / "records.md").read_text()
    for kind in Kind:
        assert f"`{kind}`" in text
    for name in DERIVED:
        described = re.sub(r"^block\.(rd|wr|fl)\.latency$", "block.{rd,wr,fl}.latency", name)
        assert f"`{described}" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target
