"""The token as the header Authorization; see :mod:`domstat_sinks.token` for where it comes from."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping

from domstat_sinks.sending.settings import ServerSettings
from domstat_sinks.token import TokenError, read_token

_PREFIXES = {"token": "Token", "bearer": "Bearer"}


class Authorization:
    """What is sent as the header of that name; shown as nothing."""

    __slots__ = ("secrets", "value")

    def __init__(self, value: str, token: str = "") -> None:
        self.value = value
        parts = {token, value, value.partition(" ")[2], token.partition(":")[2]} - {""}
        self.secrets = tuple(sorted(parts, key=len, reverse=True))
        """In which forms a server could send it back, the longest first."""

    def __repr__(self) -> str:
        return "Authorization(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Authorization) and other.value == self.value

    def __hash__(self) -> int:
        return hash(self.value)


def read_authorization(settings: ServerSettings, environ: Mapping[str, str] = os.environ) -> Authorization | None:
    """Read the token, None where none is configured. Raises TokenError."""
    token = read_token(settings.token_file, settings.token_credential, "token", environ)
    if token is None:
        return None
    if settings.authorization == "basic":
        return Authorization("Basic " + base64.b64encode(token.encode()).decode(), token)
    if not (token.isascii() and token.isprintable()):
        raise TokenError("the token has characters that cannot be sent: it must be one line of plain ASCII")
    return Authorization(f"{_PREFIXES[settings.authorization]} {token}", token)
