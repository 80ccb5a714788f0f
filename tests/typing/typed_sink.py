"""A sink as somebody else would write it, with types; mypy holds it to the contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, assert_type

import pytest
from msgspec import Meta, Struct

from domstat.forms import Columns, Metadata, Point, Row, columns, describe, flat, identity, points, rows
from domstat.model import Batch, Record, Value
from domstat.settings import Duration, Size
from domstat.sink import ClaimsFiles, Fatal, HasHealth, Reject, Retry, Sink, SinkContext
from domstat.testing import Keeps, SinkContract, Store, Stored, subject


class TypedSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Writes to nowhere."""

    path: Annotated[str, Meta(description="The file.")] = "x"
    timeout: Annotated[Duration, Meta(description="How long one write may take.")] = Duration(5)
    max_bytes: Annotated[Size, Meta(description="How large the file may become.")] = Size(1 << 20)


class TypedSink:
    """Uses all there is of the contract."""

    Settings: ClassVar[type[Struct]] = TypedSettings

    any_order = True

    def __init__(self, settings: TypedSettings) -> None:
        self._settings = settings
        self._context: SinkContext | None = None

    @staticmethod
    def claims(settings: TypedSettings, state_dir: Path) -> Iterable[Path]:
        return [state_dir / settings.path]

    def open(self, context: SinkContext) -> None:
        if context.name == "never":
            raise Fatal("never")
        self._context = context

    def write(self, batches: Sequence[Batch]) -> None:
        if self._context is None:
            raise Retry("not open", after=1.5)
        refused: list[tuple[Batch, Record, str]] = []
        for batch in batches:
            for record in batch.records:
                assert_type(flat(record), dict[str, Any])
                assert_type(identity(record), dict[str, str])
                for point in points(record):
                    assert_type(point, Point)
                    assert_type(point.tags, Mapping[str, str])
                    assert_type(point.fields, dict[str, Value])
                for row in rows(record):
                    assert_type(row, Row)
                    assert_type(row.value, float | None)
                    assert_type(describe(row.field), Metadata)
                self._context.reject_part(record, "no reason")
                refused.append((batch, record, "no room"))
        assert_type(columns(batches), Columns)
        raise Reject(refused)

    def close(self) -> None:
        self._context = None

    def health(self) -> str:
        return ""


SINK: type[Sink] = TypedSink
ONE: Sink = TypedSink(TypedSettings())
CLAIMING: ClaimsFiles = TypedSink(TypedSettings())
HEALTHY: HasHealth = TypedSink(TypedSettings())


class TypedStore:
    """What the suite is told of the sink's store."""

    sink = TypedSink
    settings: Mapping[str, Any] = {"path": "/tmp/x"}

    def read(self) -> Iterable[Stored]:
        yield Stored(host="h", kind="guest", subject=subject("uuid"), values={"cpu.time": 1})


STORE: Store = TypedStore()


class TestTypedSink(SinkContract):
    """Held to the contract."""

    keeps = Keeps(again=True, rates=False)

    @pytest.fixture
    def store(self) -> Store:
        return TypedStore()
