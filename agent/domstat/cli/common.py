"""What the commands share: the configuration option, exit codes, and how they end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn, TypeAlias

import typer

from domstat.config import Config, ConfigError, load
from domstat.notify import PRIORITIES, is_journal
from domstat.text import printable

EXIT_TROUBLE = 1
"""The command ran and could not do it."""

EXIT_USAGE = 2
"""The command line or the configuration is wrong."""

LINE_CHARS_MAX = 4000
"""Of what goes wrong: a command that mends it may be long."""

_ERROR = PRIORITIES["error"]

ConfigOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration file. Default: /etc/domstat/domstat.toml, then the user's."),
]


def fail(code: int, *lines: str) -> NoReturn:
    """Print *lines* on stderr and exit with *code*."""
    for line in lines:
        say(line, priority=_ERROR)
    raise typer.Exit(code)


def load_config(path: Path | None) -> Config:
    """Load the configuration or exit, saying everything that is wrong with it."""
    try:
        return load(path)
    except ConfigError as error:
        fail(EXIT_USAGE, *error.lines)


SinceOption: TypeAlias = Annotated[
    str | None, typer.Option(help='From when on: "2026-11-22T22:15:00Z", or how long ago, such as "2h".')
]
UntilOption: TypeAlias = Annotated[str | None, typer.Option(help="Before when, in the same way.")]


def moment(option: str, text: str | None, default_ms: int) -> int:
    """Read what was given to *option* as a time in milliseconds since 1970, or exit saying what is allowed."""
    if text is None:
        return default_ms
    from domstat.replay import moment_of

    try:
        return moment_of(text, time.time_ns() // 1_000_000)
    except ValueError as error:
        fail(EXIT_USAGE, f'{option}: found "{printable(text)}", expected {error}')


def on_stop_signals(stop: Callable[[], None]) -> None:
    """Have SIGINT and SIGTERM call *stop*; a second one ends the process at once.

    One that came before counts where it was blocked until now. To a container's first process no other way is open: the
    kernel drops what that one neither blocks nor handles.
    """

    def handle(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        stop()

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})


def leave(code: int) -> NoReturn:
    """Exit although threads may still hang in a sink or in a dying worker: everything that matters is closed.

    Not by sys.exit: Python would try once more to write what could not be written, and complain in its own words.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        pass  # whoever read our output has seen enough
    except (OSError, ValueError) as error:
        if code == 0:  # otherwise it has been said
            say(f"standard output: {error}")
            code = EXIT_TROUBLE
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
    os._exit(code)


def say(line: str, priority: str = "") -> None:
    """Tell the person what is wrong, in one line that no terminal obeys; without a standard error nobody wants to know.

    *priority* is for systemd's journal, where that is what hears it; see :mod:`domstat.notify`.
    """
    text = f"domstat: {printable(line, LINE_CHARS_MAX)}"
    with contextlib.suppress(OSError, ValueError):
        print(f"{priority if is_journal(sys.stderr) else ''}{text}", file=sys.stderr)  # noqa: T201 - to their terminal
