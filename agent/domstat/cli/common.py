"""What the commands share: the configuration option, exit codes, and how they end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn, TypeAlias

import typer

from domstat.config import Config, ConfigError, load

EXIT_TROUBLE = 1
"""The command ran and could not do it."""

EXIT_USAGE = 2
"""The command line or the configuration is wrong."""

ConfigOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration file. Default: /etc/domstat/domstat.toml, then the user's."),
]


def fail(code: int, *lines: str) -> NoReturn:
    """Print *lines* on stderr and exit with *code*."""
    for line in lines:
        print(f"domstat: {line}", file=sys.stderr)  # noqa: T201 - what a person asked for goes to their terminal
    raise typer.Exit(code)


def load_config(path: Path | None) -> Config:
    """Load the configuration or exit, saying everything that is wrong with it."""
    try:
        return load(path)
    except ConfigError as error:
        fail(EXIT_USAGE, *error.lines)


def on_stop_signals(stop: Callable[[], None]) -> None:
    """Have SIGINT and SIGTERM call *stop*; a second one ends the process at once."""

    def handle(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        stop()

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)


def leave(code: int) -> NoReturn:
    """Exit although threads may still hang in a sink or in a dying worker: everything that matters is closed."""
    for stream in (sys.stdout, sys.stderr):
        # A closed pipe has nobody to read what is left, a closed stream is None.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)  # not sys.exit: Python would flush once more, and complain
