"""The sink: records become requests, answers become what the agent is told."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import ClassVar

from msgspec import Struct

from domstat.model import Batch, Record
from domstat.sink import Fatal, Reject, Retry, SinkContext
from domstat.text import printable
from domstat_sinks.remote_write.answers import Fault, fault_of
from domstat_sinks.remote_write.encoder import KINDS, Encoder, Piece
from domstat_sinks.remote_write.memory import Memory
from domstat_sinks.remote_write.refusals import Refusal, find
from domstat_sinks.remote_write.requests import BODY_BYTES_MAX, BODY_BYTES_MIN, Request, packed
from domstat_sinks.remote_write.sent import Sent, Tick
from domstat_sinks.remote_write.series import split
from domstat_sinks.remote_write.settings import RemoteWriteSettings
from domstat_sinks.sending.answers import MENDED_AFTER_S, Outcome, Refused, Stored, TooLarge
from domstat_sinks.sending.bisection import RefusesEverything
from domstat_sinks.sending.sender import Sender

REASON_MAX = 600
"""Characters of why a record, or a part of one, is refused."""

_HINTS = {
    Fault.LATE: "its series have newer samples: the clock was set back, or somebody else writes them too",
    Fault.TOO_OLD: "a store takes what is so far from its newest only if it is told to (out_of_order_time_window)",
    Fault.OTHER: "",
}


class _Work:
    """One write: what is in it, and what became of it so far."""

    def __init__(self, batches: Sequence[Batch], memory: Memory) -> None:
        self.batches = batches
        self.memory = memory
        self.records = [(batch, record) for batch in batches for record in batch.records]
        self.ticks: list[Tick] = [(batch.stream, batch.stamp.time_ms) for batch, _ in self.records]
        """By the record's number, which tick it is of."""
        self.left_out: list[tuple[int, str]] = []
        self.series = dict[int, int]()
        """By the record's number, how many samples it came to."""
        self.refusals: list[Refusal] = []


class RemoteWriteSink:
    """Writes to whatever takes Prometheus remote write."""

    Settings: ClassVar[type[Struct]] = RemoteWriteSettings

    def __init__(self, settings: RemoteWriteSettings) -> None:
        self._settings = settings
        self._encoder = Encoder({"job": settings.job, **settings.labels})
        self._memory = Memory()
        self._sent = Sent(0)
        self._done: dict[object, list[Refusal]] = {}
        """Requests of a write that failed which are stored all the same, and what of each was refused."""
        self._bytes_max = BODY_BYTES_MAX
        self._sender: Sender | None = None
        self._context: SinkContext | None = None
        self._control: Piece | None = None
        """What the server stored last; see :class:`..sending.bisection.Search`."""

    def open(self, context: SinkContext) -> None:
        """Read the token and the certificates; the server is met with the first write. Raises Fatal."""
        try:
            from domstat_sinks.remote_write.client import Client
        except ImportError as error:
            raise Fatal(f"the sink needs {error.name}: pip install 'domstat[remote_write]'") from error

        settings = self._settings
        self._context = context
        self._sender = Sender(settings, lambda authorization: Client(settings, authorization), context.log)
        self._sent = Sent(_now_ms())

    def write(self, batches: Sequence[Batch]) -> None:
        """Store *batches* in as many requests as it takes. Raises Retry or Reject."""
        if self._context is None or self._sender is None:
            raise Retry("the sink is not open")
        work = _Work(batches, self._memory.copy())
        for request in packed(self._pieces(work), self._bytes_max):
            work.refusals += self._once(request, work)
        # Only now is it sure that nothing of this comes again, and is counted or said twice.
        self._memory = work.memory
        self._done.clear()
        self._report(work, self._context)

    def close(self) -> None:
        """Close the connections."""
        if self._sender is not None:
            self._sender.close()
            self._sender = None

    def _pieces(self, work: _Work) -> Iterator[Piece]:
        for piece in self._encoder.encode(work.batches, work.memory, work.left_out):
            work.series[piece.number] = piece.series
            yield piece

    def _once(self, request: Request, work: _Work) -> list[Refusal]:
        """Store *request*, unless a write that failed has done so, and return what of it is refused."""
        mark = request.mark
        if mark not in self._done:
            refusals = self._store(request, work)
            refused = {refusal.number for refusal in refusals}
            self._sent.stored(work.ticks[piece.number] for piece in request.pieces if piece.number not in refused)
            self._done[mark] = refusals
        return self._done[mark]

    def _store(self, request: Request, work: _Work) -> list[Refusal]:
        answer = self._send(request.body)
        if isinstance(answer, Stored):
            self._control = request.pieces[-1]
            return []
        if isinstance(answer, TooLarge):
            self._bytes_max = max(BODY_BYTES_MIN, min(self._bytes_max, len(request.body) // 2))
            if len(request.pieces) > 1:
                return [refusal for half in request.halves() for refusal in self._store(half, work)]
        return self._search(request, answer, work)

    def _search(self, request: Request, answer: TooLarge | Refused, work: _Work) -> list[Refusal]:
        """Return what of *request* is refused, but for what is there since it was sent before."""
        control = split(self._control.body)[-1] if self._control is not None else None
        try:
            found = find(request, answer, work.ticks, self._send, control)
        except RefusesEverything as error:
            message = f"{self._settings.url}: the server refuses whatever it is sent: {error}"
            raise Retry(message, MENDED_AFTER_S) from None
        there = [one for one in found if self._is_there(one, work)]
        if there and self._context is not None:
            samples = sum(one.samples for one in there)
            self._context.log.info("samples_already_there", samples=samples, answer=there[0].reason)
        return [one for one in found if one not in there]

    def _is_there(self, refusal: Refusal, work: _Work) -> bool:
        return fault_of(refusal.reason) is Fault.LATE and self._sent.has(work.ticks[refusal.number])

    def _send(self, body: bytes) -> Outcome:
        if self._sender is None:
            raise Retry("the sink is not open")
        return self._sender.send(body)

    def _report(self, work: _Work, context: SinkContext) -> None:
        """Tell the agent what is refused: a record of which nothing was stored, or parts of others. Raises Reject."""
        for number, reason in work.left_out:
            context.reject_part(work.records[number][1], reason)
        rejected = [
            (*one, f"{one[1].kind}: no kind of record that is known here")
            for one in work.records
            if _is_strange(one[1])
        ]
        by_record: dict[int, list[Refusal]] = {}
        for refusal in work.refusals:
            by_record.setdefault(refusal.number, []).append(refusal)
        for number, refusals in by_record.items():
            batch, record = work.records[number]
            refused, samples = sum(each.samples for each in refusals), work.series[number]
            if refused >= samples:
                rejected.append((batch, record, _reason(refusals[0].reason)))
            else:
                for each in refusals:
                    context.reject_part(record, _reason(f"{each.samples} of {samples} samples: {each.reason}"))
        if rejected:
            raise Reject(rejected)


def _is_strange(record: Record) -> bool:
    return record.kind not in KINDS and record.event is None and record.gap is None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _reason(message: str) -> str:
    """Say what to do about a refusal in these words."""
    hint = _HINTS[fault_of(message)]
    return printable(f"{message} ({hint})" if hint else message, REASON_MAX)
