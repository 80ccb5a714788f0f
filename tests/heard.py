"""A logger for tests: it remembers what it was told."""

from __future__ import annotations

import threading
from typing import Any


class Log:
    """Stands in for a structlog logger; every logger bound from it writes to the same list."""

    def __init__(self, said: list[tuple[str, str, dict[str, Any]]] | None = None, **bound: Any) -> None:
        self.said = [] if said is None else said
        self._bound = bound
        self._lock = threading.Lock()

    def bind(self, **more: Any) -> Log:
        return Log(self.said, **self._bound, **more)

    def events(self, level: str | None = None) -> list[str]:
        """Return the names of the events said so far, of one level or of all."""
        return [event for at, event, _ in self.said if level in {None, at}]

    def facts(self, event: str) -> dict[str, Any]:
        """Return the facts of the first such event."""
        return next(facts for _, name, facts in self.said if name == event)

    def _say(self, level: str, event: str, facts: dict[str, Any]) -> None:
        with self._lock:
            self.said.append((level, event, self._bound | facts))

    def debug(self, event: str, **facts: Any) -> None:
        self._say("debug", event, facts)

    def info(self, event: str, **facts: Any) -> None:
        self._say("info", event, facts)

    def warning(self, event: str, **facts: Any) -> None:
        self._say("warning", event, facts)

    def error(self, event: str, **facts: Any) -> None:
        self._say("error", event, facts)
