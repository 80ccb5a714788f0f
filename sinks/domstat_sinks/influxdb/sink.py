"""The sink: records become requests, answers become what the agent is told."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from msgspec import Struct

from domstat.model import Batch, Record
from domstat.sink import Fatal, Reject, Retry, SinkContext
from domstat.text import printable
from domstat_sinks.influxdb.answers import MENDED_AFTER_S, Denied, Later, Refused, Stored, TooLarge
from domstat_sinks.influxdb.bisection import Outcome, RefusesEverything, Search
from domstat_sinks.influxdb.settings import InfluxdbSettings, is_encrypted, is_loopback
from domstat_sinks.influxdb.token import Authorization, TokenError, read_authorization
from domstat_sinks.lineprotocol import Encoder

if TYPE_CHECKING:
    from domstat_sinks.influxdb.client import Client

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
        self._authorization: Authorization | None = None
        self._client: Client | None = None
        self._context: SinkContext | None = None
        self._control: bytes | None = None
        """A line that the server has stored; see :class:`.bisection.Search`."""
        self._is_denied = False

    def open(self, context: SinkContext) -> None:
        """Read the token and the certificates; the server is met with the first write. Raises Fatal."""
        from domstat_sinks.influxdb.client import Client  # a dozen MiB, and nobody else needs them

        self._context = context
        try:
            self._authorization = read_authorization(self._settings)
            self._client = Client(self._settings, self._authorization)
        except TokenError as error:
            raise Fatal(str(error)) from None
        except OSError as error:  # of which ssl.SSLError is one
            raise Fatal(f"ca_file {self._settings.ca_file} cannot be used: {error.strerror or error}") from error
        self._warn(context)

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
        if self._client is not None:
            self._client.close()
            self._client = None

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
        search = Search([line for _, line in lines], self._send, self._control)
        try:
            refused = search.run(answer)
        except RefusesEverything as error:
            message = f"{self._settings.url}: the server refuses whatever it is sent: {error}"
            raise Retry(message, MENDED_AFTER_S) from None
        self._control = search.stored or self._control
        return [_Refusal(lines[at][0], lines[at][1], reason) for at, reason in sorted(refused.items())]

    def _send(self, texts: Iterable[bytes]) -> Outcome:
        """Send one request. Raises Retry for every answer that is not about the lines."""
        if self._client is None:
            raise Retry("the sink is not open")
        body = b"".join(texts)
        meaning = self._client.send(body)
        if isinstance(meaning, Denied) and self._has_new_token():
            meaning = self._client.send(body)
        if isinstance(meaning, Denied):
            self._say_denied(meaning.message)
            raise Retry(meaning.message, MENDED_AFTER_S)
        if isinstance(meaning, Later):
            raise Retry(meaning.message, meaning.after)
        self._is_denied = False
        return meaning

    def _has_new_token(self) -> bool:
        """Read the token again, and use it if it has changed."""
        try:
            authorization = read_authorization(self._settings)
        except TokenError as error:
            self._say_denied(str(error))  # most likely it is being replaced just now
            return False
        if authorization is None or authorization == self._authorization or self._client is None:
            return False
        self._authorization = authorization
        self._client.authorize(authorization)
        return True

    def _say_denied(self, message: str) -> None:
        """Log once that the token is not taken; the agent goes on trying."""
        if self._context is not None and not self._is_denied:
            hint = "put a token that may write to the bucket into its file: it is read again"
            self._context.log.error("token_refused", error=message, hint=hint)
        self._is_denied = True

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

    def _warn(self, context: SinkContext) -> None:
        """Say what is allowed but unwise."""
        url = self._settings.url
        if self._authorization is not None and not is_encrypted(url) and not is_loopback(url):
            context.log.warning("token_unencrypted", url=url, hint="whoever is on the way can read it: use https")
        if is_encrypted(url) and not self._settings.verify:
            context.log.warning("server_unverified", url=url, hint="anybody can pretend to be it: set ca_file instead")


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
