"""Looking at disks: what is free below histories and the journal, and how histories have grown."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from domstat.config import Config, SinkConfig
from domstat.deliver.journal import FILE as JOURNAL_FILE
from domstat.doctor.look.files import claimed
from domstat.doctor.scene import DiskSeen
from domstat.history import HasHistory, HistoryError
from domstat.settings import Retention, Size


def see_disks(config: Config) -> tuple[DiskSeen, ...]:
    """Look at the disk that each history is on, and at the journal's if that is another."""
    state = _nearest(config.state_dir)
    journal = config.state_dir / JOURNAL_FILE
    reserved = max(0, config.journal.max_bytes - _bytes_of(journal))
    seen = []
    has_journal = False
    for sink, path in _histories(config):
        folder = _nearest(path.parent)
        shared = folder.stat().st_dev == state.stat().st_dev
        has_journal |= shared
        seen.append(_disk(sink, path, folder, reserved if shared else 0, _age_s(sink, config.state_dir)))
    if not has_journal:
        seen.append(DiskSeen("journal", str(state), _free(state), reserved))
    return tuple(seen)


def _histories(config: Config) -> Iterator[tuple[SinkConfig, Path]]:
    """Give the sinks that keep a history in a file, and which that is."""
    for sink in config.sinks:
        files = claimed(sink, config.state_dir) if isinstance(sink.sink, HasHistory) else ()
        if files:
            yield sink, files[0]


def _disk(sink: SinkConfig, path: Path, folder: Path, reserved: int, age_s: float) -> DiskSeen:
    values = [getattr(sink.settings, name) for name in sink.settings.__struct_fields__]
    kept = [float(value) for value in values if isinstance(value, Retention) and math.isfinite(value)]
    bound = getattr(sink.settings, "max_bytes", None)
    return DiskSeen(
        sink.name,
        str(folder),
        _free(folder),
        reserved,
        _bytes_of(path),
        age_s,
        min(kept, default=None),
        int(bound) if isinstance(bound, Size) else None,
    )


def _nearest(folder: Path) -> Path:
    """Return *folder*, or the nearest above it that is there and may be looked at."""
    while not os.access(folder, os.F_OK, effective_ids=True) and folder != folder.parent:
        folder = folder.parent
    return folder


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _age_s(sink: SinkConfig, state_dir: Path) -> float:
    """How long a history has been written, in seconds; 0 where it cannot be read."""
    opener: Any = sink.sink
    try:
        with opener.history(sink.settings, state_dir) as history:
            hosts = history.hosts()
    except HistoryError:
        return 0.0
    first = min((host.first_ms for host in hosts), default=0)
    return (max((host.last_ms for host in hosts), default=0) - first) / 1000
