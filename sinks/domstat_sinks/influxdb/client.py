"""One body of line protocol sent through influxdb-client, and the server's answer.

Of the client its configuration, its URL and its write service are used, synchronously; not its batching, its points,
its gzip (level 9, five times the time for a third less) or its reading of answers, which has no end.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.service.write_service import WriteService
from isal import isal_zlib

from domstat_sinks.influxdb.answers import meaning_of
from domstat_sinks.influxdb.settings import InfluxdbSettings, compresses
from domstat_sinks.sending.answers import Answer, Denied, Later, Meaning, veiled
from domstat_sinks.sending.authorization import Authorization
from domstat_sinks.sending.settings import is_encrypted
from domstat_sinks.sending.transport import BoundedPool, NotStored, Unreachable, has_unreadable_header, tls_of

GZIP_LEVEL = 1
_GZIP = 31
"""zlib's window bits for gzip's own head and foot."""


class Client:
    """Sends line protocol to the server of *settings*."""

    def __init__(self, settings: InfluxdbSettings, authorization: Authorization | None) -> None:
        """Get ready; nothing is sent yet. Raises OSError or ssl.SSLError for a ca_file that cannot be used."""
        self._settings = settings
        self._compresses = compresses(settings)
        self._secrets: tuple[str, ...] = ()
        self._client: Any = InfluxDBClient(
            settings.url.rstrip("/"),
            org=settings.org,
            verify_ssl=settings.verify,
            ssl_context=tls_of(settings.ca_file, verify=settings.verify) if is_encrypted(settings.url) else None,
            proxy=settings.proxy,
            retries=False,
        )
        rest: Any = self._client.api_client.rest_client
        self._pool = BoundedPool(rest.pool_manager, settings.timeout)
        rest.pool_manager = self._pool
        self._service: Any = WriteService(self._client.api_client)  # type: ignore[no-untyped-call]  # the client's
        if authorization is not None:
            self.authorize(authorization)

    def authorize(self, authorization: Authorization) -> None:
        """Use this token from now on."""
        self._secrets = authorization.secrets
        self._client.api_client.set_default_header("Authorization", authorization.value)

    def send(self, text: bytes) -> Meaning:
        """Send *text* and say what the answer means; that there was none means :class:`Later`."""
        options = {"content_encoding": "gzip"} if self._compresses else {}
        body = isal_zlib.compress(text, GZIP_LEVEL, _GZIP) if self._compresses else text
        try:
            _, status, headers = self._service.post_write_with_http_info(
                self._settings.org, self._settings.bucket, body, precision="ns", **options
            )
            answer = Answer(status, {name.lower(): value for name, value in headers.items()})
        except NotStored as error:
            answer = error.answer
        except Unreachable as error:
            if not has_unreadable_header(error):
                return Later(f"{self._settings.url}: {error}")
            answer = Answer(400, reason="the answer has a header that is too long to be read")
        return self._named(meaning_of(veiled(answer, self._secrets), time.time()))

    def close(self) -> None:
        """Close all connections; may come twice."""
        with contextlib.suppress(Exception):
            self._client.close()
        self._pool.clear()

    def _named(self, meaning: Meaning) -> Meaning:
        """Put the server's URL before what is said to a person."""
        if isinstance(meaning, Later):
            return Later(f"{self._settings.url}: {meaning.message}", meaning.after)
        if isinstance(meaning, Denied):
            return Denied(f"{self._settings.url}: {meaning.message}")
        return meaning
