"""Bodies sent with the token of the day, which is read again when it is refused; and warnings of what is unwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from domstat.sink import Fatal, Retry
from domstat_sinks.sending.answers import MENDED_AFTER_S, Denied, Later, Meaning, Outcome
from domstat_sinks.sending.authorization import Authorization, read_authorization
from domstat_sinks.sending.settings import ServerSettings, is_encrypted, is_loopback
from domstat_sinks.token import TokenError


class Client(Protocol):
    """Sends one body, and says what the answer means."""

    def send(self, body: bytes, /) -> Meaning:
        """Send *body*; that there was no answer means :class:`Later`."""

    def authorize(self, authorization: Authorization) -> None:
        """Use this token from now on."""

    def close(self) -> None:
        """Close all connections; may come twice."""


class Sender:
    """Sends bodies with the token of *settings*, through the client that *make* makes with it."""

    def __init__(self, settings: ServerSettings, make: Callable[[Authorization | None], Client], log: Any) -> None:
        """Read the token and the certificates; the server is met with the first body. Raises Fatal."""
        self._settings = settings
        self._log = log
        self._is_denied = False
        try:
            self._authorization = read_authorization(settings)
            self._client = make(self._authorization)
        except TokenError as error:
            raise Fatal(str(error)) from None
        except OSError as error:  # of which ssl.SSLError is one
            raise Fatal(f"ca_file {settings.ca_file} cannot be used: {error.strerror or error}") from error
        self._warn()

    def send(self, body: bytes) -> Outcome:
        """Send one request. Raises Retry for every answer that is not about what is in it."""
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

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _has_new_token(self) -> bool:
        """Read the token again, and use it if it has changed."""
        try:
            authorization = read_authorization(self._settings)
        except TokenError as error:
            self._say_denied(str(error))  # most likely it is being replaced just now
            return False
        if authorization is None or authorization == self._authorization:
            return False
        self._authorization = authorization
        self._client.authorize(authorization)
        return True

    def _say_denied(self, message: str) -> None:
        """Log once that the token is not taken; the agent goes on trying."""
        if not self._is_denied:
            hint = "put a token that may write into its file: it is read again"
            self._log.error("token_refused", error=message, hint=hint)
        self._is_denied = True

    def _warn(self) -> None:
        """Say what is allowed but unwise."""
        url = self._settings.url
        if self._authorization is not None and not is_encrypted(url) and not is_loopback(url):
            self._log.warning("token_unencrypted", url=url, hint="whoever is on the way can read it: use https")
        if is_encrypted(url) and not self._settings.verify:
            self._log.warning("server_unverified", url=url, hint="anybody can pretend to be it: set ca_file instead")
