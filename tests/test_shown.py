"""What a test shows is seen, in one process and in several, whether it passes or not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

SHOWING = """
def test_passes(show):
    show({"one": 1})
    show({"one": 2})

def test_fails(show):
    show({"one": 3})
    raise AssertionError
"""


@pytest.mark.parametrize("processes", [(), ("--numprocesses", "1")])
def test_figures_are_lines_of_their_own(processes: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "test_showing.py").write_text(SHOWING)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", *processes, "test_showing.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("{")] == [
        '{"one": 1}',
        '{"one": 2}',
        '{"one": 3}',
    ]
