"""Settings that say which HTTP server a sink sends to, and what of them is wrong before anything is touched."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal, Protocol, TypeAlias
from urllib.parse import urlsplit

from msgspec import Meta

from domstat.settings import Duration

FileName: TypeAlias = Annotated[str, Meta(min_length=1)]
CredentialName: TypeAlias = Annotated[str, Meta(pattern=r"^[^/\x00]+$")]
"""What systemd calls a credential: a name and no path."""

CaFile: TypeAlias = Annotated[
    FileName | None,
    Meta(
        description="File with the certificates (PEM) of those who may sign the server's. Default: the system's.",
        examples=["/etc/ssl/certs/our-ca.pem"],
    ),
]
Verify: TypeAlias = Annotated[
    bool, Meta(description="Whether the server must show a certificate that is valid and its own.")
]
Timeout: TypeAlias = Annotated[
    Duration, Meta(description="How long one request may take in all, from connecting to the answer's end.")
]
Proxy: TypeAlias = Annotated[
    Annotated[str, Meta(min_length=1)] | None,
    Meta(
        description="An HTTP proxy to go through. Default: none; those of the environment (http_proxy and others) are "
        "not used.",
        examples=["http://proxy:3128"],
    ),
]


class ServerSettings(Protocol):
    """Which server, who we are there, and how it is to be known."""

    @property
    def url(self) -> str:
        """Where it is."""

    @property
    def token_file(self) -> str | None:
        """The file with the token, if it is in one."""

    @property
    def token_credential(self) -> str | None:
        """The credential of systemd's, if it is that."""

    @property
    def authorization(self) -> Literal["token", "bearer", "basic"]:
        """The scheme by which the token is sent, of which "basic" takes it for user:password."""

    @property
    def ca_file(self) -> str | None:
        """Who signs its certificate."""

    @property
    def verify(self) -> bool:
        """Whether it must show one."""

    @property
    def proxy(self) -> str | None:
        """The way to it, if that is not direct."""


def check_server(settings: ServerSettings) -> None:
    """Raise ValueError if *settings* name no server, or two tokens."""
    _check_url("url", settings.url, ("http", "https"))
    if settings.proxy is not None:
        _check_url("proxy", settings.proxy, ("http",))
    if settings.token_file is not None and settings.token_credential is not None:
        raise ValueError("token_file and token_credential are both given, and there is only one token")


def is_encrypted(url: str) -> bool:
    """Whether nobody between here and the server can read along."""
    return urlsplit(url).scheme == "https"


def is_loopback(url: str) -> bool:
    """Whether *url* leads to this machine, as far as it can be told without asking anybody."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_url(key: str, url: str, schemes: tuple[str, ...]) -> None:
    """Raise ValueError, naming *key*, if *url* is none of a server's; what it may hold of a password is not shown."""
    try:
        parts = urlsplit(url)
        wrong = parts.scheme not in schemes or not parts.hostname or parts.port == 0
    except ValueError:
        wrong = True
    else:
        if parts.username is not None or parts.password is not None:
            raise ValueError(f"{key} has a user or a password in it: put them into token_file")
        wrong = wrong or bool(parts.query or parts.fragment) or not url.isascii() or not url.isprintable() or " " in url
    if wrong:
        raise ValueError(f'{key} is no URL of a server: write it like "{schemes[0]}://host:port"')
