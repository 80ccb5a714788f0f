"""What docs/sinks/write-your-own.md says is so: its sink keeps every promise, its code runs, its commands exist."""

from __future__ import annotations

import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.main import get_command

from domstat import config, forms, sink
from domstat.cli import app
from domstat.settings import Duration, SettingsError, decode
from domstat.sink import ClaimsFiles, HasHealth, SinkError
from domstat.testing import SinkContract

PAGE = Path(__file__).parents[1] / "docs" / "sinks" / "write-your-own.md"
TEXT = PAGE.read_text(encoding="utf-8")
LINES_MAX = 30
"""Of the sink's class, without empty lines: two dozen and a little."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}[^\n]*\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def run(code: str) -> dict[str, Any]:
    """Run a block of the page, and return what it has made."""
    made: dict[str, Any] = {"__name__": __name__}
    exec(compile(code, str(PAGE), "exec", dont_inherit=True), made)
    return made


SINK, SETTINGS, RECORDS, TESTS = blocks("python")
_SHELF = run(SINK + TESTS)
TestShelfSink: type[SinkContract] = _SHELF["TestShelfSink"]
"""The page's own sink and test: every case of it is run here."""

ShelfSink: Any = _SHELF["ShelfSink"]


def test_the_sink_shown_is_as_short_as_the_page_says() -> None:
    code = SINK[SINK.index("class ShelfSink") :]
    assert len([line for line in code.splitlines() if line.strip()]) <= LINES_MAX


def test_the_configuration_shown_is_right_where_the_sink_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    ((name, module, attribute),) = re.findall(r'^(\w+) = "(\w+):(\w+)"$', blocks("ini")[0], re.MULTILINE)
    installed = ModuleType(module)
    setattr(installed, attribute, ShelfSink)
    monkeypatch.setitem(sys.modules, module, installed)
    point = EntryPoint(name, f"{module}:{attribute}", sink.ENTRY_POINT_GROUP)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [point])
    (table,) = blocks("toml")
    (configured,) = config.parse(table).sinks
    assert configured.sink is ShelfSink
    assert configured.settings == ShelfSink.Settings(path="shelf.db")


def test_the_settings_shown_are_decoded_and_refused_as_the_page_says() -> None:
    struct = run(SETTINGS)["ExampleSettings"]
    decoded = decode({"url": "http://store:1234", "timeout": "1m"}, struct)
    assert (decoded.timeout, decoded.body) == (Duration(60), 1 << 20)
    with pytest.raises(SettingsError, match='mode "fast" needs a token_file'):
        decode({"url": "x", "mode": "fast"}, struct)
    with pytest.raises(SettingsError, match=r'sinks\[0\]\.pth: unknown key; did you mean "path"\?'):
        decode({"pth": "x"}, ShelfSink.Settings, "sinks[0]", ("type", "name", "start", "batch", "linger"))


def test_the_code_for_records_runs_and_every_form_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    run(RECORDS)
    printed = capsys.readouterr().out
    assert "cpu.time None" in printed
    assert re.search(r"^\d+ values$", printed, re.MULTILINE)
    for form in (forms.points, forms.flat, forms.rows, forms.columns, forms.describe):
        assert f"`{form.__name__}(" in TEXT


def test_every_command_and_every_key_of_all_sinks_is_named_and_exists() -> None:
    commands: Any = get_command(app)
    assert set(re.findall(r"domstat sinks (\w+)", TEXT)) == set(commands.commands["sinks"].commands)
    assert set(re.findall(r"(?:^|`)domstat (\w+)", TEXT, re.MULTILINE)) <= set(commands.commands)
    keys = ", ".join(f"`{key}`" for key in config.SinkCommon.__struct_fields__)
    assert keys in TEXT


def test_every_error_and_every_ability_of_the_contract_is_named() -> None:
    for error in SinkError.__subclasses__():
        assert f"`{error.__name__}(" in TEXT
    for ability in (ClaimsFiles, HasHealth):
        assert f"domstat.sink.{ability.__name__}" in TEXT
