"""The contract for sinks is typed: what keeps it passes mypy --strict, and of what does not each line is told why."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mypy import api

HERE = Path(__file__).parent
_ERROR = re.compile(r"^.*?:(?P<line>[0-9]+): error: .*\[(?P<code>[a-z-]+)\]$", re.MULTILINE)


def errors_of(path: Path, folder: Path) -> dict[int, str]:
    """Return the errors of a file by their lines, as whoever has domstat installed sees them."""
    said, trouble, _ = api.run(["--strict", "--config-file=", "--cache-dir", str(folder / "cache"), str(path)])
    assert not trouble, trouble
    return {int(match["line"]): match["code"] for match in _ERROR.finditer(said)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")


def test_a_sink_that_keeps_to_it_is_one(folder: Path) -> None:
    assert errors_of(HERE / "typed_sink.py", folder) == {}


def test_what_does_not_is_refused_where_it_does_not(folder: Path) -> None:
    text = (HERE / "wrong_sinks.txt").read_text()
    path = folder / "wrong_sinks.py"
    path.write_text(text)
    expected = {
        number: line.rpartition("#: ")[2] for number, line in enumerate(text.splitlines()[1:], 2) if "#: " in line
    }
    assert len(expected) > 8
    assert errors_of(path, folder) == expected
