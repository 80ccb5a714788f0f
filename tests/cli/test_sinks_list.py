"""``domstat sinks list`` and ``show``: whose the sinks are, and what is said of those that do not load."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from cli.test_cli import EXIT_TROUBLE, EXIT_USAGE, domstat
from domstat.sink import find_sinks
from strangers import lay


def listed(*arguments: str, env: dict[str, str] | None = None) -> dict[str, dict[str, Any]]:
    done = domstat("sinks", "list", "--format", "json", *arguments, env=env)
    assert done.returncode == 0
    return by_name(done.stdout)


def by_name(text: str) -> dict[str, dict[str, Any]]:
    rows: Iterable[dict[str, Any]] = map(json.loads, text.splitlines())
    return {row["sink"]: row for row in rows}


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "domstat.toml"
    path.write_text('[[sinks]]\ntype = "stdout"\n[[sinks]]\ntype = "stdout"\nname = "b\\u001b"\nformat = "json"\n')
    return str(path)


def test_every_sink_is_listed_with_whose_it_is() -> None:
    rows = listed()
    assert set(rows) == set(find_sinks())
    assert rows["stdout"]["distribution"] == "domstat"
    assert rows["stdout"]["loads"] is True
    assert rows["stdout"]["why_not"] is None


def test_which_are_configured_is_said_by_name(config: str) -> None:
    rows = listed("--config", config)
    assert rows["stdout"]["configured"] == ["stdout", "b\x1b"]
    assert rows["sqlite"]["configured"] == []


def test_without_sinks_in_the_configuration_the_default_one_is_configured(tmp_path: Path) -> None:
    path = tmp_path / "domstat.toml"
    path.write_text("[agent]\n")
    assert listed("--config", str(path))["sqlite"]["configured"] == ["history"]


@pytest.mark.parametrize("text", [None, "[agent\n"])
def test_a_configuration_that_cannot_be_read_hides_no_sink(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "domstat.toml"
    if text is not None:
        path.write_text(text)
    done = domstat("sinks", "list", "--format", "json", "--config", str(path))
    assert done.returncode == 0
    assert by_name(done.stdout)["sqlite"]["configured"] is None
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"domstat: {path}: cannot be read, so what is configured is not known: ")


def test_a_configuration_with_other_faults_still_says_which_are_configured(tmp_path: Path) -> None:
    path = tmp_path / "domstat.toml"
    path.write_text('sinks = [7, { type = 7 }, { type = "stdout", fromat = "json" }, { type = "nobodys" }]\n')
    assert listed("--config", str(path))["stdout"]["configured"] == ["stdout"]


def test_a_table_is_for_people_and_nothing_in_it_acts_on_a_terminal(config: str) -> None:
    done = domstat("sinks", "list", "--format", "table", "--config", config)
    assert done.returncode == 0
    assert "b\\x1b" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_strangers_sink_is_told_by_its_distribution_and_where_that_came_from(tmp_path: Path) -> None:
    lay(tmp_path, {"theirs": "Sink"}, url="https://me:secret@example.org/x.whl")
    env = lay(tmp_path, {"folders": "Sink"}, distribution="laid")
    rows = listed(env=env)
    assert rows["theirs"]["distribution"] == "strange"
    assert rows["theirs"]["version"] == "1.5"
    assert rows["theirs"]["from"] == "https://me:***@example.org/x.whl"
    assert rows["folders"]["from"] == str(tmp_path)
    assert rows["theirs"]["loads"]


def test_what_an_installer_wrote_wrongly_hides_no_sink(tmp_path: Path) -> None:
    said = ('"7"', "[]", "{", '{"dir_info": 7, "url": "x"}')
    for number, text in enumerate(said):
        env = lay(tmp_path, {f"sink{number}": "Sink"}, distribution=f"odd{number}")
        (tmp_path / f"odd{number}-1.5.dist-info" / "direct_url.json").write_text(text)
    rows = listed(env=env)
    assert [rows[f"sink{number}"]["from"] for number in range(len(said))] == [str(tmp_path)] * len(said)


FAULTS = {
    "import no_such_module": "No module named",
    "raise RuntimeError('two\\nlines \\x1b[31m')": "RuntimeError",
    "sys.exit(3)": "SystemExit(3)",
    "del Sink": "AttributeError",
    "del Sink.write": "lacks write",
    "Sink.Settings = dict": "no msgspec.Struct",
}
"""What a module may do while it is imported, and what is said of it."""


def test_a_sink_that_does_not_load_is_one_line_that_says_why(tmp_path: Path) -> None:
    for number, code in enumerate(FAULTS):
        env = lay(tmp_path, {f"sink{number}": "Sink"}, code, distribution=f"faulty{number}")
    done = domstat("sinks", "list", "--format", "table", env=env)
    assert done.returncode == 0
    assert "stdout" in done.stdout
    lines = [line for line in done.stderr.splitlines() if "faulty" in line]
    for number, (line, why) in enumerate(zip(lines, FAULTS.values(), strict=True)):
        assert line.startswith(f'domstat: the sink "sink{number}"')
        assert why in line
        assert line.isprintable()


def test_a_sink_that_does_not_load_keeps_nothing_else_from_running(tmp_path: Path) -> None:
    env = lay(tmp_path, {"theirs": "Sink"}, "raise RuntimeError")
    config = domstat("config", env=env)
    assert (config.returncode, config.stderr) == (0, "")
    assert 'type = "stdout"' in config.stdout
    assert '# the sink "theirs" (strange_module:Sink) cannot be loaded: RuntimeError()' in config.stdout
    path = tmp_path / "domstat.toml"
    path.write_text('[[sinks]]\ntype = "stdout"\n')
    assert domstat("check", "--config", str(path), env=env).returncode == 0
    path.write_text('[[sinks]]\ntype = "theirs"\n')
    check = domstat("check", "--config", str(path), env=env)
    assert check.returncode == EXIT_USAGE
    (line,) = check.stderr.splitlines()
    assert line.startswith(f'domstat: {path}: sinks[0].type: the sink "theirs"')


def test_settings_that_nobody_could_describe_keep_no_other_sinks_from_being_described(tmp_path: Path) -> None:
    code = "class Settings(Struct):\n    must: int\n\nSink.Settings = Settings\n"
    done = domstat("config", env=lay(tmp_path, {"theirs": "Sink"}, code))
    assert (done.returncode, done.stderr) == (0, "")
    assert '# the settings of the sink "theirs" cannot be described: the setting must has neither' in done.stdout
    assert '# type = "stdout"' in done.stdout


def test_what_a_sink_prints_while_it_is_loaded_does_not_come_between_what_is_piped(tmp_path: Path) -> None:
    env = lay(tmp_path, {"theirs": "Sink"}, "print('hello')")
    done = domstat("sinks", "list", "--format", "json", env=env)
    assert by_name(done.stdout)["theirs"]["loads"]
    assert "hello" in done.stderr


def test_a_shipped_sinks_name_is_its_own_whoever_takes_it(tmp_path: Path) -> None:
    env = lay(tmp_path, {"stdout": "Sink"}, "raise RuntimeError")
    done = domstat("sinks", "list", "--format", "json", env=env)
    ours, theirs = (row for row in map(json.loads, done.stdout.splitlines()) if row["sink"] == "stdout")
    assert (ours["distribution"], ours["loads"]) == ("domstat", True)
    assert (theirs["distribution"], theirs["loads"]) == ("strange", False)
    assert theirs["why_not"] == 'the sink "stdout" of strange is not used: domstat ships one of that name'
    assert "domstat_sinks.stdout:StdoutSink" in domstat("sinks", "show", "stdout", "--format", "table", env=env).stdout


def test_of_two_strangers_with_one_name_none_is_guessed(tmp_path: Path) -> None:
    lay(tmp_path, {"theirs": "Sink"}, distribution="one")
    env = lay(tmp_path, {"theirs": "Sink"}, distribution="two")
    done = domstat("sinks", "show", "theirs", env=env)
    assert (done.returncode, done.stdout) == (EXIT_TROUBLE, "")
    (line,) = done.stderr.splitlines()
    assert sorted(line[line.index("(of ") + 4 : line.index(")")].split(", ")) == ["one", "two"]
    assert line.endswith("uninstall all but one")


def test_show_says_what_a_sink_takes(tmp_path: Path) -> None:
    code = """
