"""One request sent by remote write 1.0, and the server's answer."""

from __future__ import annotations

import time
from importlib.metadata import version

from cramjam import snappy

from domstat_sinks.remote_write.answers import meaning_of
from domstat_sinks.remote_write.settings import RemoteWriteSettings
from domstat_sinks.sending.answers import Answer, Denied, Later, Meaning, veiled
from domstat_sinks.sending.authorization import Authorization
from domstat_sinks.sending.transport import NotStored, Unreachable, open_pool, tls_of


class Client:
    """Sends to the server of *settings*."""

    def __init__(self, settings: RemoteWriteSettings, authorization: Authorization | None) -> None:
        """Get ready; nothing is sent yet. Raises OSError for a ca_file that cannot be used."""
        self._url = settings.url
        self._secrets: tuple[str, ...] = ()
        self._pool = open_pool(settings.timeout, tls_of(settings.ca_file, verify=settings.verify), settings.proxy)
        self._headers = {
            **settings.headers,
            "Content-Encoding": "snappy",
            "Content-Type": "application/x-protobuf",
            "User-Agent": f"domstat/{version('domstat')}",
            "X-Prometheus-Remote-Write-Version": "0.1.0",  # of the protocol 1.0
        }
        if authorization is not None:
            self.authorize(authorization)

    def authorize(self, authorization: Authorization) -> None:
        """Use this token from now on."""
        self._secrets = authorization.secrets
        self._headers["Authorization"] = authorization.value

    def send(self, body: bytes) -> Meaning:
        """Send *body*, a WriteRequest, and say what the answer means; that there was none means :class:`Later`."""
        try:
            response = self._pool.request(
                "POST", self._url, body=bytes(snappy.compress_raw(body)), headers=self._headers
            )
            headers = {name.lower(): value for name, value in response.headers.items()}
            answer = Answer(response.status, headers)
        except NotStored as error:
            answer = error.answer
        except Unreachable as error:
            return Later(f"{self._url}: {error}")
        meaning = meaning_of(veiled(answer, self._secrets), time.time())
        if isinstance(meaning, Later):
            return Later(f"{self._url}: {meaning.message}", meaning.after)
        if isinstance(meaning, Denied):
            return Denied(f"{self._url}: {meaning.message}")
        return meaning

    def close(self) -> None:
        """Close all connections; may come twice."""
        self._pool.clear()
