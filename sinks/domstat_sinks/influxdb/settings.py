"""What can be set of the influxdb sink, and what of it is wrong before anything is touched."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from domstat.settings import Duration
from domstat_sinks.lineprotocol import RESERVED_TAGS
from domstat_sinks.sending.settings import (
    CaFile,
    CredentialName,
    FileName,
    Proxy,
    Timeout,
    Verify,
    check_server,
    is_loopback,
)

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
        FileName | None,
        Meta(
            description="File with the token, which nobody but its owner may read (mode 0600 or 0400). It is read "
            "again when the server refuses the token.",
            examples=["/etc/domstat/influxdb.token"],
        ),
    ] = None
    token_credential: Annotated[
        CredentialName | None,
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
    ca_file: CaFile = None
    verify: Verify = True
    gzip: Annotated[
        Literal["auto", "on", "off"],
        Meta(
            description='Whether to compress: "on", "off", or "auto", which does unless the server is on this machine.'
        ),
    ] = "auto"
    timeout: Timeout = Duration(15)
    proxy: Proxy = None
    labels: Annotated[
        tuple[Annotated[str, Meta(min_length=1)], ...],
        Meta(description="Labels of guests that become tags; every value of one makes series of its own."),
    ] = ()

    def __post_init__(self) -> None:
        check_server(self)
        if urlsplit(self.url).path.rstrip("/").endswith(WRITE_PATH):
            raise ValueError(f"url ends in {WRITE_PATH}, which is added to it anyway: leave it out")
        if taken := [name for name in self.labels if name in RESERVED_TAGS or name.startswith("_")]:
            raise ValueError(f"no label can be a tag named {', '.join(taken)}: it has a meaning of its own")


def compresses(settings: InfluxdbSettings) -> bool:
    """Whether bodies are compressed: over loopback there is nothing to save, and both sides would pay for it."""
    return settings.gzip == "on" or (settings.gzip == "auto" and not is_loopback(settings.url))
