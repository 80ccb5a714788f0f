"""When each stream last ticked, kept over restarts: what was missed while the agent was not there."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import msgspec

WRITE_EVERY_S = 10.0
"""How often the file is written: after a crash the gap seems longer by so much at most."""

FILE = "last-ticks.json"

_decoder = msgspec.json.Decoder(dict[str, Annotated[int, msgspec.Meta(ge=0)]])


class Marks:
    """The time in milliseconds of each stream's last tick, in one small file of the state directory.

    Nothing depends on the file: one that is lost or damaged costs a ``gap`` record, one that cannot be written is said
    once.
    """

    def __init__(self, state_dir: Path, log: Any) -> None:
        self._path = state_dir / FILE
        self._log = log
        self._lock = threading.Lock()
        self._written_at = 0.0
        self._failed = False
        self._marks: dict[str, int] = {}

    def read(self) -> dict[str, int]:
        """Return what was left by the agent before."""
        with suppress(OSError, ValueError, msgspec.DecodeError):  # a ValueError: what should be text is not UTF-8
            self._marks = _decoder.decode(self._path.read_bytes())
        return dict(self._marks)

    def note(self, stream: str, time_ms: int) -> None:
        """Note that *stream* ticked."""
        with self._lock:
            self._marks[stream] = time_ms
            if time.monotonic() - self._written_at >= WRITE_EVERY_S:
                self._write()

    def keep(self, streams: set[str]) -> None:
        """Write the file for good, with nothing in it but these streams."""
        with self._lock:
            self._marks = {stream: mark for stream, mark in self._marks.items() if stream in streams}
            self._write()

    def _write(self) -> None:
        self._written_at = time.monotonic()
        fresh = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh.write_bytes(msgspec.json.encode(self._marks))
            os.replace(fresh, self._path)  # noqa: PTH105 - atomic, which is the point
        except OSError as error:
            if not self._failed:
                self._failed = True
                self._log.warning("marks_not_written", path=str(self._path), error=error.strerror)
