"""What systemd is told by the service it started: sd_notify(3), a datagram of ``NAME=value`` lines.

The variables that say where and how often are taken out of the environment, so that no process which the agent starts
speaks in its name.
"""

from __future__ import annotations

import socket
from collections.abc import MutableMapping
from contextlib import suppress

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")

SEND_S = 0.2
"""How long a message may take: systemd reads at once, and an agent does not wait for one that does not."""

TEXT_CHARS_MAX = 300
"""Of a status: ``systemctl status`` shows one line."""


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


def _address(given: str | None) -> str | bytes | None:
    """Read a socket's name: a path, or with ``@`` in front one in the kernel's abstract namespace."""
    if not given or given[0] not in "/@":
        return None
    return b"\0" + given[1:].encode("utf-8", "surrogateescape") if given[0] == "@" else given
