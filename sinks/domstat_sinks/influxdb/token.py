"""The token as a header; see :mod:`domstat_sinks.token` for where it comes from."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from typing import Literal, Protocol

from domstat_sinks.token import TokenError, read_token

_PREFIXES = {"token": "Token", "bearer": "Bearer"}


class HasToken(Protocol):
    """Settings that say where a token is: in a file, in a credential of systemd's, or nowhere; and how it is sent."""

    @property
    def token_file(self) -> str | None:
        """Its path."""

    @property
    def token_credential(self) -> str | None:
        """Its name."""

    @property
    def authorization(self) -> Literal["token", "bearer", "basic"]:
        """The scheme, of which "basic" takes the token for user:password."""


class Authorization:
    """What is sent as the header of that name; shown as nothing."""

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "Authorization(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Authorization) and other.value == self.value

    def __hash__(self) -> int:
        return hash(self.value)


def read_authorization(settings: HasToken, environ: Mapping[str, str] = os.environ) -> Authorization | None:
    """Read the token, None where none is configured. Raises TokenError."""
    token = read_token(settings.token_file, settings.token_credential, "token", environ)
    if token is None:
        return None
    if settings.authorization == "basic":
        return Authorization("Basic " + base64.b64encode(token.encode()).decode())
    if not (token.isascii() and token.isprintable()):
        raise TokenError("the token has characters that cannot be sent: it must be one line of plain ASCII")
    return Authorization(f"{_PREFIXES[settings.authorization]} {token}")
