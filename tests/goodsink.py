"""A sink that keeps every promise, in a file; and a store that can do whatever the suite may ask of one.

The bad ones beside it are this one with one thing changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct, json
from msgspec.structs import replace

from domstat.forms import flat
from domstat.model import Batch, Figures, Record, Value
from domstat.settings import Duration
from domstat.sink import Fatal, Reject, Retry, SinkContext
from domstat.testing import Stored

_IDENTITY = frozenset({"time_ms", "host", "collect", "kind", "uuid", "domain", "pool"})


class GoodSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Keeps everything in a file."""

    path: Annotated[str, Meta(description="The file.")]
    patience: Annotated[Duration, Meta(description="How long it waits.")] = Duration(5)
    note: Annotated[str | None, Meta(description="What to write first. Default: nothing.")] = None


class Line(Struct, frozen=True):
    """A record as it is in the file."""

    host: str
    collect: str
    time_ms: int
    kind: str
    subject: str
    name: str | None
    values: dict[str, Value]

    @property
    def key(self) -> tuple[str, str, int, str, str]:
        return (self.host, self.collect, self.time_ms, self.kind, self.subject)


class GoodSink:
    """Appends lines, and knows which it has."""

    Settings: ClassVar[type[Struct]] = GoodSettings

    def __init__(self, settings: GoodSettings) -> None:
        self.path = Path(settings.path)
        self.context: SinkContext | None = None
        self.keys: set[Any] = set()

    def open(self, context: SinkContext) -> None:
        self._meet()
        try:
            self.keys = {line.key for line in lines_of(self.path)}
        except OSError as error:
            raise Fatal(f"{self.path}: {error.strerror}") from error
        self.context = context

    def write(self, batches: Sequence[Batch]) -> None:
        if self.context is None:
            raise Retry("not open")
        self._meet()
        rejected = []
        new: dict[Any, Line] = {}
        for batch, record in self.taken(batches):
            if self.refuses(record):
                rejected.append((batch, record, "not wanted"))
            else:
                line = self.line(self.without_what_is_no_number(record))
                new[self.key(line)] = line
        self.append([line for key, line in new.items() if key not in self.keys])
        self.keys.update(new)
        if rejected:
            raise Reject(rejected)

    def close(self) -> None:
        self.context = None

    # What the bad ones do otherwise.

    def taken(self, batches: Sequence[Batch]) -> list[tuple[Batch, Record]]:
        return [(batch, record) for batch in batches for record in batch.records]

    def refuses(self, record: Record) -> bool:
        refused = beside(self.path, "refused")
        return record.domain is not None and refused.exists() and refused.read_text() == record.domain.uuid

    def key(self, line: Line) -> Any:
        return line.key

    def line(self, record: Record) -> Line:
        values = {key: value for key, value in flat(record).items() if key not in _IDENTITY}
        name = record.domain.name if record.domain else None
        return Line(record.host, record.collect, record.time_ms, str(record.kind), record.subject, name, values)

    def without_what_is_no_number(self, record: Record) -> Record:
        params = dict(record.params)
        for key, value in record.params.items():
            if isinstance(value, float) and not math.isfinite(value):
                del params[key]
                assert self.context is not None
                self.context.reject_part(record, f"{key} is {value}")
        return replace(record, figures=Figures(params, record.rates, record.derived))

    def append(self, lines: Sequence[Line]) -> None:
        with self.path.open("ab") as file:
            file.write(json.Encoder().encode_lines(lines))

    def _meet(self) -> None:
        if beside(self.path, "away").exists():
            raise Retry("the store is away")


def beside(path: Path, what: str) -> Path:
    return path.with_name(path.name + "." + what)


def lines_of(path: Path) -> list[Line]:
    """Read the whole lines of the file; a directory is an error, no file is an empty one."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    decode = json.Decoder(Line).decode
    return [decode(line) for line in text.splitlines(keepends=True) if line.endswith(b"\n")]


class GoodStore:
    """The file, and all that can be done to it."""

    sink: ClassVar[type[Any]] = GoodSink

    def __init__(self, folder: Path, sink: type[Any] | None = None) -> None:
        if sink is not None:
            self.sink = sink  # type: ignore[misc]  # the class of this one store
        self.folder = folder
        self.path = folder / "store.jsonl"
        self.settings: Mapping[str, Any] = {"path": str(self.path), "patience": "10s"}

    def read(self) -> Iterator[Stored]:
        for line in lines_of(self.path):
            yield Stored(
                host=line.host,
                kind=line.kind,
                subject=line.subject,
                time_ms=line.time_ms,
                collect=line.collect,
                name=line.name,
                values=line.values,
            )

    def outage(self) -> Any:
        return self._with("away", "")

    def slow(self) -> Any:
        return self._with("slow", "")

    def refusing(self, uuid: str) -> Any:
        return self._with("refused", uuid)

    def hopeless(self) -> Mapping[str, Any]:
        return {"path": str(self.folder)}

    @contextmanager
    def _with(self, what: str, text: str) -> Iterator[None]:
        note = beside(self.path, what)
        note.write_text(text)
        try:
            yield
        finally:
            note.unlink()
