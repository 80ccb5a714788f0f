"""What systemd is told by the service it started: sd_notify(3), a datagram of ``NAME=value`` lines.

The variables that say where and how often are taken out of the environment, so that no process which the agent starts
speaks in its name. And whether systemd's journal is what hears the log, which then begins each line with its priority.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import TextIO

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")

SEND_S = 0.2
"""How long a message may take: systemd reads at once, and an agent does not wait for one that does not."""

TEXT_CHARS_MAX = 300
"""Of a status: ``systemctl status`` shows one line."""

PRIORITIES = {"debug": "<7>", "info": "<6>", "warning": "<4>", "error": "<3>", "critical": "<2>"}
"""What a line for the journal begins with, by the log's levels: sd-daemon(3). The journal takes it away again."""


class Notifier:
    """Tells the service manager how the service is; without one it does nothing. Never raises."""

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        """*watchdog_s*: a service that is silent for longer is killed; None where nobody watches."""
        self.watchdog_s = watchdog_s
        self._address = _address(address)
        self._said = ""

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str], pid: int) -> Notifier:
        """Make one of what systemd has put into *environ* for the process *pid*, and take that out."""
        path, period, watched = (environ.pop(name, "") for name in VARIABLES)
        is_meant = watched in {"", str(pid)}
        is_number = period.isascii() and period.isdecimal() and int(period) > 0
        return cls(path or None, int(period) / 1e6 if path and is_meant and is_number else None)

    @property
    def is_heard(self) -> bool:
        """Whether anybody is told."""
        return self._address is not None

    def send(self, *lines: str) -> None:
        """Send lines of the form ``NAME=value`` in one message; one that cannot be sent is lost."""
        if self._address is None or not lines:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(SEND_S)
            sender.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)

    def status(self, text: str) -> str | None:
        """Return the line that says how the service is, None where that was the last thing said."""
        shown = " ".join(text.split())[:TEXT_CHARS_MAX]
        if shown == self._said:
            return None
        self._said = shown
        return f"STATUS={shown}"


def is_journal(stream: TextIO | None, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether systemd's journal is at the other end of *stream*: systemd.exec(5), ``$JOURNAL_STREAM``.

    The variable outlives the stream, as where a service's shell sends it into a file: so both have to be the same.
    """
    said = environ.get("JOURNAL_STREAM")
    if not said or stream is None:
        return False
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or none of the system's
        return False
    return said == f"{found.st_dev}:{found.st_ino}"


def _address(given: str | None) -> str | bytes | None:
    """Read a socket's name: a path, or with ``@`` in front one in the kernel's abstract namespace."""
    if not given or given[0] not in "/@":
        return None
    return b"\0" + given[1:].encode("utf-8", "surrogateescape") if given[0] == "@" else given
