"""``domstat doctor``: what is wrong with this installation, and how to put it right."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from domstat.cli.common import EXIT_TROUBLE, ConfigOption
from domstat.text import is_terminal, printable

if TYPE_CHECKING:
    from domstat.doctor.checks import Checked
    from domstat.doctor.finding import Finding, Verdict

TEXT_MAX = 2000
"""Characters of a finding or a fix: a command for hundreds of guests is long, and half of it would be useless."""

_COLOURS = {"ok": "green", "warning": "yellow", "trouble": "red", "cannot tell": "cyan"}

_SAID = {
    "ok": "all is well",
    "warning": "it works, and something is lacking: see the warnings",
    "trouble": "there is trouble: see above",
    "cannot tell": "nothing is wrong, as far as can be told",
}


class Format(StrEnum):
    """How the findings are shown."""

    TABLE = "table"
    JSON = "json"


def doctor(
    config: ConfigOption = None,
    format: Annotated[  # noqa: A002 - the option's name
        Format | None, typer.Option(help="Default: table on a terminal, JSON lines in a pipe.")
    ] = None,
) -> None:
    """Look at everything that has to be right, say what is not, and how to put it right. Changes nothing.

    Hosts are asked once, as a tick asks them; no sink is opened. The exit code is 1 if there is trouble, and 0 if all
    is well or only lacking something.
    """
    from domstat import telemetry
    from domstat.cli.reach import explained
    from domstat.config import ConfigError, load
    from domstat.doctor import checks
    from domstat.doctor.look import look

    telemetry.configure("error")  # what goes wrong is said in the findings
    try:
        loaded = load(config)
    except ConfigError as error:
        found = tuple(checks.refuse(error))
    else:
        found = tuple(checks.judge(look(loaded, explained)))
    worst = checks.worst(found)
    if (format or (Format.TABLE if is_terminal(sys.stdout) else Format.JSON)) is Format.JSON:
        sys.stdout.write("".join(_json_lines(found)))
    else:
        _show(found, worst)
    if worst == "trouble":
        raise typer.Exit(EXIT_TROUBLE)


def _json_lines(found: Iterable[Checked]) -> Iterable[str]:
    """Write one finding a line; what a terminal could obey is escaped, which to JSON is the same text."""
    import json

    from msgspec.structs import asdict

    for checked in found:
        for finding in checked.findings:
            yield json.dumps({"check": checked.check, **asdict(finding)}) + "\n"


def _show(found: Sequence[Checked], worst: Verdict) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    margin = max(len(checked.check) for checked in found) + 2
    for checked in found:
        for finding in checked.findings:
            line = Text(checked.check.ljust(margin))
            line.append(finding.verdict.ljust(13), _COLOURS[finding.verdict])
            line.append(printable(_about(finding), TEXT_MAX))
            console.print(line)
            if finding.fix:
                console.print(Text(f"{'':{margin}}{'fix':<13}{printable(finding.fix, TEXT_MAX)}", "bold"))
    console.print(Text(_SAID[worst]))


def _about(finding: Finding) -> str:
    return f"{finding.about}: {finding.found}" if finding.about else finding.found
