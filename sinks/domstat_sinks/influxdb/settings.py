"""What can be set of the influxdb sink, and what of it is wrong before anything is touched."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from msgspec import Meta, Struct

from domstat.settings import Duration
from domstat_sinks.lineprotocol import RESERVED_TAGS

WRITE_PATH = "/api/v2/write"


class InfluxdbSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Writes everything that is collected to InfluxDB 1.8, 2 or 3, VictoriaMetrics, or what else has /api/v2/write."""

    url: Annotated[
        str,
        Meta(
            description="Where the server is, without /api/v2/write; it may have a path in front of that.", min_length=1
        ),
    ] = "http://localhost:8086"
    bucket: Annotated[
        str, Meta(description="The bucket; InfluxDB 1.8 and 3 call it database. It must be there.", min_length=1)
    ] = "domstat"
    org: Annotated[str, Meta(description="The organization, which only InfluxDB 2 asks for.")] = ""
    token_file: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(
            description="File with the token, which nobody but its owner may read (mode 0600 or 0400). It is read "
            "again when the server refuses the token.",
            examples=["/etc/domstat/influxdb.token"],
        ),
    ] = None
    token_credential: Annotated[
        Annotated[str, Meta(pattern=r"^[^/\x00]+$")] | None,
        Meta(
            description="Name of the systemd credential with the token, in place of a file (see LoadCredential=).",
            examples=["influxdb-token"],
        ),
    ] = None
    authorization: Annotated[
        Literal["token", "bearer", "basic"],
        Meta(
            description='How the token is sent: "token" is InfluxDB\'s way (for 1.8 the token is user:password), '
            '"bearer" many proxies\', and "basic" takes the token for user:password.'
        ),
    ] = "token"
    ca_file: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(
            description="File with the certificates (PEM) of those who may sign the server's. Default: the system's.",
            examples=["/etc/ssl/certs/our-ca.pem"],
        ),
    ] = None
    verify: Annotated[
        bool, Meta(description="Whether the server must show a certificate that is valid and its own.")
    ] = True
    gzip: Annotated[
        Literal["auto", "on", "off"],
        Meta(
            description='Whether to compress: "on", "off", or "auto", which does unless the server is on this machine.'
        ),
    ] = "auto"
    timeout: Annotated[
        Duration, Meta(description="How long one request may take in all, from connecting to the answer's end.")
    ] = Duration(15)
    proxy: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(
            description="An HTTP proxy to go through. Those of the environment (http_proxy and others) are not used.",
            examples=["http://proxy:3128"],
        ),
    ] = None
    labels: Annotated[
        tuple[Annotated[str, Meta(min_length=1)], ...],
        Meta(description="Labels of guests that become tags; every value of one makes series of its own."),
    ] = ()

    def __post_init__(self) -> None:
        check_url("url", self.url, ("http", "https"))
        if self.proxy is not None:
            check_url("proxy", self.proxy, ("http",))
        if urlsplit(self.url).path.rstrip("/").endswith(WRITE_PATH):
            raise ValueError(f"url ends in {WRITE_PATH}, which is added to it anyway: leave it out")
        if self.token_file is not None and self.token_credential is not None:
            raise ValueError("token_file and token_credential are both given, and there is only one token")
        if taken := [name for name in self.labels if name in RESERVED_TAGS or name.startswith("_")]:
            raise ValueError(f"no label can be a tag named {', '.join(taken)}: it has a meaning of its own")


def check_url(key: str, url: str, schemes: tuple[str, ...]) -> None:
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


def is_encrypted(url: str) -> bool:
    """Whether nobody between here and the server can read along."""
    return urlsplit(url).scheme == "https"


def is_loopback(url: str) -> bool:
    """Whether *url* leads to this machine, as far as it can be told without asking anybody."""
    host = _host(urlsplit(url))
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def compresses(settings: InfluxdbSettings) -> bool:
    """Whether bodies are compressed: over loopback there is nothing to save, and both sides would pay for it."""
    return settings.gzip == "on" or (settings.gzip == "auto" and not is_loopback(settings.url))


def _host(parts: SplitResult) -> str:
    return (parts.hostname or "").rstrip(".")
