"""``domstat capacity report``, as a planner meets it: a page, or one line that says why there is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from cli.test_capacity import DAYS, HOSTILE, ticks, until
from cli.test_cli import EXIT_TROUBLE, EXIT_USAGE, domstat
from cli.test_history import write
from domstat.model import Batch

Report = Callable[..., "CompletedProcess[str]"]


def configured(folder: Path, *batches: Batch) -> Path:
    config = folder / "domstat.toml"
    config.write_text(f'[agent]\nstate_dir = "{folder}"\n[[sinks]]\ntype = "sqlite"\nraw = "forever"\n')
    write(folder, *batches)
    return config


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return configured(tmp_path_factory.mktemp("filled"), *ticks(24 * DAYS, HOSTILE))


@pytest.fixture
def report(config: Path) -> Report:
    def run(*arguments: str, env: dict[str, str] | None = None) -> CompletedProcess[str]:
        until_end = ("--until", until(24 * DAYS))
        return domstat("capacity", "report", *arguments, *until_end, "--config", str(config), env=env)

    return run


def test_it_writes_a_page_and_says_where_and_how_large_it_is(report: Report, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    done = report("--html", str(file), "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["file"] == str(file)
    assert json.loads(done.stdout)["bytes"] == file.stat().st_size
    text = file.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert "kvm1 storage images is full first" in text
    assert HOSTILE not in text
    assert r"web\x1b[2J\u202e;=cmd()" in text


def test_the_options_of_all_questions_hold_for_it_too(report: Report, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    assert report("--html", str(file), "--set", "storage_buffer=0.9").returncode == 0
    assert "kvm1 storage images is full already" in file.read_text(encoding="utf-8")


def test_without_plotly_it_says_how_to_get_it_and_leaves_the_old_page(report: Report, tmp_path: Path) -> None:
    (tmp_path / "plotly").mkdir()
    (tmp_path / "plotly" / "__init__.py").write_text("raise ImportError('not installed')")
    (tmp_path / "report.html").write_text("old")
    done = report("--html", str(tmp_path / "report.html"), env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == EXIT_TROUBLE
    assert done.stderr == "domstat: the page's charts need plotly: pip install 'domstat[report]'\n"
    assert (tmp_path / "report.html").read_text() == "old"


def test_where_no_file_can_be_it_says_so(report: Report, tmp_path: Path) -> None:
    done = report("--html", str(tmp_path))
    assert done.returncode == EXIT_USAGE
    assert done.stderr == f"domstat: --html: {tmp_path}: is there and no file; name a file\n"
    done = report("--html", str(tmp_path / "none" / "report.html"))
    assert (done.returncode, "its folder is not there" in done.stderr) == (EXIT_USAGE, True)


def test_what_the_system_refuses_is_a_line(report: Report) -> None:
    done = report("--html", "/proc/report.html")
    assert done.returncode == EXIT_TROUBLE
    assert done.stderr.startswith("domstat: /proc/report.html: ")
    assert "Traceback" not in done.stderr


def test_it_asks_for_the_file(report: Report) -> None:
    done = report()
    assert done.returncode == EXIT_USAGE
    assert "--html" in done.stderr


def test_a_history_that_is_too_young_makes_a_page_that_says_so(tmp_path: Path) -> None:
    config = configured(tmp_path, *ticks(1))
    file = tmp_path / "report.html"
    done = domstat("capacity", "report", "--html", str(file), "--until", until(1), "--config", str(config))
    assert done.returncode == 0, done.stderr
    assert "There is not enough history yet" in file.read_text(encoding="utf-8")


def test_a_history_of_nothing_makes_none(tmp_path: Path) -> None:
    config = configured(tmp_path)
    done = domstat("capacity", "report", "--html", str(tmp_path / "report.html"), "--config", str(config))
    assert done.returncode == EXIT_TROUBLE
    assert "nothing yet" in done.stderr
    assert not (tmp_path / "report.html").exists()
