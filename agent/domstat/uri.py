"""libvirt's connection URIs: whom they name, what about them is dangerous, and how they are shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import SplitResult, parse_qsl, urlsplit

HIDDEN = "***"
"""What is shown in place of a password."""

_PASSWORD = re.compile(r"(://[^/?#\s:@\[]*):(?:[^/?#\s]*|(?!\d+[/?#])\S*)@")
"""What stands between a user and a host. A slash in it should have been written %2F, and is no reason to show it: but
behind a number it begins the path, and what it ends was a port."""


def is_uri(text: str) -> bool:
    """Whether *text* has the form of a URI; whether libvirt has a driver for it shows when connecting."""
    parts = _split(text)
    return parts is not None and bool(parts.scheme) and text.isprintable()


def host_of(uri: str) -> str | None:
    """Return the host that *uri* names, None for one that names none: this machine's hypervisor."""
    parts = _split(uri)
    return parts.hostname if parts else None


def dangers_of(uri: str) -> Iterator[tuple[str, str]]:
    """Give what about *uri* lets others read along or answer in the hypervisor's place.

    Each by the word that allows it in ``hosts.allow``, and with what to do about it.
    """
    parts = _split(uri)
    if parts is None:
        return
    if parts.scheme.partition("+")[2] == "tcp":
        yield "tcp", "a connection that is neither encrypted nor, by default, authenticated; use tls or ssh"
    if any(name.lower() == "no_verify" and not _is_zero(value) for name, value in _query(parts)):
        yield "no_verify", "a connection to whoever answers, since no certificate is verified; take no_verify away"


def redacted(text: str) -> str:
    """Hide the passwords of all URIs within *text*."""
    return _PASSWORD.sub(rf"\1:{HIDDEN}@", text)


def _split(uri: str) -> SplitResult | None:
    try:
        return urlsplit(uri)
    except ValueError:  # a bracket too few in an IPv6 address
        return None


def _query(parts: SplitResult) -> list[tuple[str, str]]:
    """Return the parameters; libvirt lets them be parted by a semicolon too."""
    return parse_qsl(parts.query.replace(";", "&"), keep_blank_values=True)


def _is_zero(value: str) -> bool:
    """Whether libvirt reads *value* as zero: "0", "00", "-0"."""
    try:
        return int(value) == 0
    except ValueError:
        return False
