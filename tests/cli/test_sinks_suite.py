"""``domstat sinks test``: the suite, run against a sink that is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.test_cli import EXIT_TROUBLE, EXIT_USAGE, domstat
from strangers import lay


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "site"


def test_a_sink_that_keeps_its_promises_passes_and_what_was_not_looked_at_is_said(site: Path) -> None:
    done = domstat("sinks", "test", "theirs", env=lay(site, {"theirs": "Sink"}))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "failed" not in done.stdout
    assert "the store has no read(): give it one" in done.stdout


def test_one_that_breaks_a_promise_is_told_which(site: Path) -> None:
    code = "def write(self, batches):\n    print('hello')\n\nSink.write = write\n"
    done = domstat("sinks", "test", "theirs", env=lay(site, {"theirs": "Sink"}, code))
    assert done.returncode == EXIT_TROUBLE
    assert "test_it_prints_nothing" in done.stdout
    assert "1 failed" in done.stdout


def test_the_sink_has_the_settings_that_are_given(site: Path) -> None:
    code = """
def open(self, context):
    if (self.settings.path, self.settings.often) != ("a=b c", 7):
        raise Fatal(str(self.settings))

Sink.open = open
"""
    env = lay(site, {"theirs": "Sink"}, code)
    done = domstat("sinks", "test", "theirs", "--settings", "path=a=b c", "-s", 'often="7s"', env=env)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("pth=x", '--settings: pth: unknown key; did you mean "path"?'),
        ("often=7", "--settings: often: found 7, expected a duration"),
        ("often=7 parsecs", '--settings: often: found "7 parsecs", expected a duration'),
        ("path=", '--settings: path: found "", expected'),
        ("path\x1b", '--settings: found "path\\x1b", expected KEY=VALUE'),
        ("=x", '--settings: found "=x", expected KEY=VALUE'),
    ],
)
def test_wrong_settings_are_one_line_and_nothing_is_run(site: Path, given: str, said: str) -> None:
    done = domstat("sinks", "test", "theirs", "--settings", given, env=lay(site, {"theirs": "Sink"}))
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"domstat: {said}")


def test_without_pytest_it_is_said_how_to_get_it(site: Path) -> None:
    env = lay(site, {"theirs": "Sink"})
    (site / "pytest.py").write_text("raise ModuleNotFoundError('No module named pytest')\n")
    done = domstat("sinks", "test", "theirs", env=env)
    assert (done.returncode, done.stdout) == (EXIT_TROUBLE, "")
    assert done.stderr == ("domstat: pytest is not installed, which the suite needs: pip install 'domstat[testing]'\n")


def test_nothing_of_the_folder_it_is_run_in_has_a_say(site: Path, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("raise RuntimeError\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    before = set(tmp_path.iterdir())
    done = domstat("sinks", "test", "theirs", env=lay(site, {"theirs": "Sink"}))
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(tmp_path.iterdir()) - before == {site}


def test_a_sink_that_is_not_there_is_not_tested() -> None:
    done = domstat("sinks", "test", "sqlit")
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    assert 'did you mean "sqlite"?' in done.stderr