class Settings(Struct):
    \"\"\"Keeps
    something.\"\"\"

    must: Annotated[int, Meta(ge=1, le=9, description="It must.")]
    size: Annotated[Size | None, Meta(description="How\\n  large.")] = None
    names: Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(description="Who.")] = ("a",)
    plain: bool = False

Sink.Settings = Settings
Sink.any_order = True
"""
    env = lay(tmp_path, {"theirs": "Sink"}, code)
    done = domstat("sinks", "show", "theirs", "--format", "json", env=env)
    assert [tuple(row.values()) for row in map(json.loads, done.stdout.splitlines())] == [
        ("must", "whole number >= 1 <= 9", None, True, "It must."),
        ("size", "size", "", False, "How large."),
        ("names", "list: text", '["a"]', False, "Who."),
        ("plain", "true or false", "false", False, ""),
    ]
    lines = domstat("sinks", "show", "theirs", "--format", "table", env=env).stdout.splitlines()
    assert lines[:4] == [
        "sink          theirs, strange_module:Sink",
        f"distribution  strange 1.5, from {tmp_path}",
        "what it does  Keeps something.",
        "besides       takes what is fresh before a backlog",
    ]
    assert any("(required)" in line for line in lines)


@pytest.mark.parametrize("name", ["influxdb", "prometheus", "sqlite", "stdout"])
def test_every_setting_of_a_shipped_sink_is_explained(name: str) -> None:
    done = domstat("sinks", "show", name, "--format", "json")
    rows = list(map(json.loads, done.stdout.splitlines()))
    assert rows
    assert all(row["help"] and row["type"] for row in rows)


def test_show_of_a_sink_that_is_not_there_names_the_nearest() -> None:
    done = domstat("sinks", "show", "sqlit")
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    assert 'did you mean "sqlite"?' in done.stderr
