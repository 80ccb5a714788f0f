"""``domstat capacity report``: all answers as one page of HTML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from domstat.cli.capacity.asking import Asked, Column, View
from domstat.cli.common import EXIT_TROUBLE, EXIT_USAGE, fail
from domstat.text import printable, size

COLUMNS = (Column("file", "file"), Column("bytes", None), Column("size", "size"))

_MESSAGE_MAX = 500

HtmlOption = Annotated[
    Path, typer.Option("--html", metavar="FILE", help="The file; one that is there is replaced, once all is well.")
]


def report(asked: Asked, *, html: HtmlOption) -> View:
    """Write all answers, with charts, into one page that a browser shows without a network, and that can be printed."""
    from domstat.report import answers, files, page
    from domstat.report.assets import load

    try:
        assets = load()
    except ImportError:
        fail(EXIT_TROUBLE, "the page's charts need plotly: pip install 'domstat[report]'")
    reason = files.obstacle(html)
    if reason is not None:
        fail(EXIT_USAGE, printable(f"--html: {html}: {reason}", _MESSAGE_MAX))
    written = page.write(answers.ask(asked.figures), assets).encode()
    try:
        files.replace(html, written)
    except OSError as error:
        fail(EXIT_TROUBLE, printable(f"{html}: {error.strerror or error}", _MESSAGE_MAX))
    return View(COLUMNS, ((str(html), len(written), size(len(written))),))
