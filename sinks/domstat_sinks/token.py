"""Secrets: read from a file that is nobody else's, or from systemd, and never shown."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from domstat.whose import intruder

TOKEN_BYTES_MAX = 4096
"""Bytes of a secret: InfluxDB's tokens have 88, signed ones some hundred."""

_OTHERS_MAY: Final = stat.S_IRWXG | stat.S_IRWXO


class TokenError(Exception):
    """There is no secret, or it cannot be used; says how to mend that, and nothing of the secret."""


def read_token(
    file: str | None, credential: str | None, what: str = "token", environ: Mapping[str, str] = os.environ
) -> str | None:
    """Read the secret from systemd's *credential*, or from *file*; None where neither is configured.

    *what* it is (``token``, ``password``) is how errors call it, and how the settings begin: ``token_credential``.
    Raises TokenError.
    """
    if credential is not None:
        folder = environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise TokenError(
                f"{what}_credential is set, and systemd gave no credentials: "
                f"put LoadCredential={credential}:FILE into the unit"
            )
        return _read(Path(folder) / credential, what, is_systemds=True)
    if file is not None:
        return _read(Path(file), what, is_systemds=False)
    return None


def _read(path: Path, what: str, *, is_systemds: bool) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # one that is a pipe must not block
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its name is none"
        raise TokenError(f"the {what}'s file {path} cannot be read: {reason}") from None
    try:
        fault = _fault(os.fstat(descriptor), path, is_systemds=is_systemds)
        if fault or (fault := "" if is_systemds else _place(path)):
            raise TokenError(f"the {what}'s file {path} {fault}")
        raw = os.read(descriptor, TOKEN_BYTES_MAX + 1)
    finally:
        os.close(descriptor)
    try:
        token = raw.decode().strip()
    except UnicodeDecodeError:
        raise TokenError(f"the {what}'s file {path} is no text") from None
    if not token or len(raw) > TOKEN_BYTES_MAX:
        raise TokenError(f"the {what}'s file {path} is {f'too large to be a {what}' if token else 'empty'}")
    return token


def _fault(status: os.stat_result, path: Path, *, is_systemds: bool) -> str:
    """Say why a file is none to keep a secret in. systemd guards its credentials in ways a mode does not tell."""
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file"
    if is_systemds:
        return ""
    if status.st_uid not in {0, os.geteuid()}:
        return f"is somebody else's (uid {status.st_uid}): chown {os.geteuid()} {path}"
    if status.st_mode & _OTHERS_MAY:
        return f"may be used by others (mode {stat.S_IMODE(status.st_mode):04o}): chmod 0600 {path}"
    return ""


def _place(path: Path) -> str:
    """Say who could put another file in a secret's place, and so choose which of our secrets is sent to whom."""
    try:
        found = intruder(path)
    except OSError as error:
        found = error.strerror or str(error)
    return f"is in a place of others: {found}" if found else ""
