"""Manual pages have every command, every option and every setting, and roff takes them as they are."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

import manpages
from domstat.cli import app
from domstat.reference import render


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    manpages.main(tmp_path)
    return tmp_path


def test_every_command_and_option_is_there(folder: Path) -> None:
    page = (folder / manpages.COMMANDS_PAGE).read_text().replace("\\-", "-")
    found = list(manpages.commands(get_command(app), "domstat"))
    assert len(found) > 20
    for path, command in found:
        section = page.partition(f"\n.SS {path}\n")[2].partition("\n.S")[0]
        assert section, path
        for param in command.params:
            assert param.opts[0] in section or (param.name or "").upper() in section or param.metavar in section


def test_every_setting_is_there(folder: Path) -> None:
    page = (folder / manpages.SETTINGS_PAGE).read_text().replace("\\-", "-")
    for line in render().splitlines():
        assert line.replace("\\", "\\e") in page


def test_text_that_roff_would_obey_is_shown() -> None:
    assert manpages.roff(".SH x\n'y\na-b\\c") == "\\&.SH x\n\\&'y\na\\-b\\ec"


@pytest.mark.parametrize("name", [manpages.COMMANDS_PAGE, manpages.SETTINGS_PAGE])
def test_roff_has_nothing_to_say_of_them(folder: Path, name: str) -> None:
    if shutil.which("groff") is None:
        pytest.skip("there is no groff here")
    done = subprocess.run(
        ["groff", "-Kutf8", "-man", "-ww", "-Tutf8", "-z", str(folder / name)],
        capture_output=True,
        text=True,
        check=True,
    )
    said = [line for line in done.stderr.splitlines() if not re.search("can't break line|cannot break line", line)]
    assert said == []
