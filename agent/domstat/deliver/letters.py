"""Dead letters: records that a sink will never take, kept as JSON lines with the reason, for a person to look at.

One file a sink, ``dead-letters/NAME.jsonl`` in the state directory, and one before it (``.1``): bounded, the oldest go.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import msgspec

from domstat import jsonlines
from domstat.model import Record

FOLDER = "dead-letters"

FILE_BYTES_MAX = 8 << 20
"""Per file, two a sink: some ten thousand records, more than anybody looks at."""


class DeadLetters:
    """The dead letters of one sink. Used by its courier's thread alone."""

    def __init__(self, state_dir: Path, sink: str, bytes_max: int = FILE_BYTES_MAX) -> None:
        self.path = state_dir / FOLDER / f"{quote(sink, safe='')}.jsonl"
        self._bytes_max = bytes_max

    def add(self, records: Iterable[tuple[Record, str]]) -> None:
        """Write records and why they were rejected, durably. Raises OSError."""
        lines = b"".join(_line(record, reason) for record, reason in records)
        if not lines:
            return
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._make_room(len(lines))
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())

    def _make_room(self, more: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_size + more > self._bytes_max:
                self.path.replace(self.path.with_suffix(".jsonl.1"))


def _line(record: Record, reason: str) -> bytes:
    return msgspec.json.encode({"reason": reason, "record": msgspec.Raw(jsonlines.encode([record]).strip())}) + b"\n"
