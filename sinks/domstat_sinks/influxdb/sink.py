"""The sink: records become requests, answers become what the agent is told."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, TypeAlias

from msgspec import Struct

from domstat.model import Batch, Record
from domstat.sink import Reject, Retry, SinkContext
from domstat.text import printable
from domstat_sinks.influxdb.refusals import LINE_PROTOCOL
from domstat_sinks.influxdb.settings import InfluxdbSettings
from domstat_sinks.lineprotocol import Encoder
from domstat_sinks.sending.answers import MENDED_AFTER_S, Outcome, Refused, Stored, TooLarge
from domstat_sinks.sending.bisection import RefusesEverything, Search
from domstat_sinks.sending.sender import Sender

BODY_BYTES_MAX = 2 << 20
"""Bytes of text in one request: some 6,000 lines, of the 5,000 to 10,000 that InfluxDB is quickest with; compressed,
a third of what nginx lets through when nobody has told it otherwise."""

BODY_BYTES_MIN = 16 << 10
"""Bytes that a server which calls bodies too large is sent nevertheless."""

REASON_MAX = 600
"""Characters of why a part of a record is left out."""

_FIRST_BLANK = re.compile(r"(?<!\\) ")
"""What ends a line's measurement and tags: a blank in a name has a backslash before it, which no name itself has."""

_Records: TypeAlias = Sequence[tuple[Batch, Record]]


class _Refusal(Struct, frozen=True):
    """A line of the record with that *number* that the server will never store, and why."""

    number: int
    line: bytes
    reason: str

    def __str__(self) -> str:
        """Name the line by its measurement and tags."""
        return printable(f"{_FIRST_BLANK.split(self.line.decode(), 1)[0]}: {self.reason}", REASON_MAX)


class InfluxdbSink:
    """Writes to InfluxDB, or to what else takes its line protocol."""

    Settings: ClassVar[type[Struct]] = InfluxdbSettings

    any_order: ClassVar[bool] = True
    """Points carry their time: what is fresh may come before what waited."""

    def __init__(self, settings: InfluxdbSettings) -> None:
        self._settings = settings
        self._encoder = Encoder(settings.labels)
        self._body_bytes_max = BODY_BYTES_MAX
        self._sender: Sender | None = None
        self._context: SinkContext | None = None
        self._control: bytes | None = None
        """A line that the server has stored; see :class:`..sending.bisection.Search`."""

    def open(self, context: SinkContext) -> None:
        """Read the token and the certificates; the server is met with the first write. Raises Fatal."""
        from domstat_sinks.influxdb.client import Client  # a dozen MiB, and nobody else needs them

        settings = self._settings
        self._context = context
        self._sender = Sender(settings, lambda authorization: Client(settings, authorization), context.log)

    def write(self, batches: Sequence[Batch]) -> None:
        """Store *batches* in as many requests as it takes. Raises Retry or Reject."""
        if self._context is None:
            raise Retry("the sink is not open")
        of_batches = [(batch, record) for batch in batches for record in batch.records]
        encoded = self._encoder.encode_each(record for _, record in of_batches)
        refusals: list[_Refusal] = []
        for texts in _packed(encoded.texts, self._body_bytes_max):
            refusals += self._store(texts)
        # Only now is it sure that nothing of this comes again, and is said twice.
        for record, reason in encoded.left_out:
            self._context.reject_part(record, reason)
        self._report(of_batches, encoded.texts, refusals)

    def close(self) -> None:
        """Close the connections."""
        if self._sender is not None:
            self._sender.close()
            self._sender = None

    def _store(self, texts: dict[int, bytes]) -> list[_Refusal]:
        """Send *texts*, lines by the number of their record, and return what of them is refused."""
        answer = self._send(texts.values())
        if isinstance(answer, Stored):
            self._control = next(iter(texts.values())).partition(b"\n")[0] + b"\n"
            return []
        if isinstance(answer, TooLarge):
            self._take_less(sum(map(len, texts.values())))
            if len(texts) > 1:
                numbers = list(texts)
                halves = numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]
                return [one for half in halves for one in self._store({number: texts[number] for number in half})]
        return self._search(texts, answer)

    def _search(self, texts: dict[int, bytes], answer: TooLarge | Refused) -> list[_Refusal]:
        lines = [(number, line + b"\n") for number, text in texts.items() for line in text.split(b"\n")[:-1]]
        search = Search([line for _, line in lines], self._send, self._control, LINE_PROTOCOL)
        try:
            refused = search.run(answer)
        except RefusesEverything as error:
            message = f"{self._settings.url}: the server refuses whatever it is sent: {error}"
            raise Retry(message, MENDED_AFTER_S) from None
        self._control = search.stored or self._control
        return [_Refusal(lines[at][0], lines[at][1], reason) for at, reason in sorted(refused.items())]

    def _send(self, texts: Iterable[bytes]) -> Outcome:
        """Send one request. Raises Retry for every answer that is not about the lines."""
        if self._sender is None:
            raise Retry("the sink is not open")
        return self._sender.send(b"".join(texts))

    def _take_less(self, failed_bytes: int) -> None:
        """Send no more in one request than half of what was too large."""
        self._body_bytes_max = max(BODY_BYTES_MIN, min(self._body_bytes_max, failed_bytes // 2))

    def _report(self, of_batches: _Records, texts: Sequence[bytes], refusals: Sequence[_Refusal]) -> None:
        """Tell the agent what is refused: a record of which nothing was stored, or parts of others. Raises Reject."""
        rejected = []
        for number, of_record in _by_record(refusals).items():
            batch, record = of_batches[number]
            if len(of_record) == texts[number].count(b"\n"):
                rejected.append((batch, record, of_record[0].reason))
            elif self._context is not None:
                for refusal in of_record:
                    self._context.reject_part(record, str(refusal))
        if rejected:
            raise Reject(rejected)


def _packed(texts: Sequence[bytes], bytes_max: int) -> Iterator[dict[int, bytes]]:
    """Put the records' texts, by their number, together to requests; a text that is larger by itself is alone."""
    packed: dict[int, bytes] = {}
    size = 0
    for number, text in enumerate(texts):
        if packed and size + len(text) > bytes_max:
            yield packed
            packed, size = {}, 0
        if text:
            packed[number] = text
            size += len(text)
    if packed:
        yield packed


def _by_record(refusals: Sequence[_Refusal]) -> dict[int, list[_Refusal]]:
    found: dict[int, list[_Refusal]] = {}
    for refusal in refusals:
        found.setdefault(refusal.number, []).append(refusal)
    return found
