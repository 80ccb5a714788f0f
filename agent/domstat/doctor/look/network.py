"""Looking at servers: whether a sink's can be connected to. Nothing is sent."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import SplitResult, urlsplit

from domstat.config import SinkConfig
from domstat.doctor.scene import TargetSeen

CONNECT_S = 3.0
"""How long a server may take to accept: a far one takes tenths."""

AT_ONCE = 8
TARGETS_MAX = 64
"""Servers that are tried."""

_SETTINGS = ("proxy", "url", "urls")
"""Settings that name servers, by their names; a proxy is the one that is connected to."""

_PORTS = {"http": 80, "https": 443}


def see_targets(sinks: Sequence[SinkConfig]) -> tuple[TargetSeen, ...]:
    """Try every server that the sinks' settings name."""
    wanted = [(sink.name, *address) for sink in sinks for address in addresses(sink.settings)][:TARGETS_MAX]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return tuple(
            pool.map(lambda target: TargetSeen(target[0], f"{target[1]}:{target[2]}", _try(*target[1:])), wanted)
        )


def addresses(settings: object) -> Iterator[tuple[str, int]]:
    """Give the hosts and ports that a sink's settings name by a URL."""
    for name in _SETTINGS:
        found = [address for url in _texts(getattr(settings, name, None)) if (address := _address(url)) is not None]
        if found:
            yield from found
            return


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        return (value,)
    return [each for each in value if isinstance(each, str)] if isinstance(value, (tuple, list)) else ()


def _address(url: str) -> tuple[str, int] | None:
    try:
        parts: SplitResult = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname and port else None


def _try(host: str, port: int) -> str:
    try:
        socket.create_connection((host, port), timeout=CONNECT_S).close()
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    return ""
