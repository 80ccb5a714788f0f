"""What a test of the parquet sink needs: sinks in a folder, and what a reader finds there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.dataset
import structlog

from domstat.model import Batch, Record
from domstat.settings import decode
from domstat.sink import SinkContext
from domstat_sinks.parquet import ParquetSink
from domstat_sinks.parquet.settings import ParquetSettings
from records import TIME_MS, batch, guest_record

HOUR_MS = 3_600_000


def context(state_dir: Path, parts: list[tuple[Record, str]] | None = None, name: str = "files") -> SinkContext:
    heard: list[tuple[Record, str]] = [] if parts is None else parts
    return SinkContext(name, state_dir, structlog.get_logger(), lambda record, why: heard.append((record, why)))


@contextmanager
def opened(
    state_dir: Path, parts: list[tuple[Record, str]] | None = None, *, name: str = "files", **settings: Any
) -> Iterator[ParquetSink]:
    """Open a sink, by default on the folder ``parquet`` in *state_dir*; closing it makes the files of hours past."""
    sink = ParquetSink(decode(settings, ParquetSettings))
    sink.open(context(state_dir, parts, name))
    try:
        yield sink
    finally:
        sink.close()


def read(folder: str | Path, filesystem: Any = None) -> list[dict[str, Any]]:
    """Read what any reader of such folders finds, host and day with it."""
    names = pa.schema([("host", pa.string()), ("day", pa.string())])
    hive = pyarrow.dataset.partitioning(names, flavor="hive")
    found = pyarrow.dataset.dataset(folder, filesystem=filesystem, format="parquet", partitioning=hive)
    rows: list[dict[str, Any]] = found.to_table().to_pylist() if found.files else []
    return rows


def empty_memory() -> Any:
    """Return fsspec's store in memory, with nothing in it."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    return memory


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return all that makes a row itself."""
    return tuple(row[name] for name in ("time", "host", "day", "collect", "kind", "uuid", "pool", "field", "device"))


def files(folder: Path, ending: str = ".parquet") -> list[str]:
    """Name the files below a folder that end so."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob(f"*{ending}") if path.is_file())


def tick(number: int = 0, *names: str, time_ms: int | None = None, **more: Any) -> Batch:
    """Make a tick of guests with few fields: ``cpu.time`` says which tick it is."""
    at = TIME_MS + number * 10_000 if time_ms is None else time_ms
    params = more.pop("params", {"cpu.time": number, "state.state": 1})
    host = more.get("host", "kvm1")
    records = [
        guest_record(name, uuid=f"uuid-{name}", time_ms=at, params=params, first=True, **more)
        for name in names or ("web-1",)
    ]
    return batch(*records, host=host, time_ms=at, collect=more.get("collect", "default"))
