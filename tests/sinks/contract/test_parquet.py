"""The parquet sink keeps the contract, in a folder and in an object store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from domstat.forms import RATE
from domstat.model import Value, key_of
from domstat.testing import Keeps, SinkContract, Store, Stored
from domstat.testing.store import subject
from domstat_sinks.parquet import ParquetSink, tables
from parquet_folder import empty_memory


class Files:
    """Hours' files, and those that wait, each of which takes the place of what came before."""

    sink: ClassVar[type[Any]] = ParquetSink

    def __init__(self, filesystem: Any, root: str, path: str) -> None:
        self._filesystem = filesystem
        self._root = root
        self.settings = {"path": path}

    def read(self) -> Iterator[Stored]:
        found: dict[Any, list[Stored]] = {}
        names = self._filesystem.find(self._root)
        for name in [name for name in names if name.endswith(".parquet")]:
            with self._filesystem.open(name) as file:
                for row in rows_of(pq.read_table(file, partitioning=None)):
                    found.setdefault(record_of(row), []).append(row)
        waiting = [name for name in names if name.endswith(".rows")]
        for name in sorted(waiting, key=lambda name: name.rsplit("-", 2)[1]):
            newer: dict[Any, list[Stored]] = {}
            for row in rows_of(tables.unpacked(self._filesystem.cat_file(name))):
                newer.setdefault(record_of(row), []).append(row)
            found.update(newer)
        for rows in found.values():
            yield from rows


class Folder(Files):
    """A folder, which a disk may lack."""

    def __init__(self, folder: Path) -> None:
        super().__init__(fsspec.filesystem("file"), str(folder / "parquet"), str(folder / "parquet"))
        self._folder = folder

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Have the folder gone, as a disk that is not mounted."""
        away = self._folder.with_name("away")
        self._folder.rename(away)
        self._folder.write_text("no folder")
        try:
            yield
        finally:
            self._folder.unlink()
            away.rename(self._folder)

    def hopeless(self) -> Mapping[str, Any]:
        (self._folder / "notes").write_text("no folder")
        return {"path": str(self._folder / "notes")}


class Objects(Files):
    """A store of objects, which a network may lie before."""

    def __init__(self) -> None:
        super().__init__(empty_memory(), "/bucket", "memory://bucket")

    @contextmanager
    def outage(self) -> Iterator[None]:
        def unreachable(*_: object, **__: object) -> None:
            raise ConnectionError("no route to host")

        with pytest.MonkeyPatch.context() as patch:
            for name in ("find", "exists", "open", "put_file", "cat", "rm_file", "ls"):
                patch.setattr(MemoryFileSystem, name, unreachable)
            yield

    def hopeless(self) -> Mapping[str, Any]:
        return {"path": "oci://bucket/domstat"}


def rows_of(table: Any) -> Iterator[Stored]:
    """Give each row as a piece of its record."""
    host = tables.host_of(table)
    times = table["time"].cast("int64").to_pylist()
    for time_ms, row in zip(times, table.to_pylist(), strict=True):
        event = row["field"].removeprefix("event.") if row["kind"] == "event" else None
        yield Stored(
            host=host,
            kind=row["kind"],
            subject=subject(row["uuid"], row["pool"], event, row["device"] if event else None),
            time_ms=time_ms,
            collect=row["collect"],
            name=row["domain"],
            values=values_of(row),
        )


def values_of(row: Mapping[str, Any]) -> dict[str, Value]:
    field, text = row["field"], row["text"]
    if row["kind"] == "event":
        return {} if text is None else {"event.reason": text}
    if field in {"gap", "partial"}:
        return {"gap.reason" if field == "gap" else "partial.missing": text}
    if text is not None:
        value: Value = text if row["value"] is None else int(text)
    else:
        value = row["value"] if row["value_int"] is None else row["value_int"]
    found = {key_of(field, row["device"]): value}
    return found if row["rate"] is None else found | {key_of(field + RATE, row["device"]): row["rate"]}


def record_of(row: Stored) -> tuple[Any, ...]:
    return (row.host, row.collect, row.time_ms, row.kind, row.subject)


class TestParquetSinkInAFolder(SinkContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        folder = tmp_path / "data"
        folder.mkdir()
        return Folder(folder)


class TestParquetSinkInAnObjectStore(SinkContract):
    keeps = Keeps(durable=False)  # in memory, for once

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        yield Objects()
        empty_memory()
