"""Logging: constant event names, facts as keys; readable on a terminal, JSON lines otherwise; on stderr.

Where that is systemd's journal each line begins with its priority, so that ``journalctl -p warning`` finds warnings.
Levels are by what an operator does: error, somebody must act; warning, something is lacking but nothing is lost;
info, one event a tick with its figures; debug, for those who look for a fault.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

import structlog

from domstat.notify import PRIORITIES, is_journal
from domstat.text import is_terminal, printable

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class _Stderr:
    """Whatever sys.stderr is at the moment: a live table on the terminal puts itself in between.

    A line that cannot be written (a full disk, a closed pipe, no stderr at all) is lost and nothing else is: an agent
    that went down with its log would lose what it is there to keep.
    """

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()


def _make_printable(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Guests' names and libvirt's messages are untrusted text; a terminal must not obey them."""
    return {key: printable(value, 1000) if isinstance(value, str) else value for key, value in event.items()}


def _add_priority(_logger: Any, level: str, line: str) -> str:
    """Write what the journal is to know the line's level by in front of it, when it is one already."""
    return PRIORITIES.get(level, "") + line


class _Logger(structlog.BoundLoggerBase):
    """Every logger of the process. Its methods are those of structlog's logger for the level, and change with it."""


def set_level(level: str) -> None:
    """Log from *level* up, see LEVELS, from now on and with the loggers that are there."""
    filtering = structlog.make_filtering_bound_logger(LEVELS[level])
    for name, method in vars(filtering).items():
        if callable(method) and not name.startswith("_"):
            setattr(_Logger, name, method)


def configure(level: str) -> None:
    """Set up logging for the process, from *level* up; see LEVELS."""
    set_level(level)
    on_terminal = is_terminal(sys.stderr)
    renderer: list[Any] = (
        [_make_printable, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if on_terminal
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    if is_journal(sys.stderr):
        renderer.append(_add_priority)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if on_terminal else "iso", utc=not on_terminal),
            *renderer,
        ],
        wrapper_class=_Logger,
        logger_factory=structlog.PrintLoggerFactory(file=_Stderr()),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    # APScheduler warns of every skipped tick; the service counts and says so itself.
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)


def get_logger() -> Any:
    """Return the logger that everything else is bound to."""
    return structlog.get_logger()
