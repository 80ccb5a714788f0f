"""Capacity on a schedule: `summary` and `runway` as records for every sink, and the report as a page.

Both are worked out by a process of their own (``domstat capacity scheduled``): numpy and a year of history would
double what the agent holds in memory, for some seconds' work a day.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from domstat import clock
from domstat.collect.subject import Subject
from domstat.collect.times import Times
from domstat.config import ReportSettings
from domstat.model import Batch, Kind, Moment, Stamp

COLLECT = "capacity"
"""The block of these records, as if somebody collected them."""

ANSWER_S = 600.0
"""A history that takes longer to answer is on storage that hangs; twenty hosts of a year take seconds."""

ERROR_CHARS_MAX = 500
"""What the process said last, as the log repeats it."""

PAGES = "capacity-*.html"

Told: TypeAlias = dict[str, dict[str, float]]


class Reporting:
    """Answers when its time has come."""

    def __init__(
        self, settings: ReportSettings, config: Path | None, state_dir: Path, offer: Callable[[Batch], None], log: Any
    ) -> None:
        self._settings = settings
        self._pages = state_dir / settings.directory if settings.directory else None
        alone = "-I" if sys.flags.isolated else "-P"  # as the agent itself, and never from the current directory
        self._command = [sys.executable, alone, "-m", "domstat.cli", "capacity", "scheduled"]
        if config is not None:
            self._command += ["--config", str(config)]
        if settings.sink is not None:
            self._command += ["--sink", settings.sink]
        self._offer = offer
        self._log = log
        self._times = Times()
        self._subjects: dict[str, Subject] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = threading.Event()

    def run(self, due_ms: int) -> None:
        """Have it answered, and pass it on; what goes wrong is logged, and the next time is another chance."""
        page = self._page(due_ms)
        told = self._ask([] if page is None else ["--html", str(page)])
        if told is None:
            return
        for host, values in told.items():
            self._offer(self._batch(host, values))
        if self._pages is not None:
            for old in sorted(self._pages.glob(PAGES))[: -self._settings.keep]:
                old.unlink(missing_ok=True)
        self._log.info("capacity_reported", hosts=len(told), page=None if page is None else str(page))

    def close(self) -> None:
        """End what is being answered."""
        self._closing.set()
        process = self._process
        if process is not None:
            process.kill()

    def _page(self, due_ms: int) -> Path | None:
        if self._pages is None:
            return None
        self._pages.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._pages / f"capacity-{datetime.fromtimestamp(due_ms / 1000, UTC):%Y%m%dT%H%M%SZ}.html"

    def _ask(self, more: list[str]) -> Told | None:
        with subprocess.Popen(
            [*self._command, *more], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            self._process = process
            try:
                out, err = process.communicate(timeout=0 if self._closing.is_set() else ANSWER_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                self._said_failed(f"no answer within {ANSWER_S:g} s")
                return None
            finally:
                self._process = None
        if process.returncode:
            said = err.decode(errors="replace").strip()[-ERROR_CHARS_MAX:]
            self._said_failed(said or f"it ended by signal {-process.returncode}")
            return None
        try:
            return msgspec.json.decode(out, type=Told)
        except msgspec.DecodeError as error:
            self._said_failed(f"its answer cannot be read: {error}")
            return None

    def _said_failed(self, reason: str) -> None:
        if not self._closing.is_set():
            hint = "try it by hand: domstat capacity summary"
            self._log.warning("capacity_report_failed", reason=reason, hint=hint)

    def _batch(self, host: str, values: dict[str, float]) -> Batch:
        now = clock.now()
        stamp = Stamp(self._times.next(now.time_ms), now.boot_ns, now.boot_id, 0)
        subject = self._subjects.setdefault(host, Subject(Kind.AGENT, host, COLLECT))
        record = subject.record(values, stamp, Moment(stamp.time_ms, stamp.boot_ns, stamp.boot_id))
        return Batch(host=host, collect=COLLECT, stamp=stamp, records=(record,))
