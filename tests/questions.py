"""The ten questions of the documentation: commands as they stand there, and the queries in them."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "history.md"


def commands() -> dict[int, str]:
    """Return the commands of the documentation's section, by number."""
    section = PAGE.read_text().split("## Ten questions\n")[1].split("\n## ")[0]
    numbered = re.findall(r"^(\d+)\. .*?^ *```sh\n(.*?)^ *```", section, re.DOTALL | re.MULTILINE)
    return {int(number): textwrap.dedent(command) for number, command in numbered}


def queries() -> dict[int, str]:
    """Return what the commands ask, by number."""
    return {number: command.split('"')[1] for number, command in commands().items()}
