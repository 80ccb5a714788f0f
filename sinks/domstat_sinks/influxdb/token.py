"""The token: read from a file that is nobody else's, and never shown."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from domstat_sinks.influxdb.settings import InfluxdbSettings

TOKEN_BYTES_MAX = 4096
"""Bytes of a token: InfluxDB's have 88, signed ones some hundred."""

_OTHERS_MAY: Final = stat.S_IRWXG | stat.S_IRWXO
_PREFIXES = {"token": "Token", "bearer": "Bearer"}


class TokenError(Exception):
    """There is no token, or it cannot be used; says how to mend that, and nothing of the token."""


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


def read_authorization(settings: InfluxdbSettings, environ: Mapping[str, str] = os.environ) -> Authorization | None:
    """Read the token, None where none is configured. Raises TokenError."""
    if settings.token_credential is not None:
        folder = environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise TokenError(
                "token_credential is set, and systemd gave no credentials: "
                f"put LoadCredential={settings.token_credential}:FILE into the unit"
            )
        token = _read(Path(folder) / settings.token_credential, is_systemds=True)
    elif settings.token_file is not None:
        token = _read(Path(settings.token_file), is_systemds=False)
    else:
        return None
    if settings.authorization == "basic":
        return Authorization("Basic " + base64.b64encode(token.encode()).decode())
    if not (token.isascii() and token.isprintable()):
        raise TokenError("the token has characters that cannot be sent: it must be one line of plain ASCII")
    return Authorization(f"{_PREFIXES[settings.authorization]} {token}")


def _read(path: Path, *, is_systemds: bool) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # one that is a pipe must not block
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its name is none"
        raise TokenError(f"the token's file {path} cannot be read: {reason}") from None
    try:
        if fault := _fault(os.fstat(descriptor), path, is_systemds=is_systemds):
            raise TokenError(f"the token's file {path} {fault}")
        raw = os.read(descriptor, TOKEN_BYTES_MAX + 1)
    finally:
        os.close(descriptor)
    try:
        token = raw.decode().strip()
    except UnicodeDecodeError:
        raise TokenError(f"the token's file {path} is no text") from None
    if not token or len(raw) > TOKEN_BYTES_MAX:
        raise TokenError(f"the token's file {path} is {'too large to be a token' if token else 'empty'}")
    return token


def _fault(status: os.stat_result, path: Path, *, is_systemds: bool) -> str:
    """Say why a file is none to keep a token in. systemd guards its credentials in ways a mode does not tell."""
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file"
    if is_systemds:
        return ""
    if status.st_uid not in {0, os.geteuid()}:
        return f"is somebody else's (uid {status.st_uid}): chown {os.geteuid()} {path}"
    if status.st_mode & _OTHERS_MAY:
        return f"may be used by others (mode {stat.S_IMODE(status.st_mode):04o}): chmod 0600 {path}"
    return ""
