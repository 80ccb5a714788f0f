"""Is the configuration right? Pure: the finding that all others need."""

from __future__ import annotations

from collections.abc import Iterator

from domstat.config import Config, ConfigError
from domstat.doctor.finding import Finding, ok, trouble


def right(config: Config) -> Iterator[Finding]:
    """Say what is configured."""
    hosts, sinks = _counted(len(config.hosts), "host"), _counted(len(config.sinks), "sink")
    yield ok("", f"{config.path or 'no file, so the defaults'}: {hosts}, {sinks}, state in {config.state_dir}")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def wrong(error: ConfigError) -> Iterator[Finding]:
    """Say what is wrong with it, each thing by itself."""
    for line in error.lines:
        yield trouble("", line, "edit that line; domstat config prints every setting; domstat check looks again")
