"""Sinks that break a promise each, in the ways that sinks do."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from domstat.model import Batch, Domain, Figures, Kind, Partial, Pool, Record, Value
from domstat.sink import Fatal, Reject, Retry, SinkContext
from goodsink import GoodSettings, GoodSink, Line, beside

# From opening to closing.


class ClosesOnce(GoodSink):
    def close(self) -> None:
        assert self.context is not None, "closed already"
        super().close()


class ClosesWhatItHasNot(GoodSink):
    file: Any

    def open(self, context: SinkContext) -> None:
        super().open(context)
        self.file = self.path

    def close(self) -> None:
        self.file.exists()


class SilentBeforeOpen(GoodSink):
    def write(self, batches: Sequence[Batch]) -> None:
        if self.context is not None:
            super().write(batches)


class ExpectsRecords(GoodSink):
    def write(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            batch.records[0]
        super().write(batches)


class HoldsBack(GoodSink):
    """Writes when it is closed: what is lost when nobody closes it."""

    def append(self, lines: Sequence[Line]) -> None:
        self.waiting = [*getattr(self, "waiting", []), *lines]

    def close(self) -> None:
        super().append(getattr(self, "waiting", []))
        self.waiting = []
        super().close()


class EmptiesWhenClosed(GoodSink):
    def close(self) -> None:
        self.path.unlink(missing_ok=True)
        super().close()


class TakesAThousand(GoodSink):
    def taken(self, batches: Sequence[Batch]) -> list[tuple[Batch, Record]]:
        return super().taken(batches)[:1000]


class LastTickOnly(GoodSink):
    def taken(self, batches: Sequence[Batch]) -> list[tuple[Batch, Record]]:
        return super().taken(batches[-1:])


class Backwards(GoodSink):
    def append(self, lines: Sequence[Line]) -> None:
        super().append(lines[::-1])


class Prints(GoodSink):
    def write(self, batches: Sequence[Batch]) -> None:
        super().write(batches)
        print("wrote", len(batches))  # noqa: T201 - just that


class Scales(GoodSink):
    """Changes the values that it was given, in place."""

    def line(self, record: Record) -> Line:
        record.params.pop("cpu.time", None)
        return super().line(record)

    def without_what_is_no_number(self, record: Record) -> Record:
        return record


# What comes again.


class Appends(GoodSink):
    def write(self, batches: Sequence[Batch]) -> None:
        self.keys.clear()
        super().write(batches)


class KnowsTheLastCall(GoodSink):
    def write(self, batches: Sequence[Batch]) -> None:
        last = {self.key(self.line(record)) for _, record in self.taken(batches)}
        super().write(batches)
        self.keys &= {next(iter(last))} if len(last) > 1 else last


class StaleLock(GoodSink):
    """Marks the file as being written, and takes fright at a mark that somebody left who died."""

    def open(self, context: SinkContext) -> None:
        if beside(self.path, "lock").exists():
            raise Fatal("somebody else writes the file")
        super().open(context)

    def write(self, batches: Sequence[Batch]) -> None:
        beside(self.path, "lock").touch()
        super().write(batches)
        beside(self.path, "lock").unlink()


class Truncates(GoodSink):
    def open(self, context: SinkContext) -> None:
        super().open(context)
        self.path.write_bytes(b"")
        self.keys.clear()


# What records say.


class GuestsOnly(GoodSink):
    def taken(self, batches: Sequence[Batch]) -> list[tuple[Batch, Record]]:
        return [(batch, record) for batch, record in super().taken(batches) if record.kind is Kind.GUEST]


class OneEventATick(GoodSink):
    def key(self, line: Line) -> Any:
        return (*line.key[:4], line.subject.partition("/")[0])


class KnowsAllKinds(GoodSink):
    def line(self, record: Record) -> Line:
        Kind(record.kind)
        return super().line(record)


class Changes(GoodSink):
    """Stores other values than those it was given; nothing where it makes None of one."""

    def line(self, record: Record) -> Line:
        params = {key: self.change(key, value) for key, value in record.params.items()}
        given = {key: value for key, value in params.items() if value is not None}
        return super().line(replace(record, figures=Figures(given, record.rates, record.derived)))

    def change(self, key: str, value: Value) -> Value | None:
        raise NotImplementedError


class KnownFieldsOnly(Changes):
    def change(self, key: str, value: Value) -> Value | None:
        return None if key.startswith("vendor.") else value


class WholeNumbers(Changes):
    def change(self, key: str, value: Value) -> Value | None:
        return int(value) if isinstance(value, float) and math.isfinite(value) else value


class Signed(Changes):
    def change(self, key: str, value: Value) -> Value | None:
        return value - (1 << 64) if isinstance(value, int) and value >= 1 << 63 else value


class Unsigned(Changes):
    def change(self, key: str, value: Value) -> Value | None:
        return value & ((1 << 64) - 1) if isinstance(value, int) else value


class ZeroForNoNumber(Changes):
    def without_what_is_no_number(self, record: Record) -> Record:
        return record

    def change(self, key: str, value: Value) -> Value | None:
        return 0.0 if isinstance(value, float) and not math.isfinite(value) else value


class FillsHoles(GoodSink):
    """Has columns, and 0 in those that a record says nothing of."""

    def __init__(self, settings: GoodSettings) -> None:
        super().__init__(settings)
        self.columns: dict[str, Value] = {}

    def line(self, record: Record) -> Line:
        self.columns |= dict.fromkeys(record.params, 0)
        return super().line(replace(record, figures=Figures({**self.columns, **record.params})))


class WholeRecordsOnly(GoodSink):
    def taken(self, batches: Sequence[Batch]) -> list[tuple[Batch, Record]]:
        return [(batch, record) for batch, record in super().taken(batches) if not isinstance(record.partial, Partial)]


class Tidies(GoodSink):
    """Makes names of what it is given."""

    def line(self, record: Record) -> Line:
        domain = record.domain and Domain(record.domain.uuid, tidy(record.domain.name))
        return super().line(replace(record, domain=domain, pool=record.pool and Pool(tidy(record.pool.name))))


def tidy(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]", "_", name)[:64].lower() or "unknown"


class ForwardOnly(GoodSink):
    newest = 0

    def taken(self, batches: Sequence[Batch]) -> list[tuple[Batch, Record]]:
        found = [(batch, record) for batch, record in super().taken(batches) if record.time_ms >= self.newest]
        self.newest = max([self.newest, *(record.time_ms for _, record in found)])
        return found


class OneStreamAHost(GoodSink):
    def key(self, line: Line) -> Any:
        return (line.host, *line.key[2:])


class LabelsAreIdentity(GoodSink):
    labels = ""

    def line(self, record: Record) -> Line:
        self.labels = str(record.labels or self.labels)
        return super().line(record)

    def key(self, line: Line) -> Any:
        return (*line.key, self.labels)


class NamesOnce(GoodSink):
    def __init__(self, settings: GoodSettings) -> None:
        super().__init__(settings)
        self.names: dict[str, str | None] = {}

    def line(self, record: Record) -> Line:
        line = super().line(record)
        return replace(line, name=self.names.setdefault(line.subject, line.name))


class OneHost(GoodSink):
    def key(self, line: Line) -> Any:
        return line.key[1:]


# A store that is away, slow, or does not want it.


class SwallowsOutages(GoodSink):
    def write(self, batches: Sequence[Batch]) -> None:
        if not beside(self.path, "away").exists():
            super().write(batches)


class GivesUp(GoodSink):
    def open(self, context: SinkContext) -> None:
        try:
            super().open(context)
        except Retry as error:
            raise Fatal(str(error)) from error


class TimesOut(GoodSink):
    def write(self, batches: Sequence[Batch]) -> None:
        if beside(self.path, "slow").exists():
            raise TimeoutError
        super().write(batches)


def no_number(record: Record) -> bool:
    return any(isinstance(value, float) and math.isnan(value) for value in record.params.values())


class AllOrNothing(GoodSink):
    """Rejects the whole tick for one record."""

    def write(self, batches: Sequence[Batch]) -> None:
        every = self.taken(batches)
        if any(
            isinstance(value, float) and math.isnan(value) for _, record in every for value in record.params.values()
        ):
            raise Reject([(batch, record, "a tick is all or nothing") for batch, record in every])
        super().write(batches)


class DropsSilently(GoodSink):
    def taken(self, batches: Sequence[Batch]) -> list[tuple[Batch, Record]]:
        every = super().taken(batches)
        return [(batch, record) for batch, record in every if not no_number(record) and not self.refuses(record)]


class RetriesForEver(GoodSink):
    def write(self, batches: Sequence[Batch]) -> None:
        try:
            super().write(batches)
        except Reject as error:
            raise Retry(str(error)) from error


class NeverFatal(GoodSink):
    def open(self, context: SinkContext) -> None:
        try:
            super().open(context)
        except Fatal as error:
            raise Retry(str(error)) from error


# Behind the courier.


class FailsTheFirstTime(GoodSink):
    has_failed = False

    def write(self, batches: Sequence[Batch]) -> None:
        if not self.has_failed:
            self.has_failed = True
            raise RuntimeError("not warmed up")
        super().write(batches)


class LosesTheLastWrite(GoodSink):
    """Holds one write back until there is another."""

    waiting: Sequence[Line] = ()

    def append(self, lines: Sequence[Line]) -> None:
        super().append(self.waiting)
        self.waiting = lines


# Settings.


class Normalises(Struct, frozen=True, forbid_unknown_fields=True):
    """Keeps everything in a file."""

    path: Annotated[str, Meta(description="The file.")]
    patience: Annotated[str, Meta(description="How long.")] = "5s"

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "path", self.path + "/store.db")


class Loose(Struct, forbid_unknown_fields=True):
    """Keeps everything in a file."""

    path: Annotated[str, Meta(description="The file.")]
    patience: Annotated[str, Meta(description="How long.")] = "5s"


class Undescribed(Struct, frozen=True, forbid_unknown_fields=True):
    """Keeps everything in a file."""

    path: str
    patience: Annotated[str, Meta(description="How long.")] = "5s"


class Unsaid(Struct, frozen=True, forbid_unknown_fields=True):
    path: Annotated[str, Meta(description="The file.")]


class Mysterious(Struct, frozen=True, forbid_unknown_fields=True):
    """Keeps everything in a file."""

    path: Annotated[str, Meta(description="The file.")]
    patience: Annotated[str | None, Meta(description="How long.")] = None


class Unwritable(Struct, frozen=True, forbid_unknown_fields=True):
    """Keeps everything in a file."""

    path: Annotated[str, Meta(description="The file.")]
    patience: Annotated[complex, Meta(description="How long.")] = 5j


class Forgiving(Struct, frozen=True):
    """Keeps everything in a file."""

    path: Annotated[str, Meta(description="The file.")]


def with_settings(struct: type[Struct]) -> type[Any]:
    """Make a sink that has these settings."""

    class Configured(GoodSink):
        Settings: ClassVar[type[Struct]] = struct

    Configured.__name__ = struct.__name__
    return Configured
