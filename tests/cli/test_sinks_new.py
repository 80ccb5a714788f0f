"""``domstat sinks new``: what is made, and what is refused. That it works as made: see test_sinks_made."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cli.test_cli import EXIT_TROUBLE, EXIT_USAGE, domstat
from domstat.cli.sinks.new import written


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_distribution_is_made_in_a_folder_of_its_name(tmp_path: Path) -> None:
    done = domstat("sinks", "new", "my_store")
    assert (done.returncode, done.stderr) == (0, "")
    made = {path.relative_to(tmp_path / "my_store").as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert made == {
        ".gitignore", "README.md", "pyproject.toml", "src/domstat_my_store/__init__.py",
        "src/domstat_my_store/py.typed", "src/domstat_my_store/sink.py", "tests/test_sink.py",
    }  # fmt: skip
    project = tomllib.loads((tmp_path / "my_store" / "pyproject.toml").read_text())["project"]
    assert project["name"] == "domstat-my-store"
    assert project["entry-points"]["domstat.sinks"] == {"my_store": "domstat_my_store:MyStoreSink"}


def test_or_in_the_folder_that_is_named(tmp_path: Path) -> None:
    assert domstat("sinks", "new", "kafka", "--directory", "a/b\x1b").returncode == 0
    assert (tmp_path / "a" / "b\x1b" / "pyproject.toml").is_file()


def test_what_to_do_next_is_said_and_acts_on_no_terminal() -> None:
    done = domstat("sinks", "new", "kafka", "--directory", "b\x1b")
    assert "pip install --editable 'b\\x1b[test]' && pytest b\\x1b" in done.stdout
    assert "\x1b" not in done.stdout


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    done = domstat("sinks", "new", "kafka")
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    assert done.stderr == "domstat: kafka is there already; remove it, or name another with --directory\n"
    assert list((tmp_path / "kafka").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = domstat("sinks", "new", "kafka", "--directory", "file/kafka")
    assert (done.returncode, done.stdout) == (EXIT_TROUBLE, "")
    assert done.stderr == "domstat: file/kafka cannot be made: Not a directory\n"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Kafka", 'how about "kafka"?'),
        ("my-store", 'how about "my_store"?'),
        ("my__store", 'how about "my_store"?'),
        ("../up", 'how about "up"?'),
        ("1", "a letter first"),
        ("", "a letter first"),
        ("kafka\x1b", 'found "kafka\\x1b"'),
        ("größe", "small letters"),
        ("n" * 41, "at most 40"),
        ("sqlite", 'there is a sink "sqlite" already'),
        ("sinks", "there is a package domstat_sinks already"),
    ],
)
def test_a_name_that_no_sink_can_have_is_refused_in_one_line(tmp_path: Path, name: str, said: str) -> None:
    done = domstat("sinks", "new", "--", name)
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    (line,) = done.stderr.splitlines()
    assert said in line
    assert line.isprintable()
    assert list(tmp_path.iterdir()) == []


def test_the_logic_is_about_as_long_as_is_promised() -> None:
    text = written("kafka")["src/domstat_kafka/sink.py"]
    methods = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    assert [node.name for node in methods if not node.name.startswith("_")] == ["claims", "open", "write", "close"]
    statements = [node for method in methods for node in ast.walk(method) if isinstance(node, ast.stmt)]
    said = [node for node in statements if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    assert len(statements) - len(said) - len(methods) < 30


@pytest.mark.parametrize("tool", [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)], ids=" ".join)
def test_what_is_made_is_clean_as_it_is(tmp_path: Path, tool: tuple[str, ...]) -> None:
    assert domstat("sinks", "new", "my_store").returncode == 0
    folder = tmp_path / "my_store"
    more = ("--cache-dir", str(tmp_path / "cache")) if tool[0] == "mypy" else ("--no-cache", ".")
    env = {"PATH": "/usr/bin:/bin", "MYPYPATH": str(folder / "src")}
    done = subprocess.run(
        [sys.executable, "-m", *tool, *more], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
