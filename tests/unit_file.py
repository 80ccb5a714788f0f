"""A unit file of systemd's, read as far as tests want to know it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

UNIT = Path(__file__).parent.parent / "packaging" / "systemd" / "domstat.service"


def settings_of(unit: Path = UNIT) -> dict[str, list[str]]:
    """Return the unit's settings by name, each with all its values in order."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        name, is_setting, value = line.partition("=")
        if is_setting and not line.startswith(("#", "[", " ")):
            found.setdefault(name, []).append(value)
    return found


@cache
def _named_set(name: str) -> frozenset[str]:
    shown = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True)
    words = (line.strip() for line in shown.stdout.splitlines()[1:])
    return _calls([word for word in words if word and not word.startswith("#")])


def _calls(words: Sequence[str]) -> frozenset[str]:
    return frozenset().union(*(_named_set(word) if word.startswith("@") else {word} for word in words))


def allowed_calls(filters: Sequence[str]) -> frozenset[str]:
    """Return the system calls that lines of ``SystemCallFilter`` let through, of which the first is a list of those."""
    allowed = _named_set("@default")
    for line in filters:
        calls = _calls(line.lstrip("~").split())
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed
