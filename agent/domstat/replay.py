"""What was collected once, handed to a sink again: out of JSON lines, the journal or a history.

A *source* gives batches; :class:`Delivery` has a sink store them, by the contract of :mod:`domstat.sink`. Both work a
few batches at a time, however much there is. A sink in which a record that comes again replaces itself can be given
the same source any number of times.

JSON lines carry neither boot nor boot-time clock: their batches are put together again by host, block and time, with
stamps that know the time alone (:func:`domstat.model.stamp_of`).
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Protocol, cast

import msgspec
from msgspec import Struct

from domstat import jsonlines
from domstat.deliver.outside import Reader
from domstat.history import HasBatches, HasImport
from domstat.model import Batch, Kind, Record, stamp_of
from domstat.settings import Duration
from domstat.sink import Fatal, Reject, Rejected, Retry, Sink, SinkContext

EVER_MS = 1 << 62
"""Later than anything, in milliseconds since 1970; and what SQLite's integers still hold."""

LINE_BYTES_MAX = 16 << 20
"""A longer line is no record: a guest with a thousand disks takes a MiB."""

BATCH_RECORDS_MAX = 16_384
"""Records put together into one batch: as many guests as one call can return."""

WRITE_RECORDS_MAX = 4_000
"""Records handed over in one write, some 20 MiB, if a single batch has no more."""

PATIENCE_S = 60.0
"""How long a sink that cannot take anything just now is tried again; then whoever waits is told."""

BACKOFF_BASE_S = 0.5
BACKOFF_MAX_S = 15.0
"""Retries wait a random time up to base x 2^n, at most this."""

_AGO = re.compile(r"[0-9.]+\s*[a-z]+\Z")
_LETTER = b'{"reason":'
"""How a line of dead letters begins: a record, and why a sink did not take it."""


class SourceError(Exception):
    """A source cannot be read any further; the message says which and why."""


class GaveUpError(Exception):
    """The sink takes nothing; the message says why."""


class Span(Struct, frozen=True):
    """What is wanted: from one time on and before another, in milliseconds since 1970; of which hosts (none: all)."""

    since_ms: int = 0
    until_ms: int = EVER_MS
    hosts: frozenset[str] = frozenset()

    def has(self, host: str, time_ms: int) -> bool:
        """Whether a batch is wanted."""
        return self.since_ms <= time_ms < self.until_ms and (not self.hosts or host in self.hosts)


def moment_of(text: str, now_ms: int) -> int:
    """Read a time as milliseconds since 1970: one by RFC 3339, or a duration before *now_ms*.

    Raises ValueError naming what is allowed.
    """
    try:
        if _AGO.match(text.strip()):
            return now_ms - round(1000 * Duration.parse(text))
        return jsonlines.read_time(text)
    except (ValueError, OverflowError):
        raise ValueError('a time such as "2026-11-22T22:15:00Z", or how long ago it was, such as "2h"') from None


# Where batches come from.


class Source(Protocol):
    """Gives batches; *total* and *done* say how far it is, in whatever it counts, *total* being None if unknown."""

    total: int | None
    done: int

    def batches(self) -> Iterator[Batch]:
        """Give the batches that are wanted. Raises SourceError, or what its store raises."""


Complain = Callable[[str], None]
"""Is told of something that cannot be read, and is passed over."""

Decode = Callable[[bytes], Record]
"""Reads a line as a record, or raises ValueError."""


class Lines:
    """JSON lines, and dead letters among them. *total* and *done* are bytes."""

    def __init__(
        self,
        file: BinaryIO,
        name: str,
        span: Span,
        complain: Complain,
        total: int | None = None,
        decode: Decode = jsonlines.decode,
    ) -> None:
        """*name* stands before the number of a line that cannot be read; *decode* reads one, or raises ValueError."""
        self.total = total
        self.done = 0
        self._file = file
        self._name = name
        self._span = span
        self._complain = complain
        self._decode = decode

    def batches(self) -> Iterator[Batch]:
        """Give what is wanted of them as batches: records of one tick that follow each other are one."""
        together: dict[tuple[Kind, str], Record] = {}  # of two that are the same record the later one counts
        tick = ("", "", 0)
        for record in self._records():
            its_tick = (record.host, record.collect, record.time_ms)
            if together and (its_tick != tick or len(together) >= BATCH_RECORDS_MAX):
                yield _batch(tick, together.values())
                together = {}
            tick = its_tick
            together[record.kind, record.subject] = record
        if together:
            yield _batch(tick, together.values())

    def _records(self) -> Iterator[Record]:
        for number, line in enumerate(self._lines(), 1):
            if not line.strip():
                continue
            try:
                record = self._decode(_record_of(line) if line.startswith(_LETTER) else line)
            except ValueError as error:
                self._complain(f"{self._name}:{number}: {error}")
                continue
            if self._span.has(record.host, record.time_ms):
                yield record

    def _lines(self) -> Iterator[bytes]:
        """Give the lines; of one that is too long its beginning, which is no record."""
        while line := self._read():
            yield line
            while len(line) == LINE_BYTES_MAX and not line.endswith(b"\n"):
                line = self._read()

    def _read(self) -> bytes:
        try:
            line = self._file.readline(LINE_BYTES_MAX)
        except OSError as error:
            raise SourceError(f"{self._name}: {error.strerror or error}") from error
        self.done += len(line)
        return line


class _Letter(Struct, frozen=True):
    """A line of dead letters."""

    record: msgspec.Raw


def letter(record: Record, reason: str) -> bytes:
    """Write a dead letter: a line that can be replayed when the reason is no more."""
    return msgspec.json.encode({"reason": reason, "record": msgspec.Raw(jsonlines.encode([record]).strip())}) + b"\n"


def _record_of(line: bytes) -> bytes:
    """Take the record out of a dead letter. Raises ValueError."""
    try:
        return bytes(msgspec.json.decode(line, type=_Letter).record)
    except msgspec.DecodeError as error:
        raise ValueError(f"not a domstat record: {error}") from error


def _batch(tick: tuple[str, str, int], records: Iterable[Record]) -> Batch:
    host, collect, time_ms = tick
    return Batch(host=host, collect=collect, stamp=stamp_of(time_ms), records=tuple(records))


class Stored:
    """A store of batches: a journal or a history. *total* and *done* are batches."""

    def __init__(self, batches: Callable[[], Iterator[Batch]], total: int, span: Span) -> None:
        self.total: int | None = total
        self.done = 0
        self._batches = batches
        self._span = span

    @classmethod
    def of_journal(cls, journal: Reader, span: Span, complain: Complain) -> Stored:
        """Take what a journal has."""
        since_ms, until_ms = span.since_ms, span.until_ms
        return cls(lambda: journal.batches(since_ms, until_ms, complain), journal.count(since_ms), span)

    @classmethod
    def of_history(cls, history: HasBatches, span: Span, complain: Complain) -> Stored:
        """Take what a history has. Raises HistoryError."""
        since_ms, until_ms = span.since_ms, span.until_ms
        return cls(lambda: history.batches(since_ms, until_ms, complain), history.count(since_ms, until_ms), span)

    def batches(self) -> Iterator[Batch]:
        """Give what is wanted of them."""
        for batch in self._batches():
            self.done += 1
            if self._span.has(batch.host, batch.stamp.time_ms):
                yield batch


def chunks(batches: Iterable[Batch], batches_max: int) -> Iterator[list[Batch]]:
    """Put *batches* together into as many as are handed over at once."""
    chunk: list[Batch] = []
    records = 0
    for batch in batches:
        if chunk and (len(chunk) >= batches_max or records + len(batch.records) > WRITE_RECORDS_MAX):
            yield chunk
            chunk, records = [], 0
        chunk.append(batch)
        records += len(batch.records)
    if chunk:
        yield chunk


# Where they go.


class Delivery:
    """Has one sink store batches, and counts. What it does not take now is tried again for a while."""

    def __init__(
        self,
        sink: Sink,
        context: SinkContext,
        on_rejected: Callable[[Rejected], None],
        patience_s: float = PATIENCE_S,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """*on_rejected* is told of records that the sink will never take."""
        self.batches = 0
        self.records = 0
        """Handed over so far, whatever became of them."""
        self.rejected = 0
        self.retries = 0
        self._sink = sink
        self._context = context
        self._on_rejected = on_rejected
        self._patience_s = patience_s
        self._pause = pause

    @property
    def written(self) -> int:
        """Records that the sink has stored."""
        return self.records - self.rejected

    def open(self) -> None:
        """Open the sink. Raises GaveUpError, Fatal or Finished."""
        self._until_done(lambda: self._sink.open(self._context))

    def write(self, batches: Sequence[Batch]) -> None:
        """Have the sink store *batches*. Raises GaveUpError, Fatal or Finished; then nothing of them is counted."""
        rejected: Sequence[Rejected] = self._until_done(lambda: self._write(batches))
        for item in rejected:
            self._on_rejected(item)
        self.batches += len(batches)
        self.records += sum(len(batch.records) for batch in batches)
        self.rejected += len(rejected)

    def _write(self, batches: Sequence[Batch]) -> Sequence[Rejected]:
        try:
            self._sink.write(batches)
        except Reject as error:
            return error.items[: sum(len(batch.records) for batch in batches)]
        return ()

    def settle(self, advance: Callable[[], None]) -> None:
        """Have a sink that takes imports do all that is due; *advance* is called now and then. Raises as writing does.

        So a sink that makes something of what it stores never falls behind, however fast it is given more.
        """
        sink = cast(HasImport, self._sink)
        while self._until_done(sink.settle):
            advance()

    def close(self) -> None:
        """Let go of the sink."""
        self._sink.close()

    def _until_done(self, action: Callable[[], Any]) -> Any:
        """Try *action* until it succeeds, or for as long as somebody has patience."""
        until = time.monotonic() + self._patience_s
        attempt = 0
        while True:
            try:
                return action()
            except Fatal:
                raise
            except Exception as error:  # by the contract whatever a sink raises counts as Retry
                wait_s = self._wait_s(error, attempt)
                if time.monotonic() + wait_s > until:
                    raise GaveUpError(str(error) if isinstance(error, Retry) else repr(error)) from error
                self.retries += 1
                self._pause(wait_s)
                attempt += 1

    @staticmethod
    def _wait_s(error: Exception, attempt: int) -> float:
        wait_s = random.uniform(0, min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2**attempt))  # noqa: S311 - jitter
        asked = error.after if isinstance(error, Retry) else None
        return wait_s if asked is None else max(wait_s, asked)
